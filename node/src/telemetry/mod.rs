//! stub
pub mod metrics { pub fn registry() -> prometheus_client::registry::Registry { Default::default() } }
