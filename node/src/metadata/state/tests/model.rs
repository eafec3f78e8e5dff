//! The rules once more, as naively as possible: whole collections of plain structs, no counts, no indexes.

use super::{Table, key};
use crate::metadata::{Command, Outcome, View};
use bytes::Bytes;
use flotilla_proto::metadata::GC_DELAYS;
use flotilla_proto::wire::metadata as wire;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
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
    /// When the lease of a link ends, once nothing references it.
    pub(super) links: BTreeMap<(String, Bytes), u64>,
    /// Ids by name; a deleted one goes on under a name that nobody can have.
    pub(super) repositories: HashMap<String, Bytes>,
    pub(super) manifests: HashMap<(String, Bytes), wire::PutManifest>,
    pub(super) tags: BTreeMap<(String, String), (Bytes, u64)>,
    pub(super) live: HashSet<String>,
    pub(super) deleting: HashSet<String>,
    garbage: BTreeMap<(u64, Bytes), Vec<String>>,
    condemned: BTreeMap<(u64, Bytes), Condemned>,
    trash: BTreeMap<At, (wire::PutManifest, u64, bool)>,
    trash_tags: BTreeMap<(String, String), TrashedTag>,
    /// Manifests that lost something that held them, and until when what they lost last can be undeleted.
    lost: HashMap<At, u64>,
    /// Manifests that are gone and may have referrers.
    bereaved: HashSet<At>,
    /// Until when a client may rely on a manifest.
    promised: HashMap<At, u64>,
    delays: Option<wire::GcDelays>,
    mode: i32,
    admitted: u64,
    entered: Vec<(u64, u64)>,
    /// When the last session of an hour ended.
    hours: BTreeMap<u64, u64>,
    hour: u64,
    hour_began: u64,
    /// The newest last.
    pub(super) token_keys: Vec<TokenKey>,
}

/// Repository and digest.
type At = (String, Bytes);

struct TrashedTag {
    digest: Bytes,
    version: u64,
    until: u64,
    with_manifest: bool,
}

struct Condemned {
    keys: Vec<String>,
    bytes: u64,
    admitted: bool,
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
    pub(super) suspect: bool,
}

/// What the state machine made of an operation.
pub(super) struct Machine<'a> {
    pub(super) view: &'a View,
    pub(super) outcome: Outcome,
}

impl Machine<'_> {
    fn has(&self, repository: Bytes, digest: &Bytes) -> bool {
        let manifest = key(Table::Manifest, &[&repository, digest]);
        self.view.tables().get(&manifest).expect("read").is_some()
    }
}

const UNSUPPORTED: Outcome = Outcome::Unsupported(wire::Unsupported {});
const BLOB_UNKNOWN: Outcome = Outcome::BlobUnknown(wire::BlobUnknown {});

fn done(count: usize) -> Outcome {
    Outcome::Done(wire::Done { count: count as u64 })
}

impl Model {
    /// What the operation must come to; `machine` says what the state machine made of it.
    pub(super) fn operate(&mut self, operation: &wire::Operation, machine: &Machine<'_>) -> Outcome {
        self.index += 1;
        let id = &operation.request_id;
        if let Some((first, at)) = self.remembered.get(id)
            && self.mono < at + 600_000
        {
            return first.clone();
        }
        let command = operation.command.as_ref().and_then(|command| command.kind.as_ref()).expect("a command");
        let before = self.referenced();
        let outcome = self.run(command, machine);
        for at in before.difference(&self.referenced()) {
            let end = self.lease_end();
            if let Some(eligible) = self.links.get_mut(at) {
                *eligible = end;
            }
        }
        if !id.is_empty() {
            self.remembered.insert(id.clone(), (outcome.clone(), self.mono));
        }
        outcome
    }

    pub(super) fn delays(&self) -> wire::GcDelays {
        self.delays.unwrap_or(GC_DELAYS)
    }

    fn lease_end(&self) -> u64 {
        self.mono + self.delays().grace_ms
    }

