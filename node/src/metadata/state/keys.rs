//! Keys: one table byte, then the fields. Numbers are big-endian, ids have 16 bytes, digests are in their stored form (whose
//! first byte gives the length, so no digest is a prefix of another) and texts come last; so keys order as their fields do.

/// A table; its discriminant is the first byte of its keys and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    /// () → `Cluster`
    Cluster = 0x01,
    /// name → `Repository`
    Repository = 0x02,
    /// repository → its name
    RepositoryName = 0x03,
    /// repository → `Repository`, deleted
    Draining = 0x04,
    /// session → `Session`
    Session = 0x10,
    /// due mono, session → nothing
    SessionDue = 0x11,
    /// session → `Ended`
    Ended = 0x12,
    /// mono of the end, session → nothing
    EndedAt = 0x13,
    /// hour → `Hour`
    Hour = 0x14,
    /// list, n → `Segment`
    Segment = 0x15,
    /// digest → `Blob`
    Blob = 0x20,
    /// repository, digest → `Link`
    Link = 0x21,
    /// mono, repository, digest → nothing: links without references
    LinkDue = 0x22,
    /// repository, digest → `Manifest`
    Manifest = 0x30,
    /// repository, digest → the manifest's bytes
    ManifestBody = 0x31,
    /// repository, child, parent → nothing
    Parent = 0x32,
    /// repository, subject, referrer → nothing
    Referrer = 0x33,
    /// repository, tag → `Tag`
    Tag = 0x34,
    /// repository, digest, tag → nothing
    TagOf = 0x35,
    /// mono, repository, digest → nothing: manifests that lost something that held them
    ManifestDue = 0x36,
    /// mono, repository, digest → nothing: manifests without a tag since then
    Untagged = 0x37,
    /// repository, removed digest → nothing: its referrers are still to be told
    Bereaved = 0x38,
    /// repository, digest → `Trashed`
    Trash = 0x39,
    /// repository, digest → the manifest's bytes
    TrashBody = 0x3a,
    /// mono, repository, digest → nothing
    TrashDue = 0x3b,
    /// repository, tag → `TrashedTag`
    TrashTag = 0x3c,
    /// repository, digest, tag → nothing: tags deleted with their manifest
    TrashTagOf = 0x3d,
    /// mono, repository, tag → nothing
    TrashTagDue = 0x3e,
    /// object key → `Object`
    Object = 0x40,
    /// object key → nothing
    Deleting = 0x41,
    /// mono, list → `GarbageList`
    Garbage = 0x42,
    /// mono, list → `CondemnedList`
    Condemned = 0x43,
    /// () → `Breaker`
    Breaker = 0x44,
    /// request id → `Remembered`
    Remembered = 0x50,
    /// mono, request id → nothing
    RememberedAt = 0x51,
    /// key id → `TokenKey`
    TokenKey = 0x60,
}

/// The key of `fields`.
pub(crate) fn key(table: Table, fields: &[&[u8]]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + fields.iter().map(|field| field.len()).sum::<usize>());
    key.push(table as u8);
    for field in fields {
        key.extend_from_slice(field);
    }
    key
}

/// The key of a number and an id.
pub(crate) fn timed(table: Table, at: u64, id: &[u8]) -> Vec<u8> {
    key(table, &[&at.to_be_bytes(), id])
}

/// The key of a number and something of a repository.
pub(crate) fn queued(table: Table, at: u64, repository: &[u8], rest: &[u8]) -> Vec<u8> {
    key(table, &[&at.to_be_bytes(), repository, rest])
}

/// The number, the repository and the rest in a key made by [`queued`].
pub(crate) fn split_queued(key: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (at, rest) = split_timed(key)?;
    let (repository, rest) = rest.split_at_checked(16)?;
    Some((at, repository, rest))
}

/// The key of segment `n` of a list.
pub(crate) fn segment(list: &[u8], n: u32) -> Vec<u8> {
    key(Table::Segment, &[list, &n.to_be_bytes()])
}

/// The number and the id in a key made by [`timed`].
pub(crate) fn split_timed(key: &[u8]) -> Option<(u64, &[u8])> {
    let (at, id) = key.get(1..)?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*at), id))
}

/// The first key after all that begin with `prefix`; table bytes are below 0xff, so there is one.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

/// The first key after `key`.
pub(crate) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_their_fields_do() {
        let id = [7; 16];
        assert!(timed(Table::SessionDue, 255, &id) < timed(Table::SessionDue, 256, &[0; 16]));
        assert!(timed(Table::SessionDue, u64::MAX, &[255; 16]) < timed(Table::Ended, 0, &[]));
        assert!(segment(&id, 9) < segment(&id, 10));
        assert!(key(Table::Repository, &[b"a"]) < key(Table::Repository, &[b"a/b"]));
        assert_eq!(split_timed(&timed(Table::Garbage, 42, &id)), Some((42, &id[..])));
        assert_eq!(split_timed(&[1, 2]), None);
    }

    #[test]
    fn a_prefix_ends_after_its_last_key() {
        assert_eq!(prefix_end(&[1, 2]), [1, 3]);
        assert_eq!(prefix_end(&[1, 255, 255]), [2]);
        let prefix = key(Table::Link, &[&[255; 16]]);
        assert!(key(Table::Link, &[&[255; 16], &[255; 65]]) < prefix_end(&prefix));
        assert!(prefix_end(&prefix) <= key(Table::Manifest, &[]));
    }
}
