//! Clusters of real stores in one process, over loopback.

mod cluster;
mod identity;
mod life;
mod tls;
mod token_keys;
