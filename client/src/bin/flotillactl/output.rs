//! What people read.

use anyhow::Context;
use flotilla_proto::admin::{Collected, Collection, Deleted, Place, Status, Verification, Why};
use std::{io::Write, process::ExitCode};

/// Prints a text and a line end.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{text}").context("standard output")
}

/// Says on standard error why it was not done.
pub(crate) fn failed(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "flotillactl: {error:#}");
    code
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

/// Prints how collection does.
pub(crate) fn collection(collection: &Collection) -> anyhow::Result<()> {
    mode(collection)?;
    let delays = collection.delays;
    let untagged = if delays.untagged_ms == 0 { "off".to_owned() } else { duration(delays.untagged_ms) };
    line(&format!(
        "delays: grace {} · promise {} · delete {} · sweep {} · untagged {untagged}",
        duration(delays.grace_ms),
        duration(delays.promise_ms),
        duration(delays.delete_ms),
        duration(delays.sweep_ms)
    ))?;
    line(&format!("breaker: {} of {} bytes in 24 hours", collection.day_bytes, collection.day_bytes_max))?;
    line(&format!("suspect blobs: {}", collection.suspects))?;
    line("")?;
    line(&format!("{:<16} {:>9} {:>9}  LATE", "QUEUE", "WAITING", "DUE"))?;
    for queue in &collection.queues {
        let late = queue.oldest_due_ms.map_or_else(|| "-".to_owned(), duration);
        let more = if queue.more { "+" } else { "" };
        line(&format!("{:<16} {:>9} {:>9}  {late}", queue.name, format!("{}{more}", queue.waiting), queue.due))?;
    }
    Ok(())
}

/// Prints whether collection is on.
pub(crate) fn mode(collection: &Collection) -> anyhow::Result<()> {
    let by = if collection.breaker { "by the breaker, " } else { "" };
    match collection.mode.as_str() {
        "on" => line("collection is on"),
        "verify" => line(&format!("collection is in mode verify: {}", collection.reason)),
        mode => line(&format!("collection is {mode}: {by}{}", collection.reason)),
    }
}

/// Prints what was collected, or would be.
pub(crate) fn collected(collected: &Collected, dry_run: bool) -> anyhow::Result<()> {
    for manifest in &collected.manifests {
        line(&format!("manifest {manifest}"))?;
    }
    for blob in &collected.blobs {
        line(&format!("blob {blob}"))?;
    }
    let verb = if dry_run { "would be collected" } else { "collected" };
    line(&format!(
        "{} manifests, {} links and {} blobs ({} bytes) {verb}; {} blobs stay",
        collected.manifests.len(),
        collected.links,
        collected.blobs.len(),
        collected.bytes,
        collected.marked
    ))?;
    let verb = if dry_run { "would be deleted" } else { "are being deleted" };
    line(&format!(
        "objects of {} dead segment lists ({} bytes) {verb} from the store",
        collected.lists, collected.list_bytes
    ))?;
    if let Some(reason) = &collected.breaker {
        line(&format!("collection is paused now, by the breaker: {reason}"))?;
    }
    match collected.more {
        true => line("there is more"),
        false => Ok(()),
    }
}

/// Prints what holds something.
pub(crate) fn why(why: &Why) -> anyhow::Result<()> {
    if let Some(object) = &why.object {
        let age = object.age_ms.map(|age| format!(", for {}", duration(age))).unwrap_or_default();
        let left = match (object.state.as_str(), object.left_ms) {
            (_, None) => String::new(),
            (_, Some(0)) => ", due now".to_owned(),
            (_, Some(left)) => format!(", due in {}", duration(left)),
        };
        let list = object.list.as_ref().map(|list| format!(" (segment list {list})")).unwrap_or_default();
        return line(&format!("{}: {}{age}{left}{list}", why.asked, object.state));
    }
    match &why.blob {
        Some(blob) => {
            let suspect = if blob.suspect { ", suspect: missing or damaged, heals by a push" } else { "" };
            line(&format!(
                "{}: a blob of {} bytes, linked by {}{suspect}",
                why.asked,
                blob.size,
                counted(blob.links, "repository", "repositories")
            ))?;
            for object in &blob.objects {
                line(&format!("  object {object}"))?;
            }
        }
        None if why.places.is_empty() && why.condemned.is_empty() => {
            line(&format!("{}: nothing is known of it", why.asked))?;
        }
        None => line(&format!("{}: no blob", why.asked))?,
    }
    for gone in &why.condemned {
        let left = match gone.left_ms {
            0 => "may go now".to_owned(),
            left => format!("go in {}", duration(left)),
        };
        let (bytes, age) = (gone.bytes, duration(gone.age_ms));
        line(&format!("  was a blob of {bytes} bytes; condemned for {age}, its objects {left}"))?;
        for object in &gone.objects {
            line(&format!("    object {object}"))?;
        }
    }
    if why.paused && !(why.condemned.is_empty() && why.places.is_empty()) {
        line("  collection is not on: what is due stays (`flotillactl gc status`)")?;
    }
    for held in &why.places {
        place(held, why.paused)?;
    }
    match why.more {
        true => line("there is more than is shown"),
        false => Ok(()),
    }
}

