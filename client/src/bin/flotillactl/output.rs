//! What people read.

use anyhow::Context;
use flotilla_proto::admin::Status;
use std::io::Write;

/// Prints a text and a line end.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

/// Prints a status as tables.
pub(crate) fn status(status: &Status) -> anyhow::Result<()> {
    let leader = status.leader.map_or_else(|| "none known".to_owned(), |id| format!("node {id}"));
    let id = status.node_id.map_or_else(|| "without an id".to_owned(), |id| id.to_string());
    let cluster = status.cluster_id.as_deref().unwrap_or("none yet");
    line(&format!("node {id} ({}) · {} · {}", status.name, status.role, status.readiness))?;
    line(&format!("cluster {cluster} · leader {leader} · term {}", status.term))?;
    line(&format!(
        "log: last {} · committed {} · applied {} · purged {}",
        status.last_log, status.committed, status.applied_index, status.purged
    ))?;
    line(&format!(
        "{} repositories · {} blobs, {} bytes · {} open uploads · version {}",
        status.repositories, status.blobs, status.blob_bytes, status.sessions, status.version
    ))?;
    if let Some(hash) = &status.state_hash {
        line(&format!("state at {}: sha256:{}", hash.index, hash.sha256))?;
    }
    line("")?;
    line(&format!("{:>8}  {:<8}  {:<24}  {:<32}  NAME", "ID", "ROLE", "ADDRESS", "DISK"))?;
    for member in &status.members {
        let role = if member.voter { "voter" } else { "learner" };
        line(&format!("{:>8}  {role:<8}  {:<24}  {:<32}  {}", member.id, member.address, member.disk_id, member.name))?;
    }
    Ok(())
}
