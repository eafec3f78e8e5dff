//! Load for registries: ours, and any other. `loadgen` runs one scenario and prints one JSON line; `compare.sh` runs it
//! against two registries in turns, and [`report`] judges the lines.
//!
//! * [`content`]: bytes that are new each time, cheap to make and to verify.
//! * [`scenario`]: what one operation is.
//! * [`run`]: how many at once, for how long, what it cost.
//! * [`histogram`], [`process`]: latencies, CPU time and memory.
//! * [`seed`]: large registries made quickly, to measure beside.
//! * [`outcome`]: the JSON line. [`report`]: rounds, medians, ratios, limits.

pub mod content;
pub mod histogram;
pub mod outcome;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod seed;
