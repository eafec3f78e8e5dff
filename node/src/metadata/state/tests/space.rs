//! A model checker runs the state machine itself (the same `apply`), with a store, clients and workers around it, through
//! every order of a scene's steps: effects on the store that come late or twice, proposals that come late or twice, a leader
//! that changes while time stands still. After every step the named invariants of the design hold. With a rule of the state
//! machine or of a worker switched off, one of them does not: the one named in `mutants`.
//!
//! A time unit is a millisecond. Small by default; `FLOTILLA_MODEL_UNTIL=9` looks further (minutes to hours).

mod deletes;
mod links;
mod manifests;
mod repositories;
mod sessions;
mod sweeps;
mod trash;

use super::super::apply::apply_broken;
use super::super::mutant::Mutant;
use super::*;
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::{collections::BTreeMap, fmt::Debug, hash::Hash, time::Instant};

/// A rule of a client or worker that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Careless {
    /// Deletes the keys of a list when it proposes `StartDelete`, not when that is applied.
    DeletesEarly,
    /// Reports keys as gone that the store did not name.
    ReportsUnnamed,
    /// Takes keys of the store for unknown that are recorded.
    SweepsLive,
    /// Says that an hour is swept without a listing.
    SweepsUnseen,
    /// Writes to the same key again.
    ReusesKeys,
}

/// What is broken, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Broken {
    rule: Option<Mutant>,
    worker: Option<Careless>,
}

impl From<Mutant> for Broken {
    fn from(rule: Mutant) -> Self {
        Self { rule: Some(rule), worker: None }
    }
}

impl From<Careless> for Broken {
    fn from(worker: Careless) -> Self {
        Self { rule: None, worker: Some(worker) }
    }
}

/// What is done to a key: bytes are written, or it is deleted.
type Flight = (String, Option<u8>);

/// The cluster, its store and those who use it.
#[derive(Clone, Debug, Default, Hash, PartialEq, Eq)]
pub(super) struct World {
    tables: MemoryTables,
    /// What each key of the store holds.
    store: BTreeMap<String, u8>,
    /// Effects on the store that are under way: writes (with their bytes), deletes (without); and how often they came.
    flights: BTreeMap<Flight, u8>,
    /// Until when a digest was promised in a repository.
    promises: BTreeMap<(Bytes, Bytes), u64>,
    /// Until when somebody reads a key.
    readers: BTreeMap<String, u64>,
    known: BTreeSet<String>,
    gone: BTreeSet<String>,
    /// Invariants that a step broke.
    broken: BTreeSet<&'static str>,
    /// What came to pass.
    reached: BTreeSet<&'static str>,
    /// How far each actor of the scene is.
    at: BTreeMap<&'static str, u8>,
    term: u64,
}

impl World {
    /// Applies a command that carries a clock far off.
    fn apply(&mut self, broken: Broken, command: Command) -> Outcome {
        self.apply_as(broken, Bytes::new(), command)
    }

    fn apply_as(&mut self, broken: Broken, request_id: Bytes, command: Command) -> Outcome {
        let before = self.mono();
        let most = if let Command::Tick(tick) = &command { tick.elapsed_ms } else { 0 };
        let operation = operation(request_id, 1_000, command);
        let mut tables = self.tables.clone();
        let Ok(mut outcomes) = apply_broken(&mut tables, 1, &batch_of(operation), broken.rule) else {
            // A reference without its target, long after a rule was broken.
            self.broken.insert("total");
            return Outcome::Unsupported(wire::Unsupported {});
        };
        self.tables = tables;
        if self.mono() < before || self.mono() > before + most {
            self.broken.insert("S10");
        }
        let recorded: BTreeSet<String> = self.recorded().collect();
        if recorded.iter().any(|key| self.gone.contains(key)) {
            self.broken.insert("S4");
        }
        self.gone.extend(self.known.difference(&recorded).cloned());
        self.known = recorded;
        outcomes.remove(0).kind.expect("an outcome")
    }

    fn tick(&mut self, broken: Broken) {
        let term = self.term;
        self.apply(broken, Command::Tick(wire::Tick { elapsed_ms: 1, term }));
    }

    /// A leader's first tick counts nothing: it cannot know how long there was none.
    fn new_leader(&mut self, broken: Broken) {
        self.term += 1;
        self.idle_tick(broken, self.term);
    }

    /// A tick of a leader whose time is over, or has just begun.
    fn idle_tick(&mut self, broken: Broken, term: u64) {
        let before = self.mono();
        self.apply(broken, Command::Tick(wire::Tick { elapsed_ms: 1, term }));
        if self.mono() != before {
            self.broken.insert("S10");
        }
    }