fn place(place: &Place, paused: bool) -> anyhow::Result<()> {
    line(&format!("{}{}", place.repository, if place.deleted { " (deleted, goes now)" } else { "" }))?;
    if let Some(link) = &place.link {
        match link.lease_ms {
            Some(0) => line("  blob: no manifest references it; its lease is over, it may be collected")?,
            Some(left) => line(&format!("  blob: no manifest references it; held by a lease for {}", duration(left)))?,
            None => line(&format!("  blob: referenced by {}", counted(link.references, "manifest", "manifests")))?,
        }
        for manifest in &link.manifests {
            line(&format!("    manifest {manifest}"))?;
        }
    }
    if let Some(manifest) = &place.manifest {
        line(&format!("  manifest: {}", manifest.media_type))?;
        for tag in &manifest.tags {
            line(&format!("    held by tag {tag}"))?;
        }
        for parent in &manifest.parents {
            line(&format!("    held by index {parent}, if that is held"))?;
        }
        if let Some(subject) = &manifest.subject {
            let there = if manifest.subject_there {
                "held by its subject, if that is held:"
            } else {
                "its subject is not there:"
            };
            line(&format!("    {there} {subject}"))?;
        }
        for referrer in &manifest.referrers {
            line(&format!("    referred to by {referrer} (does not hold it)"))?;
        }
        if let Some(left) = manifest.review_ms {
            line(&format!("    has lost what held it; reviewed in {}", duration(left)))?;
        }
        if let Some(age) = manifest.untagged_ms {
            let left = manifest
                .untagged_left_ms
                .map_or_else(|| "stays".to_owned(), |left| format!("reviewed in {}", duration(left)));
            line(&format!("    without a tag for {}; {left}", duration(age)))?;
        }
    }
    if let Some(trash) = &place.trash {
        let until = match trash.left_ms {
            0 if paused => "while collection is not on".to_owned(),
            left => format!("for {}", duration(left)),
        };
        line(&format!("  manifest in the trash: can be undeleted {until}"))?;
        for tag in &trash.tags {
            line(&format!("    with tag {tag}"))?;
        }
    }
    Ok(())
}

/// Prints what can be undeleted, as `undelete` takes it.
pub(crate) fn trash(repository: &str, deleted: &Deleted) -> anyhow::Result<()> {
    let left = |ms: u64| match ms {
        0 => "while collection is not on".to_owned(),
        ms => format!("for {}", duration(ms)),
    };
    for manifest in &deleted.manifests {
        let tags = match manifest.trash.tags.is_empty() {
            true => String::new(),
            false => format!(", with tags {}", manifest.trash.tags.join(", ")),
        };
        line(&format!("{repository}@{}  {}{tags}", manifest.digest, left(manifest.trash.left_ms)))?;
    }
    for tag in &deleted.tags {
        line(&format!("{repository}:{}  {}, to {}", tag.tag, left(tag.left_ms), tag.digest))?;
    }
    match deleted.more {
        true => line("there is more than is shown"),
        false if deleted.manifests.is_empty() && deleted.tags.is_empty() => line("nothing can be undeleted"),
        false => Ok(()),
    }
}

/// Prints how a verification ended.
pub(crate) fn verification(seen: &Verification) -> anyhow::Result<()> {
    for difference in &seen.differences {
        line(difference)?;
    }
    if let Some(error) = &seen.error {
        line(&format!("ended early: {error}"))?;
    }
    if seen.suspects > 0 {
        line("the bytes of suspect blobs are missing or damaged: push the images again")?;
    }
    line(&format!(
        "{} differences; {} blobs ({} suspect), {} bytes read, {} keys of the store",
        seen.differences_all, seen.blobs, seen.suspects, seen.bytes, seen.keys
    ))
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Milliseconds, as people say them.
fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        0 => format!("{ms}ms"),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        _ => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
    }
}
