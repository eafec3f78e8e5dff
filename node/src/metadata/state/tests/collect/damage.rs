//! The invariants notice whatever is wrong, in a state that has a bit of everything.

use super::*;
use prost::Message;

/// Not mirrored by anything: the breaker's sums, and buckets in which no session is open.
const ALONE: [Table; 2] = [Table::Breaker, Table::Hour];
const INDEXES: [Table; 17] = [
    Table::RepositoryName,
    Table::SessionDue,
    Table::EndedAt,
    Table::LinkDue,
    Table::Parent,
    Table::Referrer,
    Table::TagOf,
    Table::ManifestDue,
    Table::Untagged,
    Table::ManifestBody,
    Table::TrashBody,
    Table::TrashDue,
    Table::TrashTagOf,
    Table::TrashTagDue,
    Table::Deleting,
    Table::Segment,
    Table::Object,
];

fn everything() -> MemoryTables {
    let mut scene = Scene::new();
    for d in 1..=6 {
        scene.push(0, d, 5);
    }
    scene.push(1, 1, 5); // a second link, and garbage
    scene.push(1, 9, 7);
    scene.put(20, &[1, 2], &[], None, &["a", "b"]);
    scene.put(21, &[1, 3], &[], Some(20), &[]);
    scene.put(22, &[], &[20, 21], None, &["index"]);
    scene.put(23, &[4], &[], None, &["gone"]);
    scene.put(24, &[5], &[], None, &["untagged"]);
    scene.put(25, &[5], &[], None, &["part"]);
    scene.put(26, &[], &[25], None, &["whole"]);
    scene.untag("untagged");
    scene.untag("part");
    scene.delete(23);
    scene.delete(26);
    scene.push(2, 10, 3);
    scene.run(Command::DeleteRepository(wire::DeleteRepository { repository: name(2) }));
    scene.start_delete();
    scene.push(0, 1, 5); // garbage that waits
    scene.push(3, 11, 3);
    scene.run(Command::DeleteBlobLink(wire::DeleteBlobLink { repository: name(3), digest: stored(11) })); // condemned
    scene.push(3, 12, 3);
    let open =
        wire::OpenSession { session_id: id(77), repository: name(0), algorithm: 1, idle_ms: 60_000, hard_ms: 600_000 };
    scene.run(Command::OpenSession(open));
    MemoryTables::clone(&scene.store.snapshot())
}

/// Whether the invariants say that something is wrong.
fn noticed(tables: &MemoryTables) -> bool {
    violations(tables).map_or(true, |found| !found.is_empty())
}

fn of(tables: &MemoryTables, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    records::scan(tables, table, &[], 1_000).expect("read")
}

/// Changes every record of a table in a way that must be noticed.
fn changed<M: Message + Default + std::fmt::Debug>(table: Table, change: impl Fn(&mut M)) {
    let tables = everything();
    let all = of(&tables, table);
    assert!(!all.is_empty(), "there is no {table:?}");
    for (entry, value) in all {
        let mut record = M::decode(value.as_slice()).expect("a record");
        change(&mut record);
        let mut tables = tables.clone();
        tables.insert(entry, record.encode_to_vec());
        assert!(noticed(&tables), "{table:?} {record:?}");
    }
}

#[test]
fn a_record_that_is_missing_is_noticed() {
    let tables = everything();
    assert!(!noticed(&tables));
    for entry in tables.keys().filter(|entry| !ALONE.iter().any(|table| entry[0] == *table as u8)) {
        let mut tables = tables.clone();
        tables.remove(entry);
        assert!(noticed(&tables), "without {}", hex::encode(entry));
    }
}

#[test]
fn an_entry_too_many_is_noticed() {
    let tables = everything();
    for table in INDEXES {
        let (mut entry, value) = of(&tables, table).pop().unwrap_or_else(|| panic!("there is no {table:?}"));
        *entry.last_mut().expect("a key") ^= 0x80;
        let mut tables = tables.clone();
        assert_eq!(tables.insert(entry, value), None);
        assert!(noticed(&tables), "{table:?}");
    }
}

#[test]
fn an_entry_in_the_place_of_another_is_noticed() {
    let tables = everything();
    for table in INDEXES {
        let (mut entry, value) = of(&tables, table).pop().expect("an entry");
        let mut tables = tables.clone();
        tables.remove(&entry);
        *entry.last_mut().expect("a key") ^= 0x80;
        tables.insert(entry, value);
        assert!(noticed(&tables), "{table:?}");
    }
}

#[test]
fn a_wrong_count_is_noticed() {
    changed(Table::Link, |link: &mut wire::Link| link.references += 1);
    changed(Table::Link, |link: &mut wire::Link| link.references = link.references.wrapping_sub(1));
    changed(Table::Blob, |blob: &mut wire::Blob| blob.links += 1);
    changed(Table::Blob, |blob: &mut wire::Blob| blob.links -= 1);
    changed(Table::Blob, |blob: &mut wire::Blob| blob.size += 1);
    changed(Table::Blob, |blob: &mut wire::Blob| blob.segments += 1);
    changed(Table::Blob, |blob: &mut wire::Blob| blob.suspect = true);
    changed(Table::Manifest, |manifest: &mut wire::Manifest| manifest.tags += 1);
    changed(Table::Manifest, |manifest: &mut wire::Manifest| manifest.size += 1);
    changed(Table::Manifest, |manifest: &mut wire::Manifest| manifest.blobs.push(stored(200)));
    changed(Table::Manifest, |manifest: &mut wire::Manifest| manifest.children.push(stored(200)));
    changed(Table::Repository, |repository: &mut wire::Repository| repository.links += 1);
    changed(Table::Repository, |repository: &mut wire::Repository| repository.manifests += 1);
    changed(Table::Repository, |repository: &mut wire::Repository| repository.tags += 1);
    changed(Table::Repository, |repository: &mut wire::Repository| repository.bytes += 1);
    changed(Table::Repository, |repository: &mut wire::Repository| repository.id = id(201));
    changed(Table::Cluster, |cluster: &mut wire::Cluster| cluster.blobs += 1);
    changed(Table::Cluster, |cluster: &mut wire::Cluster| cluster.blob_bytes += 1);
    changed(Table::Cluster, |cluster: &mut wire::Cluster| cluster.suspects += 1);
    changed(Table::Cluster, |cluster: &mut wire::Cluster| cluster.sessions += 1);
    changed(Table::Cluster, |cluster: &mut wire::Cluster| cluster.repositories += 1);
    changed(Table::Session, |session: &mut wire::Session| session.offset += 1);
    changed(Table::Session, |session: &mut wire::Session| session.hour += 1);
    changed(Table::Tag, |tag: &mut wire::Tag| tag.digest = stored(24));
}

#[test]
fn two_owners_of_a_segment_list_are_noticed_and_named() {
    let mut tables = everything();
    let all = of(&tables, Table::Blob);
    let (first, second) = (all[0].clone(), all[1].clone());
    let list = wire::Blob::decode(first.1.as_slice()).expect("a blob").segment_list;
    let mut blob = wire::Blob::decode(second.1.as_slice()).expect("a blob");
    blob.segment_list = list;
    tables.insert(second.0, blob.encode_to_vec());
    let found = violations(&tables).expect("readable");
    assert!(found.iter().any(|violation| violation.starts_with("S4: a segment list has two owners")), "{found:?}");
}
