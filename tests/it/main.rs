//! Real clusters under real clients: one module per promise. `tests/run.sh integration` runs it, one test at a time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics, and so do its helpers")]

mod audit;
mod auth_docs;
mod battery;
mod churn;
mod clients;
mod clocks;
mod collection;
mod command_line;
mod conformance;
mod connections;
mod cross_client;
mod dev;
mod differential;
mod external_tokens;
mod failover;
mod guides;
mod hostile;
mod lifecycle;
mod linearizable;
mod logins;
mod membership;
mod memory;
mod mirrors;
mod more_clients;
mod mtls;
mod operator;
mod operators;
mod plain_http;
mod refusals;
mod replay;
mod scrub;
mod tls;
mod tokens;
mod writes_once;

use flotilla_tests::{
    cluster::{Builder, Cluster, Storage},
    garage::Garage,
    skip,
};

/// A Garage, or `None` after saying that `test` is skipped.
async fn garage(test: &str) -> Option<Garage> {
    let garage = Garage::start().await.unwrap();
    if garage.is_none() {
        skip(test, "Garage is not installed (FLOTILLA_GARAGE)");
    }
    garage
}

/// A cluster of three on a new bucket.
async fn on_garage(garage: &Garage) -> Builder {
    Cluster::builder().storage(Storage::garage(garage).await.unwrap())
}
