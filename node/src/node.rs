//! The composition root.

use crate::{config::Config, lifecycle::Lifecycle};

/// Runs a node until it is drained or stopped.
///
/// # Errors
/// What kept the node from starting or from running on.
pub async fn run(_config: Config, _lifecycle: Lifecycle) -> anyhow::Result<()> {
    anyhow::bail!("the composition root is not written yet")
}
