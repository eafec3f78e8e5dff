//! Everything that holds a digest, and what becomes of a key of the store.

use super::super::state::keys::{self, Table, key, prefix_end, split_timed};
use super::super::state::records::{damaged, decode, get};
use super::super::{Error, View};
use flotilla_proto::admin::{
    Condemned, Deleted, DeletedManifest, DeletedTag, Link, ManifestHolders, Object, Place, StoredBlob, Trash, Why,
};
use flotilla_proto::{oci::Digest, oci::RepositoryName, wire::metadata as wire};
use wire::{GcMode, manifest::Waits, object::State};

/// Things listed of a kind.
const LISTED_MAX: usize = 100;
/// Records read at a time.
const PAGE: usize = 1_000;
/// Deleted manifests, and deleted tags, of one answer.
const TRASH_MAX: usize = 1_000;
/// Objects listed of a blob.
const OBJECTS_MAX: u32 = 10;
/// Manifests or lists looked at for one answer.
const LOOKS_MAX: usize = 100_000;

impl View {
    /// Everything that holds a digest, as a blob and as a manifest: in one repository, or in all of them (a look at each).
    pub fn why(&self, name: Option<&RepositoryName>, digest: &Digest) -> Result<Why, Error> {
        let stored = digest.to_bytes();
        let mut why = Why { asked: digest.to_string(), ..Why::default() };
        if let Some(blob) = get::<wire::Blob>(self.tables(), &key(Table::Blob, &[&stored]))? {
            let listed = blob.segments.min(OBJECTS_MAX);
            why.more |= blob.segments > listed;
            let objects = self.segments(&blob.segment_list, listed)?.into_iter().map(|segment| segment.key).collect();
            why.blob = Some(StoredBlob { size: blob.size, suspect: blob.suspect, links: blob.links, objects });
        }
        why.condemned = self.condemned_of(&stored, &mut why.more)?;
        why.paused = self.gc()?.1.mode() != GcMode::On;
        for table in [Table::Repository, Table::Draining] {
            let prefix = match name.filter(|_| table == Table::Repository) {
                Some(name) => key(table, &[name.as_str().as_bytes()]),
                None => key(table, &[]),
            };
            // A name ends its key, so that one name is one record.
            let (mut start, end) = match name.filter(|_| table == Table::Repository) {
                Some(_) => (prefix.clone(), keys::after(prefix)),
                None => (prefix.clone(), prefix_end(&prefix)),
            };
            loop {
                let page = self.tables().scan(&start, &end, PAGE)?;
                let Some((last, _)) = page.last() else { break };
                start = keys::after(last.clone());
                for (entry, value) in page {
                    let repository: wire::Repository = decode(&entry, value)?;
                    if name.is_some_and(|name| name.as_str() != repository.name) {
                        continue;
                    }
                    let Some(place) = self.place(&repository, &stored, &mut why.more)? else { continue };
                    if why.places.len() == LISTED_MAX {
                        why.more = true;
                        return Ok(why);
                    }
                    why.places.push(place);
                }
            }
        }
        Ok(why)
    }

    /// What once was a blob under a digest, as far as it is among the first that go.
    fn condemned_of(&self, digest: &[u8], more: &mut bool) -> Result<Vec<Condemned>, Error> {
        let (mono, (delays, _)) = (self.mono()?, self.gc()?);
        let mut found = Vec::new();
        *more |= self.each_queued(Table::Condemned, |entry, value| {
            let list: wire::CondemnedList = decode(entry, value)?;
            if list.digest != digest {
                return Ok(false);
            }
            let (since, id) = split_timed(entry).ok_or_else(|| damaged("condemned list", entry))?;
            let mut objects = Vec::new();
            for n in list.next..list.segments.min(list.next.saturating_add(OBJECTS_MAX)) {
                objects.extend(get::<wire::Segment>(self.tables(), &keys::segment(id, n))?.map(|segment| segment.key));
            }
            found.push(Condemned {
                bytes: list.bytes,
                age_ms: mono.saturating_sub(since),
                left_ms: since.saturating_add(delays.delete_ms).saturating_sub(mono),
                objects,
            });
            Ok(found.len() == LISTED_MAX)
        })?;
        Ok(found)
    }

