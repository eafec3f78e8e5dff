//! The rules once more, as naively as possible: whole collections of plain structs, no counts, no indexes.

use crate::metadata::{Command, Outcome};
use bytes::Bytes;
use flotilla_proto::wire::metadata as wire;
use std::collections::{BTreeMap, HashMap, HashSet};
use wire::ended::Result as End;
use wire::tag_expectation::Kind as Expect;

#[derive(Default)]
pub(super) struct Model {
    pub(super) mono: u64,
    term: u64,
    store: Option<wire::Store>,
    index: u64,
    last_node: u64,
    remembered: HashMap<Bytes, (Outcome, u64)>,
    pub(super) sessions: HashMap<Bytes, Session>,
    ended: HashMap<Bytes, wire::Ended>,
    pub(super) blobs: HashMap<Bytes, Blob>,
    pub(super) links: HashSet<(String, Bytes)>,
    pub(super) repositories: HashSet<String>,
    pub(super) manifests: HashMap<(String, Bytes), wire::PutManifest>,
    pub(super) tags: BTreeMap<(String, String), (Bytes, u64)>,
    pub(super) live: HashSet<String>,
    pub(super) deleting: HashSet<String>,
    garbage: BTreeMap<(u64, Bytes), Vec<String>>,
    condemned: Vec<Bytes>,
    /// The newest last.
    pub(super) token_keys: Vec<TokenKey>,
}

#[derive(Clone)]
pub(super) struct TokenKey {
    pub(super) id: Bytes,
    made: u64,
    pub(super) replaced: Option<u64>,
}

pub(super) struct Session {
    repository: String,
    pub(super) offset: u64,
    keys: Vec<String>,
    idle_by: u64,
    hard_by: u64,
    hour: u64,
}

pub(super) struct Blob {
    pub(super) size: u64,
    list: Bytes,
    pub(super) keys: Vec<String>,
}

const UNSUPPORTED: Outcome = Outcome::Unsupported(wire::Unsupported {});
const BLOB_UNKNOWN: Outcome = Outcome::BlobUnknown(wire::BlobUnknown {});

fn done(count: usize) -> Outcome {
    Outcome::Done(wire::Done { count: count as u64 })
}

impl Model {
    pub(super) fn operate(&mut self, operation: &wire::Operation) -> Outcome {
        self.index += 1;
        let id = &operation.request_id;
        if let Some((first, at)) = self.remembered.get(id)
            && self.mono < at + 600_000
        {
            return first.clone();
        }
        let command = operation.command.as_ref().and_then(|command| command.kind.as_ref()).expect("a command");
        let outcome = self.run(command);
        if !id.is_empty() {
            self.remembered.insert(id.clone(), (outcome.clone(), self.mono));
        }
        outcome
    }