    fn send(&mut self, flight: Flight) {
        self.flights.insert(flight, 0);
    }

    fn view(&self) -> View {
        View::new(Arc::new(self.tables.clone()))
    }

    fn cluster(&self) -> wire::Cluster {
        records::get(&self.tables, &key(Table::Cluster, &[])).expect("readable").unwrap_or_default()
    }

    fn mono(&self) -> u64 {
        self.cluster().mono
    }

    fn texts(&self, table: Table) -> impl Iterator<Item = String> {
        let entries = records::scan(&self.tables, table, &[], 1_000).expect("readable").into_iter();
        entries.map(|(entry, _)| String::from_utf8(entry[1..].to_vec()).expect("a text"))
    }

    fn recorded(&self) -> impl Iterator<Item = String> {
        self.texts(Table::Object)
    }

    fn deleting(&self) -> Vec<String> {
        self.texts(Table::Deleting).collect()
    }

    fn has(&self, table: Table, fields: &[&[u8]]) -> bool {
        self.tables.contains_key(&key(table, fields))
    }

    fn is_empty(&self, table: Table) -> bool {
        records::scan(&self.tables, table, &[], 1).expect("readable").is_empty()
    }

    fn at(&self, actor: &'static str) -> u8 {
        self.at.get(actor).copied().unwrap_or(0)
    }

    fn step(&mut self, actor: &'static str) {
        *self.at.entry(actor).or_default() += 1;
    }

    /// A write or a delete reaches the store.
    fn land(&mut self, flight: &Flight) {
        let (key, bytes) = flight;
        match bytes {
            Some(bytes) => self.store.insert(key.clone(), *bytes),
            None => self.store.remove(key),
        };
    }

    /// Every blob's segments are in the store and hold its content.
    fn s1(&self) -> bool {
        let blobs = records::scan(&self.tables, Table::Blob, &[], 100).expect("readable");
        blobs.into_iter().all(|(entry, value)| {
            let blob: wire::Blob = records::decode(&entry, value).expect("a blob");
            let segments = self.view().segments(&blob.segment_list, blob.segments).expect("readable");
            let bytes: Vec<_> = segments.iter().map(|segment| self.store.get(&segment.key).copied()).collect();
            blob.suspect || bytes == [Some(entry[2])] // digest `n` is of content `n`
        })
    }

    /// Every key of the store is recorded, or will be swept.
    fn s5(&self) -> bool {
        let swept = |key: &String| {
            let hour: u64 = key.split('/').next().and_then(|hour| hour.parse().ok()).expect("an hour");
            hour < self.cluster().hour && !self.has(Table::Hour, &[&hour.to_be_bytes()])
        };
        self.store.keys().all(|key| self.known.contains(key) || !swept(key))
    }

    fn s6(&self) -> bool {
        let now = self.mono();
        self.readers.iter().all(|(key, until)| *until < now || self.store.contains_key(key))
    }

    /// What was promised is there: a link with a blob, or a manifest.
    fn s7(&self) -> bool {
        let now = self.mono();
        let there = |repository: &Bytes, digest: &Bytes| {
            [Table::Link, Table::Manifest].iter().any(|table| self.has(*table, &[repository, digest]))
        };
        self.promises.iter().all(|((repository, digest), until)| *until < now || there(repository, digest))
    }

    /// Whether the metadata alone breaks an invariant.
    fn metadata(&self, name: &str) -> bool {
        thread_local! {
            static LAST: std::cell::RefCell<(MemoryTables, Vec<String>)> = const { std::cell::RefCell::new((MemoryTables::new(), Vec::new())) };
        }
        LAST.with_borrow_mut(|(tables, found)| {
            if *tables != self.tables {
                (*tables, *found) = (self.tables.clone(), violations(&self.tables).expect("readable"));
            }
            !found.iter().any(|violation| violation.starts_with(name))
        })
    }
}

/// Who is there and what they may do next.
pub(super) trait Scene: Clone + Send + Sync + 'static {
    type Act: Clone + Debug + PartialEq + Hash + Send + Sync;
    /// What must be reached with nothing broken.
    const GOALS: &'static [&'static str];
    /// Mono at the end.
    const UNTIL: u64;
    const DELAYS: wire::GcDelays;

    fn begin(&self, world: &mut World);
    fn acts(&self, world: &World, broken: Broken, acts: &mut Vec<Self::Act>);
    fn act(&self, world: &mut World, broken: Broken, act: &Self::Act);

    /// Whether a write can still reach the store.
    fn may_land(&self, _world: &World) -> bool {
        true
    }
}

/// A scene with something broken, or nothing.
#[derive(Clone)]
pub(super) struct Space<S> {
    scene: S,
    broken: Broken,
    until: u64,
}