    fn place(&self, repository: &wire::Repository, digest: &[u8], more: &mut bool) -> Result<Option<Place>, Error> {
        let id = repository.id.as_ref();
        let of = |table| key(table, &[id, digest]);
        let link: Option<wire::Link> = get(self.tables(), &of(Table::Link))?;
        let manifest: Option<wire::Manifest> = get(self.tables(), &of(Table::Manifest))?;
        let trash: Option<wire::Trashed> = get(self.tables(), &of(Table::Trash))?;
        if link.is_none() && manifest.is_none() && trash.is_none() {
            return Ok(None);
        }
        Ok(Some(Place {
            repository: repository.name.clone(),
            deleted: repository.draining,
            link: link.map(|link| self.link_holders(id, digest, &link, more)).transpose()?,
            manifest: manifest.map(|manifest| self.manifest_holders(id, digest, manifest, more)).transpose()?,
            trash: trash.map(|trash| self.trash_of(id, digest, &trash, more)).transpose()?,
        }))
    }

    fn link_holders(&self, id: &[u8], digest: &[u8], link: &wire::Link, more: &mut bool) -> Result<Link, Error> {
        if link.references == 0 {
            let lease_ms = Some(link.eligible_mono.saturating_sub(self.mono()?));
            return Ok(Link { lease_ms, ..Link::default() });
        }
        let prefix = key(Table::Manifest, &[id]);
        let (mut start, end) = (prefix.clone(), prefix_end(&prefix));
        let (mut manifests, mut looks) = (Vec::new(), 0);
        let wanted = usize::try_from(link.references).unwrap_or(LISTED_MAX).min(LISTED_MAX);
        *more |= link.references > wanted as u64;
        while manifests.len() < wanted {
            let page = self.tables().scan(&start, &end, PAGE)?;
            let Some((last, _)) = page.last().filter(|_| looks < LOOKS_MAX) else { break };
            start = keys::after(last.clone());
            looks += page.len();
            for (entry, value) in page {
                let manifest: wire::Manifest = decode(&entry, value)?;
                if manifests.len() < wanted && manifest.blobs.iter().any(|blob| blob.as_ref() == digest) {
                    manifests.push(shown(&entry[prefix.len()..], &entry)?);
                }
            }
        }
        *more |= manifests.len() < wanted;
        Ok(Link { references: link.references, manifests, lease_ms: None })
    }

    fn manifest_holders(
        &self,
        id: &[u8],
        digest: &[u8],
        manifest: wire::Manifest,
        more: &mut bool,
    ) -> Result<ManifestHolders, Error> {
        let (mono, (delays, _)) = (self.mono()?, self.gc()?);
        let digests = |rest: &[u8]| Digest::from_bytes(rest).map(|digest| digest.to_string());
        let subject = manifest.subject.as_ref();
        let mut holders = ManifestHolders {
            media_type: manifest.media_type,
            tags: self.below(Table::TagOf, id, digest, text, more)?,
            parents: self.below(Table::Parent, id, digest, digests, more)?,
            subject: subject.map(|subject| shown(subject, subject)).transpose()?,
            referrers: self.below(Table::Referrer, id, digest, digests, more)?,
            ..ManifestHolders::default()
        };
        if let Some(subject) = subject {
            holders.subject_there = self.tables().get(&key(Table::Manifest, &[id, subject]))?.is_some();
        }
        match manifest.waits {
            Some(Waits::LostMono(at)) => holders.review_ms = Some(at.saturating_sub(mono)),
            Some(Waits::UntaggedMono(since)) => {
                holders.untagged_ms = Some(mono.saturating_sub(since));
                let age = delays.untagged_ms.max(delays.grace_ms);
                let left = since.saturating_add(age).saturating_sub(mono);
                holders.untagged_left_ms = (delays.untagged_ms > 0).then_some(left);
            }
            None => {}
        }
        Ok(holders)
    }

    fn trash_of(&self, id: &[u8], digest: &[u8], trashed: &wire::Trashed, more: &mut bool) -> Result<Trash, Error> {
        let tags = self.below(Table::TrashTagOf, id, digest, text, more)?;
        Ok(Trash { left_ms: trashed.until_mono.saturating_sub(self.mono()?), at_wall: trashed.at_wall, tags })
    }

