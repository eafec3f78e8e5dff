//! Bounds and shapes of log commands and records that proposers and the state machine share.

mod secret;

use crate::wire::metadata::{Batch, Command, GcDelays, Operation, command};
use bytes::Bytes;

/// Segments of one session or blob, at most.
pub const SEGMENTS_MAX: u32 = 10_000;

/// Items (blobs, children and tags together; session ids; object keys) of one command, at most.
pub const ITEMS_MAX: usize = 10_000;

/// Sessions of one `ExpireSessions` and keys of one `DeletesDone`, at most.
pub const WORK_MAX: usize = 1_000;

/// Segments that one `StartDelete` takes off lists, at most.
pub const START_DELETE_MAX: u32 = 2_000;

/// Tags that one `DeleteManifest` removes, at most.
pub const TAGS_DELETED_MAX: u32 = 1_000;

/// How long an outcome is remembered under its request id, in milliseconds of mono.
pub const REMEMBERED_MS: u64 = 10 * 60 * 1_000;

/// How long the end of a session is remembered, in milliseconds of mono.
pub const ENDED_MS: u64 = 60 * 60 * 1_000;

/// The most that one `Tick` adds to mono, in milliseconds.
pub const TICK_MAX_MS: u64 = 15_000;

/// An hour, in milliseconds; sessions are swept in buckets of one by default.
pub const HOUR_MS: u64 = 60 * 60 * 1_000;

/// The newest feature level this version knows, and the one at which a new cluster begins.
pub const FEATURE_LEVEL: u32 = 1;

/// Delays of collection while no other ones are configured.
pub const GC_DELAYS: GcDelays = GcDelays {
    grace_ms: 24 * HOUR_MS,
    promise_ms: 12 * HOUR_MS,
    delete_ms: 24 * HOUR_MS,
    sweep_ms: 48 * HOUR_MS,
    hour_ms: HOUR_MS,
    untagged_ms: 0,
    breaker_permille: 100,
    breaker_floor: 50 << 30,
};

/// Keys for tokens that live at once, at most.
pub const TOKEN_KEYS_MAX: usize = 8;

/// Bytes of such a key.
pub const TOKEN_SECRET_BYTES: usize = 32;

/// Node ids below this belong to the static bootstrap.
pub const NODE_ID_BASE: u64 = 65_536;

/// An operation; `request_id` has 16 bytes, or none for commands that are idempotent by themselves.
pub fn operation(request_id: Bytes, proposed_wall: u64, kind: command::Kind) -> Operation {
    Operation { request_id, proposed_wall, command: Some(Command { kind: Some(kind) }) }
}

/// A log entry of one operation.
pub fn batch_of(operation: Operation) -> Batch {
    Batch { operations: vec![operation] }
}