/// What all scenes do, and what is their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act<A> {
    Tick,
    NewLeader,
    /// A tick of the leader before comes late.
    OldLeader,
    Land(Flight),
    Own(A),
}

/// Goals have to be named by function pointers.
macro_rules! goals {
    ($($name:literal),*) => {
        fn goal<S: Scene>(name: &'static str) -> Property<Space<S>> {
            match name {
                $($name => Property::sometimes($name, |_, world: &World| world.reached.contains($name)),)*
                other => panic!("no goal {other}"),
            }
        }
    };
}
goals!("push", "expiry", "reclaim", "swap", "late write swept", "cycle gone", "drained", "put back", "retry");

impl<S: Scene> Model for Space<S> {
    type State = World;
    type Action = Act<S::Act>;

    fn init_states(&self) -> Vec<World> {
        let mut world = World { term: 1, ..World::default() };
        world.apply(Broken::default(), Command::ConfigureGc(wire::ConfigureGc { delays: Some(S::DELAYS) }));
        world.tick(Broken::default());
        self.scene.begin(&mut world);
        vec![world]
    }

    fn actions(&self, world: &World, acts: &mut Vec<Self::Action>) {
        if world.mono() < self.until {
            acts.push(Act::Tick);
        }
        acts.push(if world.term == 1 { Act::NewLeader } else { Act::OldLeader });
        let may_land = self.scene.may_land(world);
        let landing = world.flights.keys().filter(|(_, bytes)| bytes.is_none() || may_land);
        acts.extend(landing.cloned().map(Act::Land));
        let mut own = Vec::new();
        self.scene.acts(world, self.broken, &mut own);
        acts.extend(own.into_iter().map(Act::Own));
    }

    fn next_state(&self, world: &World, act: Self::Action) -> Option<World> {
        let mut next = world.clone();
        match act {
            Act::Tick => next.tick(self.broken),
            Act::NewLeader => next.new_leader(self.broken),
            Act::OldLeader => next.idle_tick(self.broken, world.term - 1),
            Act::Land(flight) => {
                next.land(&flight);
                if flight.1.is_none() {
                    next.at.insert("deleted", 1);
                }
                // Whatever is done to the store may be done once more.
                if next.flights.get(&flight).is_some_and(|landings| *landings > 0) {
                    next.flights.remove(&flight);
                } else {
                    next.flights.insert(flight, 1);
                }
            }
            Act::Own(act) => self.scene.act(&mut next, self.broken, &act),
        }
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always("S1", |_, world: &World| world.s1()),
            Property::always("S2", |_, world: &World| world.metadata("S2") && !world.broken.contains("S2")),
            Property::always("S3", |_, world: &World| world.metadata("S3")),
            Property::always("S4", |_, world: &World| world.metadata("S4") && !world.broken.contains("S4")),
            Property::always("S5", |_, world: &World| world.s5()),
            Property::always("S6", |_, world: &World| world.s6()),
            Property::always("S7", |_, world: &World| world.s7()),
            Property::always("S8", |_, world: &World| !world.broken.contains("S8")),
            Property::always("S9", |_, world: &World| !world.broken.contains("S9")),
            Property::always("S10", |_, world: &World| !world.broken.contains("S10")),
            Property::always("total", |_, world: &World| !world.broken.contains("total")),
            Property::always("L3", |_, world: &World| world.metadata("L3")),
            Property::always("undelete", |_, world: &World| !world.broken.contains("undelete")),
        ];
        properties.extend(S::GOALS.iter().map(|name| goal(name)));
        properties
    }
}

/// Says how many states the scenes have.
const MANUAL: &str = include_str!("../../../../../docs/gc.md");

fn until(default: u64) -> u64 {
    std::env::var("FLOTILLA_MODEL_UNTIL").ok().and_then(|until| until.parse().ok()).unwrap_or(default)
}

/// Every order of a scene's steps keeps every invariant, and all goals are reached.
fn holds<S: Scene>(scene: S) {
    let began = Instant::now();
    let space = Space { scene, broken: Broken::default(), until: until(S::UNTIL) };
    let checker = space.checker().threads(2).spawn_bfs().join();
    let scene = std::any::type_name::<S>().rsplit("::").next().expect("a name");
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{scene}: {states} states, {steps} steps, until {}, in {:?}", until(S::UNTIL), began.elapsed());
    checker.assert_properties();
    if until(S::UNTIL) == S::UNTIL {
        let row = MANUAL.lines().find(|line| line.starts_with(&format!("| {} |", scene.to_lowercase())));
        let wanted = format!("| {} | {} |", S::UNTIL, thousands(states));
        assert!(row.is_some_and(|row| row.contains(&wanted)), "docs/gc.md does not say {wanted} of {scene}: {row:?}");
    }
}

