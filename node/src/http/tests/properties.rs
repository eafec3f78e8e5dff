//! Listings and ranges under random input, over the whole front. The expectations are worked out here once more, in the
//! plainest way. proptest prints the seed of a failure.

mod hiding;
mod listings;
mod ranges;

use super::*;
use proptest::{collection::vec, option, prelude::*};

/// A case has a front of its own and some tens of requests; this many take about a second.
const CASES: u32 = 96;

/// Runs a case on a runtime of its own.
fn run<T>(case: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(case)
}