    /// The links that some manifest references.
    pub(super) fn referenced(&self) -> BTreeSet<At> {
        let of =
            |((r, _), m): (&At, &wire::PutManifest)| m.blobs.iter().map(|d| (r.clone(), d.clone())).collect::<Vec<_>>();
        self.manifests.iter().flat_map(of).collect()
    }

    fn on(&self) -> bool {
        self.mode == 0
    }

    fn run(&mut self, command: &Command, machine: &Machine<'_>) -> Outcome {
        match command {
            Command::Tick(c) => {
                let counted = if c.term == self.term { c.elapsed_ms.min(15_000) } else { 0 };
                self.term = self.term.max(c.term);
                self.mono += counted;
                if self.mono - self.hour_began >= self.delays().hour_ms {
                    (self.hour, self.hour_began) = (self.hour + 1, self.mono);
                }
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
                let seen = |r: &String| self.links.contains_key(&(r.clone(), c.digest.clone()));
                let blob = self.blobs.get(&c.digest).filter(|b| !b.suspect);
                let Some(size) = blob.map(|b| b.size) else { return BLOB_UNKNOWN };
                if c.from.as_ref().is_some_and(|from| !seen(from)) {
                    return BLOB_UNKNOWN;
                }
                self.link(&c.to, &c.digest, &c.new_repository_id);
                Outcome::BlobMounted(wire::BlobMounted { size })
            }
            Command::DeleteBlobLink(c) => self.delete_link(c),
            Command::PutManifest(c) => self.put_manifest(c),
            Command::DeleteManifest(c) => self.delete_manifest(c),
            Command::DeleteTag(c) => self.delete_tag(c),
            Command::RaiseFeatureLevel(_) => done(1),
            Command::TouchLinks(c) => self.touch_links(c),
            Command::Collect(c) => self.collect(c),
            Command::MarkSuspect(c) => self.set_suspect(&c.digest, &c.segment_list, true),
            Command::ClearSuspect(c) => self.set_suspect(&c.digest, &c.segment_list, false),
            Command::TouchManifest(c) => self.touch_manifest(c, machine),
            Command::SweepManifests(c) => self.sweep(c, machine),
            Command::UndeleteManifest(c) => self.undelete_manifest(c),
            Command::UndeleteTag(c) => self.undelete_tag(c),
            Command::PurgeTrash(_) if !self.on() => done(0),
            Command::PurgeTrash(_) => {
                let before = self.trash.len() + self.trash_tags.len();
                self.trash.retain(|_, (_, until, _)| *until > self.mono);
                self.trash_tags.retain(|_, tag| tag.until > self.mono);
                done(before - self.trash.len() - self.trash_tags.len())
            }
            Command::DeleteRepository(c) => self.delete_repository(c),
            Command::DrainRepository(_) if !self.on() => done(0),
            Command::DrainRepository(c) => self.drain(c, machine),
            Command::HoursSwept(c) => {
                let mut count = 0;
                for hour in &c.hours {
                    let open = self.sessions.values().any(|session| session.hour == *hour);
                    let quiet = self.hours.get(hour).is_some_and(|end| end + self.delays().sweep_ms <= self.mono);
                    if !open && quiet && *hour < self.hour && self.hours.remove(hour).is_some() {
                        count += 1;
                    }
                }
                done(count)
            }
            Command::ConfigureGc(c) => {
                let changed = self.delays != c.delays;
                self.delays = c.delays;
                done(usize::from(changed))
            }
            Command::SetGcMode(c) => {
                self.mode = c.mode;
                if self.on() {
                    self.admitted = self.admitted.max((self.mono + 1).saturating_sub(self.delays().delete_ms));
                    self.entered.clear();
                }
                done(1)
            }
            Command::StartDelete(c) => {
                let mut count = 0;
                while count < c.limit as usize {
                    let Some(object) = self.next_garbage().or_else(|| self.next_condemned()) else { break };
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
        let hour = self.hour;
        if let Some(session) = self.sessions.get(&c.session_id) {
            return Outcome::SessionOpened(wire::SessionOpened { hour: session.hour });
        }
        if self.end_of(&c.session_id).is_some() {
            return self.unknown(&c.session_id);
        }
        let id = &c.session_id;
        let used = self.garbage.keys().any(|(_, list)| list == id)
            || self.condemned.keys().any(|(_, list)| list == id)
            || self.blobs.values().any(|blob| blob.list == id && !blob.keys.is_empty());
        if used {
            return UNSUPPORTED;
        }
        self.ended.remove(id);
        let (idle_by, hard_by) = (self.mono + c.idle_ms, self.mono + c.hard_ms);
        let repository = c.repository.clone();
        self.hours.entry(hour).or_default();
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
        let existed = self.blobs.get(&c.digest).is_some_and(|blob| !blob.suspect);
        if existed {
            self.queue_garbage(&c.session_id, session.keys);
        } else {
            let blob = Blob { size, list: c.session_id.clone(), keys: session.keys, suspect: false };
            if let Some(damaged) = self.blobs.insert(c.digest.clone(), blob) {
                self.condemn(damaged);
            }
        }
        self.link(&session.repository, &c.digest, &c.new_repository_id);
        let committed = wire::BlobCommitted { digest: c.digest.clone(), size, existed };
        self.end(&c.session_id, session.repository, session.hour, End::Committed(committed.clone()));
        Outcome::BlobCommitted(committed)
    }

    fn delete_link(&mut self, c: &wire::DeleteBlobLink) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let link = (c.repository.clone(), c.digest.clone());
        if !self.links.contains_key(&link) {
            return BLOB_UNKNOWN;
        }
        let uses =
            |((r, _), m): &(&(String, Bytes), &wire::PutManifest)| *r == c.repository && m.blobs.contains(&c.digest);
        let references = self.manifests.iter().filter(uses).count() as u64;
        if references > 0 {
            return Outcome::BlobReferenced(wire::BlobReferenced { references });
        }
        self.drop_link(&link);
        done(1)
    }

    fn drop_link(&mut self, link: &At) {
        self.links.remove(link);
        if !self.links.keys().any(|(_, digest)| *digest == link.1) {
            let blob = self.blobs.remove(&link.1).expect("linked");
            self.condemn(blob);
        }
    }

    fn condemn(&mut self, blob: Blob) {
        if !blob.keys.is_empty() {
            let condemned = Condemned { keys: blob.keys, bytes: blob.size, admitted: false };
            self.condemned.insert((self.mono, blob.list), condemned);
        }
    }

    fn next_garbage(&mut self) -> Option<String> {
        let mut entry = self.garbage.first_entry()?;
        let object = entry.get_mut().remove(0);
        if entry.get().is_empty() {
            entry.remove();
        }
        Some(object)
    }

    fn next_condemned(&mut self) -> Option<String> {
        let delays = self.delays();
        let on = self.on();
        let live: u64 = self.blobs.values().map(|blob| blob.size).sum();
        let now = self.mono / 3_600_000;
        let mut entry = self.condemned.first_entry()?;
        let at = entry.key().0;
        if !on || at + delays.delete_ms > self.mono {
            return None;
        }
        let (admitted, bytes) = (entry.get().admitted || at < self.admitted, entry.get().bytes);
        if !admitted {
            let sum = self.entered.iter().filter(|(hour, _)| hour + 24 > now).map(|(_, bytes)| bytes).sum::<u64>();
            if sum + bytes > (live * u64::from(delays.breaker_permille) / 1_000).max(delays.breaker_floor) {
                self.mode = 1;
                return None;
            }
            self.entered.push((now, bytes));
        }
        entry.get_mut().admitted = true;
        let object = entry.get_mut().keys.remove(0);
        if entry.get().keys.is_empty() {
            entry.remove();
        }
        Some(object)
    }

    fn touch_links(&mut self, c: &wire::TouchLinks) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let mut touched = wire::LinksTouched::default();
        for digest in &c.digests {
            let at = (c.repository.clone(), digest.clone());
            if !self.links.contains_key(&at) || self.blobs[digest].suspect {
                touched.missing.push(digest.clone());
            } else {
                touched.renewed += u64::from(self.renew(&at));
            }
        }
        Outcome::LinksTouched(touched)
    }

    fn renew(&mut self, at: &At) -> bool {
        let renewed = !self.referenced().contains(at) && self.links[at] <= self.mono + self.delays().promise_ms;
        if renewed {
            self.links.insert(at.clone(), self.lease_end());
        }
        renewed
    }

    fn collect(&mut self, c: &wire::Collect) -> Outcome {
        let mut collected = wire::Collected::default();
        let referenced = self.referenced();
        let due = |(at, end): &(&At, &u64)| **end <= self.mono && !referenced.contains(*at);
        let mut due: Vec<_> =
            self.links.iter().filter(due).map(|(at, end)| (*end, self.id(&at.0), at.clone())).collect();
        due.sort_by_key(|(end, id, at)| (*end, id.clone(), at.1.clone()));
        if !c.links.is_empty() {
            let named = |id: &Bytes, at: &At| c.links.iter().any(|l| l.repository_id == id && l.digest == at.1);
            due.retain(|(_, id, at)| named(id, at));
        } else {
            due.truncate(c.limit as usize);
        }
        due.retain(|_| self.on());
        for (_, _, at) in due {
            let (blobs, bytes) = (self.blobs.len(), self.blobs[&at.1].size);
            self.drop_link(&at);
            let gone = (blobs - self.blobs.len()) as u64;
            collected.links += 1;
            collected.blobs += gone;
            collected.bytes += gone * bytes;
        }
        Outcome::Collected(collected)
    }

    fn id(&self, repository: &str) -> Bytes {
        self.repositories[repository].clone()
    }

    fn set_suspect(&mut self, digest: &Bytes, list: &Bytes, suspect: bool) -> Outcome {
        let Some(blob) = self.blobs.get_mut(digest) else { return BLOB_UNKNOWN };
        let applies = blob.list == list && blob.suspect != suspect;
        blob.suspect ^= applies;
        done(usize::from(applies))
    }

    fn touch_manifest(&mut self, c: &wire::TouchManifest, machine: &Machine<'_>) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let at = (c.repository.clone(), c.digest.clone());
        if !self.manifests.contains_key(&at) {
            return Outcome::ManifestUnknown(wire::ManifestUnknown {});
        }
        self.promised.insert(at, self.mono + self.delays().promise_ms);
        // Whether that took a write is the machine's business.
        assert!(matches!(machine.outcome, Outcome::Done(_)));
        machine.outcome.clone()
    }

    // ------------------------------------------------------------ what holds manifests

    /// What holds a manifest directly: indexes that list it, and its subject.
    fn holders(&self, at: &At) -> Vec<At> {
        let (repository, digest) = at;
        let lists = |((r, _), m): &(&At, &wire::PutManifest)| r == repository && m.children.contains(digest);
        let subject = self.manifests[at].subject.clone().map(|subject| (repository.clone(), subject));
        let subject = subject.filter(|subject| self.manifests.contains_key(subject));
        self.manifests.iter().filter(lists).map(|(at, _)| at.clone()).chain(subject).collect()
    }

    /// A manifest and everything above it.
    fn above(&self, at: &At) -> BTreeSet<At> {
        let mut above = BTreeSet::from([at.clone()]);
        loop {
            let more: Vec<_> = above.iter().flat_map(|at| self.holders(at)).collect();
            let before = above.len();
            above.extend(more);
            if above.len() == before {
                return above;
            }
        }
    }

    fn tagged(&self, (repository, digest): &At) -> bool {
        self.tags.iter().any(|((r, _), (d, _))| r == repository && d == digest)
    }

    pub(super) fn held_by_a_tag(&self, at: &At) -> bool {
        self.above(at).iter().any(|at| self.tagged(at))
    }

    /// Whether a manifest may go: neither it nor anything above it has a tag, or may stay without one.
    fn may_go(&self, at: &At, untagged: bool) -> bool {
        let own_right = |at: &At| self.holders(at).is_empty() && !self.lost.contains_key(at) && !untagged;
        let promised = self.promised.get(at).is_some_and(|until| *until >= self.mono);
        let lately = self.lost.get(at).is_some_and(|until| *until > self.mono);
        !promised && !lately && !self.above(at).iter().any(|at| self.tagged(at) || own_right(at))
    }

    /// Takes over what the machine removed, if that may go.
    fn sweep(&mut self, c: &wire::SweepManifests, machine: &Machine<'_>) -> Outcome {
        let Outcome::ManifestsSwept(swept) = &machine.outcome else { panic!("{:?}", machine.outcome) };
        let mut gone: Vec<_> =
            self.manifests.keys().filter(|at| !machine.has(self.id(&at.0), &at.1)).cloned().collect();
        assert_eq!(gone.len() as u64, swept.removed);
        assert!(gone.is_empty() || self.on(), "collection is paused");
        self.tell_referrers();
        let untagged = c.untagged || self.delays().untagged_ms > 0;
        // In whatever order: indexes go before what they list.
        while !gone.is_empty() {
            let listed = |at: &At| self.manifests.iter().any(|((r, _), m)| *r == at.0 && m.children.contains(&at.1));
            let next = gone.iter().position(|at| !listed(at)).expect("no index is left that lists a swept manifest");
            let at = gone.remove(next);
            assert!(self.may_go(&at, untagged), "{at:?} is held, or promised");
            self.remove_manifest(&at);
        }
        machine.outcome.clone()
    }

    fn tell_referrers(&mut self) {
        let orphans = |at: &At| {
            self.manifests[at]
                .subject
                .as_ref()
                .is_some_and(|s| !self.manifests.contains_key(&(at.0.clone(), s.clone())))
        };
        // Those that never had one are of their own right.
        let told: Vec<_> = self.manifests.keys().filter(|at| orphans(at)).cloned().collect();
        for at in told {
            let subject = self.manifests[&at].subject.clone().expect("a referrer");
            if self.bereaved.contains(&(at.0.clone(), subject)) {
                // The machine tells each once, maybe later: no longer than that is known here.
                let until = self.lost.get(&at).copied();
                self.lose(&at);
                if let Some(until) = until.filter(|_| self.lost.contains_key(&at)) {
                    self.lost.insert(at, until);
                }
            }
        }
    }

    fn lose(&mut self, at: &At) {
        if self.manifests.contains_key(at) && !self.tagged(at) {
            self.lost.insert(at.clone(), self.lease_end());
        }
    }

    fn remove_manifest(&mut self, at: &At) {
        let manifest = self.manifests.remove(at).expect("it is there");
        self.lost.remove(at);
        self.promised.remove(at);
        for child in manifest.children {
            self.lose(&(at.0.clone(), child));
        }
        self.bereaved.insert(at.clone());
    }

    // ------------------------------------------------------------ trash and repositories

    fn undelete_manifest(&mut self, c: &wire::UndeleteManifest) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let at = (c.repository.clone(), c.digest.clone());
        let Some((put, _, sparse)) =
            self.trash.get(&at).filter(|(_, until, _)| *until > self.mono || !self.on()).cloned()
        else {
            return Outcome::ManifestUnknown(wire::ManifestUnknown {});
        };
        if !self.manifests.contains_key(&at) {
            if let Some(rejected) = self.missing(&put, sparse) {
                return rejected;
            }
            self.insert_manifest(&at, &put);
        }
        let deleted =
            |(r, _): &(String, String), tag: &TrashedTag| *r == at.0 && tag.digest == at.1 && tag.with_manifest;
        let names: Vec<_> =
            self.trash_tags.iter().filter(|(name, tag)| deleted(name, tag)).map(|(name, _)| name.clone()).collect();
        let mut tags = 0;
        for name in names.iter().take(c.tags_max.max(1) as usize) {
            let tag = self.trash_tags.remove(name).expect("it is there");
            if (tag.until > self.mono || !self.on()) && !self.tags.contains_key(name) {
                self.tags.insert(name.clone(), (tag.digest, tag.version + 1));
                tags += 1;
            }
        }
        let more = names.len() > c.tags_max.max(1) as usize;
        if !more {
            self.trash.remove(&at);
        }
        self.settle(&at);
        Outcome::Undeleted(wire::Undeleted { tags, more })
    }

