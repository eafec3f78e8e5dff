//! Keys of tokens: when one is added, when one goes, and that no token outlives its key.

use super::super::keys::{Table, key};
use super::*;
use crate::metadata::local::LocalStore;
use flotilla_proto::metadata::{TOKEN_KEYS_MAX, operation};
use std::time::Duration;

const ROTATE_MS: u64 = 100_000;
const KEEP_MS: u64 = 150_000;

fn add(n: u8) -> Command {
    add_every(n, ROTATE_MS, KEEP_MS)
}

fn add_every(n: u8, rotate_ms: u64, keep_ms: u64) -> Command {
    Command::AddTokenKey(wire::AddTokenKey { key_id: id(n), secret: Bytes::from(vec![n; 32]), rotate_ms, keep_ms })
}

fn added(store: &LocalStore, command: Command) -> u64 {
    let outcome = store.apply(command).expect("applied");
    assert_eq!(violations(&*store.snapshot()).expect("readable"), Vec::<String>::new());
    match outcome {
        Outcome::Done(done) => done.count,
        other => panic!("{other:?}"),
    }
}

/// The first bytes of the ids, and which key signs.
fn ids(store: &LocalStore) -> (Vec<u8>, Option<u8>) {
    let keys = View::new(store.snapshot()).token_keys().expect("readable");
    let signing = keys.iter().find(|(_, key)| key.replaced_mono.is_none()).map(|(id, _)| id[0]);
    assert!(keys.iter().all(|(id, key)| key.secret == vec![id[0]; 32]));
    (keys.iter().map(|(id, _)| id[0]).collect(), signing)
}

#[test]
fn of_two_proposers_one_adds_a_key() {
    let store = LocalStore::new();
    assert_eq!(ids(&store), (vec![], None));
    assert_eq!((added(&store, add(1)), added(&store, add(2))), (1, 0));
    assert_eq!(ids(&store), (vec![1], Some(1)));
    store.advance(Duration::from_millis(ROTATE_MS - 1)).expect("time");
    assert_eq!(added(&store, add(3)), 0, "it is not due yet");
    store.advance(Duration::from_millis(1)).expect("time");
    assert_eq!((added(&store, add(4)), added(&store, add(5))), (1, 0));
    assert_eq!(ids(&store), (vec![1, 4], Some(4)));
}

#[test]
fn a_replaced_key_goes_when_it_was_kept_long_enough() {
    let store = LocalStore::new();
    for (n, expected) in [(1, vec![1]), (2, vec![1, 2]), (3, vec![1, 2, 3]), (4, vec![2, 3, 4]), (5, vec![3, 4, 5])] {
        assert_eq!(added(&store, add(n)), 1);
        assert_eq!(ids(&store), (expected, Some(n)));
        store.advance(Duration::from_millis(ROTATE_MS)).expect("time");
    }
    // What leaked is gone at once, the key that signed until now among it.
    assert_eq!(added(&store, add_every(6, 0, 0)), 1);
    assert_eq!(ids(&store), (vec![6], Some(6)));
}

#[test]
fn rather_than_drop_a_key_too_early_none_is_added() {
    let store = LocalStore::new();
    for n in 1..=8 {
        assert_eq!(added(&store, add_every(n, 0, KEEP_MS)), 1);
    }
    assert_eq!(added(&store, add_every(9, 0, KEEP_MS)), 0);
    assert_eq!(ids(&store), ((1..=8).collect(), Some(8)));
    assert_eq!(ids(&store).0.len(), TOKEN_KEYS_MAX);
    store.advance(Duration::from_millis(KEEP_MS)).expect("time");
    assert_eq!(added(&store, add_every(9, 0, KEEP_MS)), 1);
    assert_eq!(ids(&store), (vec![8, 9], Some(9)), "the one that signed until now is kept from now on");
}

#[test]
fn a_repeated_command_adds_nothing() {
    let store = LocalStore::new();
    let done = |count| Outcome::Done(wire::Done { count });
    assert_eq!(store.apply_as([7; 16], add(1)).expect("applied"), done(1));
    assert_eq!(store.apply_as([7; 16], add(1)).expect("applied"), done(1), "the first answer");
    assert_eq!(ids(&store).0, [1]);
    store.advance(Duration::from_secs(700)).expect("time");
    assert_eq!(store.apply_as([7; 16], add(1)).expect("applied"), done(0), "known under its id also later");
    assert_eq!(ids(&store), (vec![1], Some(1)));
}

#[test]
fn malformed_keys_are_refused() {
    let mut tables = MemoryTables::new();
    let (good, short) = (Bytes::from(vec![1; 32]), Bytes::from(vec![1; 31]));
    let long = Bytes::from(vec![1; 33]);
    for (key_id, secret) in
        [(id(1), short), (id(1), long), (id(1), Bytes::new()), (Bytes::new(), good.clone()), (good.clone(), good)]
    {
        let command = Command::AddTokenKey(wire::AddTokenKey { key_id, secret, rotate_ms: 0, keep_ms: 0 });
        let refused = one(&mut tables, 1, operation(Bytes::new(), 0, command));
        assert_eq!(refused, Outcome::Unsupported(wire::Unsupported {}));
    }
    let kept: Vec<_> = tables.keys().collect();
    assert_eq!(kept, [&key(Table::Cluster, &[])], "nothing but the cluster's feature level");
}

/// A token as the issuer makes it.
#[derive(Clone, Copy, Debug)]
struct Token {
    key: u8,
    ends_mono: u64,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever proposes what, when and how often: there is always a key once there was one, and a token verifies until its
    /// time is over. `Ok` is time that passes, `Err` a proposal.
    #[test]
    fn no_token_outlives_its_key(
        steps in prop::collection::vec(prop_oneof![
            (0..40_000_u64).prop_map(Ok),
            (0..8_u8, 0..60_000_u64).prop_map(Err),
        ], 1..150),
        life_ms in 0..KEEP_MS,
    ) {
        let mut tables = MemoryTables::new();
        let mut tokens: Vec<Token> = Vec::new();
        let mut some = false;
        for (serial, step) in steps.into_iter().enumerate() {
            let command = match step {
                Ok(elapsed_ms) => Command::Tick(wire::Tick { elapsed_ms, term: 0 }),
                // A few ids come twice.
                Err((n, rotate_ms)) => add_every((serial as u8) / 2 + n / 7, rotate_ms, KEEP_MS),
            };
            one(&mut tables, serial as u64, operation(Bytes::new(), 0, command));
            prop_assert_eq!(violations(&tables).expect("readable"), Vec::<String>::new());
            let view = View::new(Arc::new(tables.clone()));
            let (mono, keys) = (view.mono().expect("read"), view.token_keys().expect("read"));
            prop_assert!(!some || !keys.is_empty());
            some |= !keys.is_empty();
            tokens.retain(|token| token.ends_mono > mono);
            for token in &tokens {
                prop_assert!(keys.iter().any(|(id, _)| id[0] == token.key), "{token:?} lost its key at {mono}");
            }
            let signing = keys.iter().find(|(_, key)| key.replaced_mono.is_none());
            tokens.extend(signing.map(|(id, _)| Token { key: id[0], ends_mono: mono + life_ms }));
        }
    }
}
