//! Repositories and what is in them.

use super::{
    Check, Checked, Sums,
    scan::{each, each_record},
    sum::Sum,
};
use crate::metadata::state::keys::{Table, key, prefix_end};
use crate::metadata::state::records::{damaged, decode};
use crate::metadata::state::tables::TablesError;
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use std::collections::BTreeSet;
use wire::manifest::Waits;

impl Check<'_> {
    /// Those with a name and those that are drained.
    pub(super) fn repositories(&mut self) -> Checked {
        let tables = self.tables;
        each_record::<wire::Repository>(tables, Table::Repository, &[], |name, repository| {
            self.sums.named.add(&[&repository.id, name]);
            self.expect(!repository.draining && repository.name.as_bytes() == name, || {
                format!("{} is recorded under another name", repository.name)
            });
            self.repository(&repository)
        })?;
        each_record::<wire::Repository>(tables, Table::Draining, &[], |id, repository| {
            let named = self.has(Table::RepositoryName, &[id])?;
            self.expect(repository.draining && repository.id == id && !named, || {
                format!("{} is drained and has a name", repository.name)
            });
            self.repository(&repository)
        })?;
        let mut names = Sum::default();
        each(tables, Table::RepositoryName, &[], |id, name| {
            names.add(&[id, &name]);
            Ok(())
        })?;
        let named = self.sums.named;
        self.expect(names == named, || "names and ids of repositories do not belong together".to_owned());

        use Table::{Bereaved, Link, Manifest, ManifestBody, Tag, Trash, TrashTag};
        for table in [Link, Manifest, ManifestBody, Tag, Trash, TrashTag, Bereaved] {
            self.belong(table)?;
        }
        let Sums { link_due, manifest_due, untagged, parents, referrers, tag_of, .. } = self.sums;
        self.mirrors(Table::LinkDue, link_due)?;
        self.mirrors(Table::ManifestDue, manifest_due)?;
        self.mirrors(Table::Untagged, untagged)?;
        self.mirrors(Table::Parent, parents)?;
        self.mirrors(Table::Referrer, referrers)?;
        self.mirrors(Table::TagOf, tag_of)
    }

    /// Every id that a table's keys begin with is that of a repository.
    fn belong(&mut self, table: Table) -> Checked {
        let (mut start, end) = (key(table, &[]), prefix_end(&key(table, &[])));
        while let Some((entry, _)) = self.tables.scan(&start, &end, 1)?.pop() {
            let id = entry.get(1..17).ok_or_else(|| damaged("id of a repository", &entry))?;
            let known = self.has(Table::RepositoryName, &[id])? || self.has(Table::Draining, &[id])?;
            self.named("S2", known, || format!("{table:?} of no repository"));
            start = prefix_end(&entry[..17]);
        }
        Ok(())
    }

    fn repository(&mut self, repository: &wire::Repository) -> Checked {
        let (tables, id, name) = (self.tables, repository.id.as_ref(), &repository.name);
        let (mut referenced, mut sizes, mut tagged) = (Sum::default(), Sum::default(), Sum::default());
        let mut manifests = 0;
        each_record::<wire::Manifest>(tables, Table::Manifest, &[id], |digest, manifest| {
            manifests += 1;
            let set: BTreeSet<&Bytes> = manifest.blobs.iter().collect();
            set.into_iter().for_each(|blob| referenced.add(&[blob]));
            sizes.add_times(&[digest], manifest.size.saturating_add(1));
            tagged.add_times(&[digest], manifest.tags);
            manifest.children.iter().for_each(|child| self.sums.parents.add(&[id, child, digest]));
            manifest.subject.iter().for_each(|subject| self.sums.referrers.add(&[id, subject, digest]));
            self.queues(repository, digest, &manifest)
        })?;
        let mut bodies = Sum::default();
        each(tables, Table::ManifestBody, &[id], |digest, body| {
            bodies.add_times(&[digest], body.len() as u64 + 1);
            Ok(())
        })?;
        let (mut links, mut link_bytes, mut references) = (0, 0_u64, Sum::default());
        each_record::<wire::Link>(tables, Table::Link, &[id], |digest, link| {
            links += 1;
            self.sums.links.add(&[digest]);
            references.add_times(&[digest], link.references);
            if link.references == 0 {
                self.sums.link_due.add(&[&link.eligible_mono.to_be_bytes(), id, digest]);
            }
            let blob = tables.get(&key(Table::Blob, &[digest]))?;
            self.named("S2", blob.is_some(), || format!("{name} links no blob"));
            if let Some(blob) = blob {
                link_bytes = link_bytes.saturating_add(decode::<wire::Blob>(digest, blob)?.size);
            }
            Ok(())
        })?;
        let (mut tags, mut tag_of) = (0, Sum::default());
        each_record::<wire::Tag>(tables, Table::Tag, &[id], |tag, record| {
            tags += 1;
            tag_of.add(&[&record.digest]);
            self.sums.tag_of.add(&[id, &record.digest, tag]);
            let manifest = self.has(Table::Manifest, &[id, &record.digest])?;
            self.named("S2", manifest, || format!("a tag of {name} points to no manifest"));
            Ok(())
        })?;

        if referenced != references {
            let linked = self.all_linked(id)?;
            self.named("S2", linked, || format!("{name} has a manifest with an unlinked blob"));
            self.expect(!linked, || format!("{name} counts other references"));
        }
        let body_bytes = bodies.count.saturating_sub(manifests);
        self.expect(sizes == bodies, || format!("{name} has other bodies than its manifests"));
        self.expect(tagged == tag_of, || format!("manifests of {name} count other tags"));
        self.expect(repository.manifests == manifests, || format!("{name} counts other manifests"));
        self.expect(repository.links == links, || format!("{name} counts other links"));
        self.expect(repository.tags == tags, || format!("{name} counts other tags"));
        self.expect(repository.bytes == link_bytes + body_bytes, || format!("{name} counts other bytes"));
        Ok(())
    }

    /// Whether all blobs that manifests of a repository reference are linked there.
    fn all_linked(&self, id: &[u8]) -> Result<bool, TablesError> {
        let mut all = true;
        each_record::<wire::Manifest>(self.tables, Table::Manifest, &[id], |_, manifest| {
            for blob in &manifest.blobs {
                all = all && self.has(Table::Link, &[id, blob])?;
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// A manifest waits in a queue, or something holds it.
    fn queues(&mut self, repository: &wire::Repository, digest: &[u8], manifest: &wire::Manifest) -> Checked {
        let id = repository.id.as_ref();
        match manifest.waits {
            Some(Waits::LostMono(at)) => self.sums.manifest_due.add(&[&at.to_be_bytes(), id, digest]),
            Some(Waits::UntaggedMono(since)) => self.sums.untagged.add(&[&since.to_be_bytes(), id, digest]),
            None => {}
        }
        let waits = manifest.waits.is_some();
        self.expect(!waits || manifest.tags == 0, || format!("a tagged manifest of {} is queued", repository.name));
        let mut held = waits || manifest.tags > 0 || repository.draining;
        if !held {
            let parents = key(Table::Parent, &[id, digest]);
            held = !self.tables.scan(&parents, &prefix_end(&parents), 1)?.is_empty();
        }
        if let Some(subject) = manifest.subject.as_ref().filter(|_| !held) {
            // What is bereaved will be queued.
            held = self.has(Table::Manifest, &[id, subject])? || self.has(Table::Bereaved, &[id, subject])?;
        }
        self.named("L3", held, || format!("nothing holds a manifest of {}, and it is not queued", repository.name));
        Ok(())
    }
}