fn thousands(count: usize) -> String {
    match count / 1_000 {
        0 => count.to_string(),
        more => format!("{},{:03}", thousands(more), count % 1_000),
    }
}

/// With this broken, an invariant of that name does not hold.
fn dies<S: Scene>(scene: S, broken: impl Into<Broken>, name: &'static str) {
    let space = Space { scene, broken: broken.into(), until: S::UNTIL };
    let what = format!("{:?}", space.broken);
    let checker = space.checker().threads(2).finish_when(HasDiscoveries::AnyOf([name].into())).spawn_bfs().join();
    let discovered: Vec<_> = checker.discoveries().into_keys().collect();
    assert!(discovered.contains(&name), "{what} survives {name}: only {discovered:?}");
}

#[test]
fn links_are_collected_and_what_was_promised_stays() {
    holds(links::Links);
}

#[test]
fn objects_are_deleted_when_nobody_reads_them() {
    holds(deletes::Deletes);
}

#[test]
fn what_was_never_recorded_is_swept() {
    holds(sweeps::Sweeps);
}

#[test]
fn uploads_commit_once_and_retries_change_nothing() {
    holds(sessions::Sessions);
}

#[test]
fn manifests_that_something_holds_stay() {
    holds(manifests::Manifests);
}

#[test]
fn a_deleted_repository_takes_only_what_was_in_it() {
    holds(repositories::Repositories);
}

#[test]
fn what_was_deleted_comes_back_whole() {
    holds(trash::Trash);
}

#[test]
fn every_mutant_dies_by_a_named_invariant() {
    dies(links::Links, Mutant::CollectReferenced, "S2");
    dies(links::Links, Mutant::RenewLate, "S7");
    dies(links::Links, Mutant::ShortGrace, "S7");
    dies(links::Links, Mutant::CountOccurrences, "S3");
    dies(links::Links, Mutant::MonoFromWall, "S10");
    dies(links::Links, Mutant::TickOfAnyTerm, "S10");
    dies(deletes::Deletes, Mutant::ShortDelete, "S6");
    dies(deletes::Deletes, Careless::DeletesEarly, "S6");
    dies(deletes::Deletes, Careless::ReusesKeys, "S4");
    dies(deletes::Deletes, Mutant::DeletesDoneUnasked, "S4");
    dies(sweeps::Sweeps, Careless::ReportsUnnamed, "S5");
    dies(sweeps::Sweeps, Careless::SweepsLive, "S1");
    dies(sweeps::Sweeps, Careless::SweepsUnseen, "S5");
    dies(sweeps::Sweeps, Mutant::ShortSweep, "S5");
    dies(sessions::Sessions, Mutant::IgnoreAt, "S1");
    dies(sessions::Sessions, Mutant::ForgetEnd, "S8");
    dies(sessions::Sessions, Mutant::NoDedupe, "S9");
    dies(manifests::Manifests, Mutant::SweepHeld, "S2");
    dies(manifests::Manifests, Mutant::RenewLate, "S7");
    dies(repositories::Repositories, Mutant::DrainOnce, "S2");
    dies(trash::Trash, Mutant::LoseOnce, "undelete");
    dies(trash::Trash, Mutant::ReturnNotInPause, "undelete");
}

// ---------------------------------------------------------------- commands of the scenes

fn open_session(n: u8, idle_ms: u64) -> Command {
    let session_id = id(n);
    Command::OpenSession(wire::OpenSession { session_id, repository: name(0), algorithm: 1, idle_ms, hard_ms: 1_000 })
}

fn commit(n: u8, at: u64, segment: Option<wire::Segment>, d: u8) -> Command {
    let size = at + segment.as_ref().map_or(0, |segment| segment.length);
    let (session_id, digest, new_repository_id) = (id(n), stored(d), id(50));
    Command::CommitBlob(wire::CommitBlob { session_id, at, segment, digest, size, new_repository_id })
}

fn manifest(d: u8, blobs: &[u8], children: &[u8], subject: Option<u8>, tags: &[&str]) -> Command {
    Command::PutManifest(wire::PutManifest {
        repository: name(0),
        digest: stored(d),
        blobs: blobs.iter().map(|d| stored(*d)).collect(),
        children: children.iter().map(|d| stored(*d)).collect(),
        subject: subject.map(stored),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        new_repository_id: id(50),
        ..Default::default()
    })
}

fn delete_manifest(d: u8) -> Command {
    Command::DeleteManifest(wire::DeleteManifest { repository: name(0), digest: stored(d), tags_max: 9 })
}