    fn run(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Tick(c) => {
                let counted = if c.term == self.term { c.elapsed_ms.min(15_000) } else { 0 };
                self.term = self.term.max(c.term);
                self.mono += counted;
                done(counted as usize)
            }
            Command::CreateStore(c) => {
                let wire::CreateStore { cluster_id, incarnation, token } = c.clone();
                let made = wire::Store { cluster_id, incarnation, token, marked: false };
                let wire::Store { cluster_id, incarnation, token, .. } = self.store.get_or_insert(made).clone();
                Outcome::StoreCreated(wire::StoreCreated { cluster_id, incarnation, token })
            }
            Command::MarkStore(c) => done(usize::from(self.store.as_ref().is_some_and(|s| s.token == c.token))),
            Command::OpenSession(c) => self.open(c),
            Command::TouchSession(c) => {
                let mono = self.mono;
                match self.sessions.get_mut(&c.session_id) {
                    Some(s) => {
                        s.idle_by = (mono + c.idle_ms).min(s.hard_by);
                        done(1)
                    }
                    None => self.unknown(&c.session_id),
                }
            }
            Command::RecordChunk(c) => {
                let segment = c.segment.as_ref().filter(|s| s.length > 0);
                let answer = self.chunk(c, segment);
                if !matches!(answer, Outcome::ChunkRecorded(_)) {
                    self.discard(segment);
                }
                answer
            }
            Command::CommitBlob(c) => {
                let segment = c.segment.as_ref().filter(|s| s.length > 0);
                let answer = self.commit(c, segment);
                self.discard(segment);
                answer
            }
            Command::CancelSession(c) => match self.sessions.get(&c.session_id) {
                None => self.unknown(&c.session_id),
                Some(s) if s.repository != c.repository => {
                    Outcome::SessionUnknown(wire::SessionUnknown { ended: None })
                }
                Some(_) => {
                    self.drop_session(&c.session_id, End::Cancelled(true));
                    done(1)
                }
            },
            Command::ExpireSessions(c) => {
                let mut count = 0;
                for id in &c.session_ids {
                    if self.sessions.get(id).is_some_and(|s| s.idle_by.min(s.hard_by) <= self.mono) {
                        self.drop_session(id, End::Expired(true));
                        count += 1;
                    }
                }
                done(count)
            }
            Command::DiscardObject(c) => done(usize::from(self.discard(c.segment.as_ref()))),
            Command::MountBlob(c) => {
                let seen = |r: &String| self.links.contains(&(r.clone(), c.digest.clone()));
                let Some(size) = self.blobs.get(&c.digest).map(|b| b.size) else { return BLOB_UNKNOWN };
                if c.from.as_ref().is_some_and(|from| !seen(from)) {
                    return BLOB_UNKNOWN;
                }
                self.link(&c.to, &c.digest);
                Outcome::BlobMounted(wire::BlobMounted { size })
            }
            Command::DeleteBlobLink(c) => self.delete_link(c),
            Command::PutManifest(c) => self.put_manifest(c),
            Command::DeleteManifest(c) => self.delete_manifest(c),
            Command::DeleteTag(c) => self.delete_tag(c),
            Command::StartDelete(c) => {
                let mut count = 0;
                while count < c.limit as usize {
                    let Some(mut entry) = self.garbage.first_entry() else { break };
                    let object = entry.get_mut().remove(0);
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                    self.live.remove(&object);
                    self.deleting.insert(object);
                    count += 1;
                }
                done(count)
            }
            Command::DeletesDone(c) => done(c.keys.iter().filter(|object| self.deleting.remove(*object)).count()),
            Command::AllocateNodeId(_) => {
                self.last_node = (65_536 + self.index).max(self.last_node + 1);
                Outcome::NodeIdAllocated(wire::NodeIdAllocated { node_id: self.last_node })
            }
            Command::AddTokenKey(c) => self.add_token_key(c),
        }
    }

    fn add_token_key(&mut self, c: &wire::AddTokenKey) -> Outcome {
        let mono = self.mono;
        if self.token_keys.last().is_some_and(|newest| mono - newest.made < c.rotate_ms) {
            return done(0);
        }
        let mut keys = self.token_keys.clone();
        if let Some(newest) = keys.last_mut() {
            newest.replaced = Some(mono);
        }
        keys.retain(|key| key.replaced.is_none_or(|replaced| mono - replaced < c.keep_ms));
        if keys.len() == 8 || self.token_keys.iter().any(|key| key.id == c.key_id) {
            return done(0);
        }
        keys.push(TokenKey { id: c.key_id.clone(), made: mono, replaced: None });
        self.token_keys = keys;
        done(1)
    }

    fn open(&mut self, c: &wire::OpenSession) -> Outcome {
        let hour = self.mono / 3_600_000;
        if let Some(session) = self.sessions.get(&c.session_id) {
            return Outcome::SessionOpened(wire::SessionOpened { hour: session.hour });
        }
        if self.end_of(&c.session_id).is_some() {
            return self.unknown(&c.session_id);
        }
        let id = &c.session_id;
        let used = self.garbage.keys().any(|(_, list)| list == id)
            || self.condemned.contains(id)
            || self.blobs.values().any(|blob| blob.list == id && !blob.keys.is_empty());
        if used {
            return UNSUPPORTED;
        }
        self.ended.remove(id);
        let (idle_by, hard_by) = (self.mono + c.idle_ms, self.mono + c.hard_ms);
        let repository = c.repository.clone();
        self.sessions.insert(id.clone(), Session { repository, offset: 0, keys: vec![], idle_by, hard_by, hour });
        Outcome::SessionOpened(wire::SessionOpened { hour })
    }

    fn chunk(&mut self, c: &wire::RecordChunk, segment: Option<&wire::Segment>) -> Outcome {
        if let Some(refusal) = self.refusal(&c.session_id, c.from, segment) {
            return refusal;
        }
        let mono = self.mono;
        self.add(&c.session_id, segment);
        let session = self.sessions.get_mut(&c.session_id).expect("open");
        session.idle_by = (mono + c.idle_ms).min(session.hard_by);
        Outcome::ChunkRecorded(wire::ChunkRecorded { offset: session.offset })
    }

    fn refusal(&self, id: &Bytes, at: u64, segment: Option<&wire::Segment>) -> Option<Outcome> {
        let Some(session) = self.sessions.get(id) else { return Some(self.unknown(id)) };
        if session.offset != at {
            return Some(Outcome::OffsetMismatch(wire::OffsetMismatch { offset: session.offset }));
        }
        let recorded = segment.is_some_and(|s| self.live.contains(&s.key) || self.deleting.contains(&s.key));
        recorded.then_some(UNSUPPORTED)
    }

    fn add(&mut self, id: &Bytes, segment: Option<&wire::Segment>) {
        if let Some(segment) = segment {
            let session = self.sessions.get_mut(id).expect("open");
            session.offset += segment.length;
            session.keys.push(segment.key.clone());
            self.live.insert(segment.key.clone());
        }
    }

    fn commit(&mut self, c: &wire::CommitBlob, segment: Option<&wire::Segment>) -> Outcome {
        if !self.sessions.contains_key(&c.session_id)
            && let Some(wire::Ended { result: Some(End::Committed(committed)), .. }) = self.end_of(&c.session_id)
            && committed.digest == c.digest
        {
            return Outcome::BlobCommitted(committed);
        }
        if let Some(refusal) = self.refusal(&c.session_id, c.at, segment) {
            return refusal;
        }
        let size = c.at + segment.map_or(0, |s| s.length);
        if size != c.size || self.blobs.get(&c.digest).is_some_and(|blob| blob.size != size) {
            return UNSUPPORTED;
        }
        self.add(&c.session_id, segment);
        let session = self.sessions.remove(&c.session_id).expect("open");
        let existed = self.blobs.contains_key(&c.digest);
        if existed {
            self.queue_garbage(&c.session_id, session.keys);
        } else {
            self.blobs.insert(c.digest.clone(), Blob { size, list: c.session_id.clone(), keys: session.keys });
        }
        self.link(&session.repository, &c.digest);
        let committed = wire::BlobCommitted { digest: c.digest.clone(), size, existed };
        self.end(&c.session_id, session.repository, End::Committed(committed.clone()));
        Outcome::BlobCommitted(committed)
    }

    fn delete_link(&mut self, c: &wire::DeleteBlobLink) -> Outcome {
        if !self.repositories.contains(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let link = (c.repository.clone(), c.digest.clone());
        if !self.links.contains(&link) {
            return BLOB_UNKNOWN;
        }
        let uses =
            |((r, _), m): &(&(String, Bytes), &wire::PutManifest)| *r == c.repository && m.blobs.contains(&c.digest);
        let references = self.manifests.iter().filter(uses).count() as u64;
        if references > 0 {
            return Outcome::BlobReferenced(wire::BlobReferenced { references });
        }
        self.links.remove(&link);
        if !self.links.iter().any(|(_, digest)| *digest == c.digest) {
            let blob = self.blobs.remove(&c.digest).expect("linked");
            if !blob.keys.is_empty() {
                self.condemned.push(blob.list);
            }
        }
        done(1)
    }

    fn put_manifest(&mut self, c: &wire::PutManifest) -> Outcome {
        let lacks_blob = |d: &&Bytes| !self.links.contains(&(c.repository.clone(), (*d).clone()));
        let lacks_child = |d: &&Bytes| !self.manifests.contains_key(&(c.repository.clone(), (*d).clone()));
        let missing_blobs: Vec<Bytes> = c.blobs.iter().filter(lacks_blob).cloned().collect();
        let missing_children: Vec<Bytes> = match c.allow_missing_children {
            true => vec![],
            false => c.children.iter().filter(lacks_child).cloned().collect(),
        };
        if !missing_blobs.is_empty() || !missing_children.is_empty() {
            return Outcome::ManifestRejected(wire::ManifestRejected { missing_blobs, missing_children });
        }
        if let (Some(expect), [tag]) = (&c.expect, c.tags.as_slice())
            && let Some(failed) = self.unexpected(&c.repository, tag, expect)
        {
            return failed;
        }
        self.repositories.insert(c.repository.clone());
        let at = (c.repository.clone(), c.digest.clone());
        let created = !self.manifests.contains_key(&at);
        self.manifests.entry(at).or_insert_with(|| c.clone());
        for tag in &c.tags {
            let entry = self.tags.entry((c.repository.clone(), tag.clone())).or_default();
            *entry = (c.digest.clone(), entry.1 + 1);
        }
        Outcome::ManifestPut(wire::ManifestPut { digest: c.digest.clone(), created })
    }

    fn unexpected(&self, repository: &str, tag: &str, expect: &wire::TagExpectation) -> Option<Outcome> {
        let actual = self.tags.get(&(repository.to_owned(), tag.to_owned())).map(|(digest, _)| digest.clone());
        let holds = match expect.kind.as_ref().expect("a kind") {
            Expect::Digest(digest) => actual.as_ref() == Some(digest),
            Expect::Absent(_) => actual.is_none(),
        };
        (!holds).then_some(Outcome::PreconditionFailed(wire::PreconditionFailed { actual }))
    }

    fn delete_manifest(&mut self, c: &wire::DeleteManifest) -> Outcome {
        if !self.repositories.contains(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let at = (c.repository.clone(), c.digest.clone());
        if !self.manifests.contains_key(&at) {
            return Outcome::ManifestUnknown(wire::ManifestUnknown {});
        }
        let lists =
            |((r, _), m): &(&(String, Bytes), &wire::PutManifest)| *r == c.repository && m.children.contains(&c.digest);
        let mut parents: Vec<Bytes> = self.manifests.iter().filter(lists).map(|((_, d), _)| d.clone()).collect();
        if !parents.is_empty() {
            parents.sort();
            parents.truncate(16);
            return Outcome::ManifestReferenced(wire::ManifestReferenced { parents });
        }
        let mine = |((r, _), (d, _)): &(&(String, String), &(Bytes, u64))| *r == c.repository && *d == c.digest;
        let tags: Vec<_> = self.tags.iter().filter(mine).map(|(at, _)| at.clone()).collect();
        let taken = tags.len().min(c.tags_max.max(1) as usize);
        tags[..taken].iter().for_each(|tag| drop(self.tags.remove(tag)));
        if taken < tags.len() {
            return Outcome::ManifestShrunk(wire::ManifestShrunk {});
        }
        self.manifests.remove(&at);
        done(1)
    }

    fn delete_tag(&mut self, c: &wire::DeleteTag) -> Outcome {
        if !self.repositories.contains(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let at = (c.repository.clone(), c.tag.clone());
        if !self.tags.contains_key(&at) {
            return Outcome::TagUnknown(wire::TagUnknown {});
        }
        if let Some(expect) = &c.expect
            && let Some(failed) = self.unexpected(&c.repository, &c.tag, expect)
        {
            return failed;
        }
        self.tags.remove(&at);
        done(1)
    }

    fn link(&mut self, repository: &str, digest: &Bytes) {
        self.repositories.insert(repository.to_owned());
        self.links.insert((repository.to_owned(), digest.clone()));
    }

    fn drop_session(&mut self, id: &Bytes, end: End) {
        let session = self.sessions.remove(id).expect("open");
        self.queue_garbage(id, session.keys);
        self.end(id, session.repository, end);
    }

    fn queue_garbage(&mut self, id: &Bytes, keys: Vec<String>) {
        if !keys.is_empty() {
            self.garbage.insert((self.mono, id.clone()), keys);
        }
    }

    fn end(&mut self, id: &Bytes, repository: String, result: End) {
        self.ended.insert(id.clone(), wire::Ended { repository, result: Some(result), at_mono: self.mono });
    }

    fn end_of(&self, id: &Bytes) -> Option<wire::Ended> {
        self.ended.get(id).filter(|ended| self.mono < ended.at_mono + 3_600_000).cloned()
    }

    fn unknown(&self, id: &Bytes) -> Outcome {
        Outcome::SessionUnknown(wire::SessionUnknown { ended: self.end_of(id) })
    }

    fn discard(&mut self, segment: Option<&wire::Segment>) -> bool {
        segment.is_some_and(|s| !self.live.contains(&s.key) && self.deleting.insert(s.key.clone()))
    }
}