    fn undelete_tag(&mut self, c: &wire::UndeleteTag) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        }
        let at = (c.repository.clone(), c.tag.clone());
        let Some(tag) = self.trash_tags.get(&at).filter(|tag| tag.until > self.mono || !self.on()) else {
            return Outcome::TagUnknown(wire::TagUnknown {});
        };
        if let Some((digest, _)) = self.tags.get(&at) {
            return Outcome::TagTaken(wire::TagTaken { digest: digest.clone() });
        }
        let manifest = (c.repository.clone(), tag.digest.clone());
        if !self.manifests.contains_key(&manifest) {
            return Outcome::ManifestUnknown(wire::ManifestUnknown {});
        }
        let tag = self.trash_tags.remove(&at).expect("it is there");
        self.tags.insert(at, (tag.digest, tag.version + 1));
        self.lost.remove(&manifest);
        Outcome::Undeleted(wire::Undeleted { tags: 1, more: false })
    }

    fn trash_tag(&mut self, at: &(String, String), with_manifest: bool) {
        let (digest, version) = self.tags.remove(at).expect("a tag");
        let until = self.lease_end();
        self.trash_tags.insert(at.clone(), TrashedTag { digest, version, until, with_manifest });
    }

    fn delete_repository(&mut self, c: &wire::DeleteRepository) -> Outcome {
        let Some(id) = self.repositories.remove(&c.repository) else {
            return Outcome::RepositoryUnknown(wire::RepositoryUnknown {});
        };
        let (old, new) = (c.repository.clone(), format!("!{}", hex::encode(&id)));
        self.repositories.insert(new.clone(), id);
        let is = |r: &String| *r == old;
        let moved: Vec<_> = self.links.keys().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            let end = self.links.remove(&at).expect("there");
            self.links.insert((new.clone(), at.1), end);
        }
        let moved: Vec<_> = self.manifests.keys().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            let manifest = self.manifests.remove(&at).expect("there");
            let to = (new.clone(), at.1.clone());
            if let Some(until) = self.lost.remove(&at) {
                self.lost.insert(to.clone(), until);
            }
            self.manifests.insert(to, manifest);
        }
        let moved: Vec<_> = self.tags.keys().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            let tag = self.tags.remove(&at).expect("there");
            self.tags.insert((new.clone(), at.1), tag);
        }
        let moved: Vec<_> = self.bereaved.iter().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            self.bereaved.remove(&at);
            self.bereaved.insert((new.clone(), at.1));
        }
        self.promised.retain(|(r, _), _| !is(r));
        // What was deleted in it can be forgotten by `PurgeTrash` until it is drained.
        let moved: Vec<_> = self.trash.keys().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            let trashed = self.trash.remove(&at).expect("there");
            self.trash.insert((new.clone(), at.1), trashed);
        }
        let moved: Vec<_> = self.trash_tags.keys().filter(|(r, _)| is(r)).cloned().collect();
        for at in moved {
            let trashed = self.trash_tags.remove(&at).expect("there");
            self.trash_tags.insert((new.clone(), at.1), trashed);
        }
        done(1)
    }

    /// All at once: these repositories are smaller than a page.
    fn drain(&mut self, c: &wire::DrainRepository, machine: &Machine<'_>) -> Outcome {
        let name = format!("!{}", hex::encode(&c.repository_id));
        if self.repositories.remove(&name).is_none() {
            return done(0);
        }
        self.tags.retain(|(r, _), _| *r != name);
        self.manifests.retain(|(r, _), _| *r != name);
        self.trash.retain(|(r, _), _| *r != name);
        self.trash_tags.retain(|(r, _), _| *r != name);
        self.lost.retain(|(r, _), _| *r != name);
        self.bereaved.retain(|(r, _)| *r != name);
        let links: Vec<_> = self.links.keys().filter(|(r, _)| *r == name).cloned().collect();
        links.iter().for_each(|link| self.drop_link(link));
        assert!(matches!(machine.outcome, Outcome::Done(_)));
        machine.outcome.clone()
    }

    fn insert_manifest(&mut self, at: &At, put: &wire::PutManifest) {
        self.manifests.insert(at.clone(), put.clone());
        for child in &put.children {
            self.lost.remove(&(at.0.clone(), child.clone()));
        }
    }

    /// A manifest that was put is of its own right, or held.
    fn settle(&mut self, at: &At) {
        self.lost.remove(at);
        self.promised.insert(at.clone(), self.mono + self.delays().promise_ms);
    }

    fn missing(&self, c: &wire::PutManifest, allow_missing_children: bool) -> Option<Outcome> {
        let lacks_blob =
            |d: &&Bytes| !self.links.contains_key(&(c.repository.clone(), (*d).clone())) || self.blobs[*d].suspect;
        let lacks_child = |d: &&Bytes| !self.manifests.contains_key(&(c.repository.clone(), (*d).clone()));
        let missing_blobs: Vec<Bytes> = c.blobs.iter().filter(lacks_blob).cloned().collect();
        let missing_children: Vec<Bytes> = match allow_missing_children {
            true => vec![],
            false => c.children.iter().filter(lacks_child).cloned().collect(),
        };
        let complete = missing_blobs.is_empty() && missing_children.is_empty();
        (!complete).then_some(Outcome::ManifestRejected(wire::ManifestRejected { missing_blobs, missing_children }))
    }

    fn put_manifest(&mut self, c: &wire::PutManifest) -> Outcome {
        if let Some(rejected) = self.missing(c, c.allow_missing_children) {
            return rejected;
        }
        if let (Some(expect), [tag]) = (&c.expect, c.tags.as_slice())
            && let Some(failed) = self.unexpected(&c.repository, tag, expect)
        {
            return failed;
        }
        self.repositories.entry(c.repository.clone()).or_insert_with(|| c.new_repository_id.clone());
        let at = (c.repository.clone(), c.digest.clone());
        let created = !self.manifests.contains_key(&at);
        if created {
            self.insert_manifest(&at, c);
        }
        for tag in &c.tags {
            let entry = self.tags.entry((c.repository.clone(), tag.clone())).or_default();
            *entry = (c.digest.clone(), entry.1 + 1);
        }
        self.settle(&at);
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
        if !self.repositories.contains_key(&c.repository) {
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
        tags[..taken].iter().for_each(|tag| self.trash_tag(tag, true));
        if taken < tags.len() {
            return Outcome::ManifestShrunk(wire::ManifestShrunk {});
        }
        let put = self.manifests[&at].clone();
        let sparse = self.missing(&put, false).is_some_and(|rejected| match rejected {
            Outcome::ManifestRejected(rejected) => !rejected.missing_children.is_empty(),
            _ => false,
        });
        self.trash.insert(at.clone(), (put, self.lease_end(), sparse));
        self.remove_manifest(&at);
        done(1)
    }

    fn delete_tag(&mut self, c: &wire::DeleteTag) -> Outcome {
        if !self.repositories.contains_key(&c.repository) {
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
        self.trash_tag(&at, false);
        done(1)
    }

    fn link(&mut self, repository: &str, digest: &Bytes, new_id: &Bytes) {
        self.repositories.entry(repository.to_owned()).or_insert_with(|| new_id.clone());
        let at = (repository.to_owned(), digest.clone());
        if self.links.contains_key(&at) {
            self.renew(&at);
        } else {
            self.links.insert(at, self.lease_end());
        }
    }

    fn drop_session(&mut self, id: &Bytes, end: End) {
        let session = self.sessions.remove(id).expect("open");
        self.queue_garbage(id, session.keys);
        self.end(id, session.repository, session.hour, end);
    }

    fn queue_garbage(&mut self, id: &Bytes, keys: Vec<String>) {
        if !keys.is_empty() {
            self.garbage.insert((self.mono, id.clone()), keys);
        }
    }

    fn end(&mut self, id: &Bytes, repository: String, hour: u64, result: End) {
        self.hours.insert(hour, self.mono);
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