    /// What of a repository can be undeleted; `None` if there is no such repository.
    pub fn trash(&self, name: &RepositoryName) -> Result<Option<Deleted>, Error> {
        let entry = key(Table::Repository, &[name.as_str().as_bytes()]);
        let Some(repository) = get::<wire::Repository>(self.tables(), &entry)? else { return Ok(None) };
        let (id, mono) = (repository.id.as_ref(), self.mono()?);
        let mut deleted = Deleted::default();
        let manifests = key(Table::Trash, &[id]);
        let found = self.tables().scan(&manifests, &prefix_end(&manifests), TRASH_MAX + 1)?;
        deleted.more |= found.len() > TRASH_MAX;
        for (entry, value) in found.into_iter().take(TRASH_MAX) {
            let trashed: wire::Trashed = decode(&entry, value)?;
            let digest = &entry[manifests.len()..];
            let trash = self.trash_of(id, digest, &trashed, &mut deleted.more)?;
            deleted.manifests.push(DeletedManifest { digest: shown(digest, &entry)?, trash });
        }
        let tags = key(Table::TrashTag, &[id]);
        let found = self.tables().scan(&tags, &prefix_end(&tags), TRASH_MAX + 1)?;
        deleted.more |= found.len() > TRASH_MAX;
        for (entry, value) in found.into_iter().take(TRASH_MAX) {
            let trashed: wire::TrashedTag = decode(&entry, value)?;
            if trashed.with_manifest {
                continue;
            }
            deleted.tags.push(DeletedTag {
                tag: text(&entry[tags.len()..]).ok_or_else(|| damaged("deleted tag", &entry))?,
                digest: shown(&trashed.digest, &entry)?,
                left_ms: trashed.until_mono.saturating_sub(mono),
                at_wall: trashed.at_wall,
            });
        }
        Ok(Some(deleted))
    }

    /// What an index has below a repository and a digest.
    fn below(
        &self,
        table: Table,
        id: &[u8],
        digest: &[u8],
        read: impl Fn(&[u8]) -> Option<String>,
        more: &mut bool,
    ) -> Result<Vec<String>, Error> {
        let prefix = key(table, &[id, digest]);
        let pairs = self.tables().scan(&prefix, &prefix_end(&prefix), LISTED_MAX + 1)?;
        *more |= pairs.len() > LISTED_MAX;
        let listed = pairs.iter().take(LISTED_MAX);
        listed.map(|(entry, _)| Ok(read(&entry[prefix.len()..]).ok_or_else(|| damaged("index", entry))?)).collect()
    }

    /// What becomes of a key of the store.
    pub fn why_object(&self, key_text: &str) -> Result<Object, Error> {
        let unknown = Object { state: "unknown".to_owned(), ..Object::default() };
        let list = match self.object(key_text)?.and_then(|object| object.state) {
            None => return Ok(unknown),
            Some(State::Deleting(_)) => {
                return Ok(Object { state: "deleting".to_owned(), left_ms: Some(0), ..unknown });
            }
            Some(State::Live(list)) => list,
        };
        let (mono, (delays, _)) = (self.mono()?, self.gc()?);
        let mut object = Object { state: "blob".to_owned(), list: Some(hex::encode(&list)), ..unknown };
        if self.tables().get(&key(Table::Session, &[&list]))?.is_some() {
            object.state = "upload".to_owned();
            return Ok(object);
        }
        let mut undecided = false;
        for (queue, state, delay) in [(Table::Condemned, "condemned", delays.delete_ms), (Table::Garbage, "garbage", 0)]
        {
            let (since, more) = self.queued_list(queue, &list)?;
            undecided |= more;
            if let Some(since) = since {
                object.state = state.to_owned();
                object.age_ms = Some(mono.saturating_sub(since));
                object.left_ms = Some(since.saturating_add(delay).saturating_sub(mono));
                return Ok(object);
            }
        }
        if undecided {
            object.state = "recorded".to_owned();
        }
        Ok(object)
    }

    /// Since when a list has been in a queue, if it is among the first of it; and whether there are others.
    fn queued_list(&self, queue: Table, list: &[u8]) -> Result<(Option<u64>, bool), Error> {
        let mut found = None;
        let more = self.each_queued(queue, |entry, _| {
            found = split_timed(entry).filter(|(_, id)| *id == list).map(|(since, _)| since);
            Ok(found.is_some())
        })?;
        Ok((found, more))
    }

    /// Looks at the first entries of a queue until `stop` says so; whether there are more.
    fn each_queued(
        &self,
        queue: Table,
        mut stop: impl FnMut(&[u8], Vec<u8>) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let prefix = key(queue, &[]);
        let (mut start, end) = (prefix.clone(), prefix_end(&prefix));
        let mut looks = 0;
        while looks < LOOKS_MAX {
            let page = self.tables().scan(&start, &end, PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(false) };
            start = keys::after(last.clone());
            looks += page.len();
            for (entry, value) in page {
                if stop(&entry, value)? {
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn shown(digest: &[u8], entry: &[u8]) -> Result<String, Error> {
    let digest = Digest::from_bytes(digest).ok_or_else(|| damaged("digest", entry))?;
    Ok(digest.to_string())
}
