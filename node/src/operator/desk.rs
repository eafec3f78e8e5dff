use super::Refused;
use crate::blobstore::Key;
use crate::metadata::{Command, MetadataStore, Outcome};
use anyhow::{Context, bail};
use flotilla_proto::admin::{Collect, Collected, Collection, Delays, Deleted, Undeleted, Why};
use flotilla_proto::metadata::{START_DELETE_MAX, TAGS_DELETED_MAX, WORK_MAX};
use flotilla_proto::oci::{Digest, RepositoryName, Tag};
use flotilla_proto::wire::metadata as wire;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tracing::info;
use wire::GcMode;

/// Longest wait for one change.
const PATIENCE: Duration = Duration::from_secs(20);
/// Entries of a queue counted for one answer.
const COUNTED_MAX: usize = 10_000;
/// Rounds of 1,000 that a dry run tries.
const ROUNDS: usize = 10;
/// Digests in one answer, about.
const LISTED_MAX: usize = 50_000;

/// Answers operators' questions and makes the changes that they ask for.
#[derive(Clone)]
pub struct Desk {
    metadata: Arc<dyn MetadataStore>,
}

impl Desk {
    /// A desk over the metadata.
    pub fn new(metadata: Arc<dyn MetadataStore>) -> Self {
        Self { metadata }
    }

    async fn propose(&self, command: Command) -> anyhow::Result<Outcome> {
        self.metadata.propose(command, Instant::now() + PATIENCE).await.context("metadata change")
    }

    async fn barrier(&self) -> anyhow::Result<()> {
        self.metadata.barrier(Instant::now() + PATIENCE).await.context("barrier")
    }

    /// How collection does, as far as this node has heard.
    pub fn collection(&self) -> anyhow::Result<Collection> {
        let view = self.metadata.view()?;
        let (delays, gc) = view.gc()?;
        let (day_bytes, day_bytes_max) = view.breaker()?;
        let cluster = view.cluster()?;
        Ok(Collection {
            mode: mode_name(gc.mode()).to_owned(),
            breaker: gc.breaker,
            since_wall: gc.mode_wall,
            reason: gc.reason,
            mono: cluster.mono,
            day_bytes,
            day_bytes_max,
            suspects: cluster.suspects,
            delays: Delays {
                grace_ms: delays.grace_ms,
                promise_ms: delays.promise_ms,
                delete_ms: delays.delete_ms,
                sweep_ms: delays.sweep_ms,
                untagged_ms: delays.untagged_ms,
            },
            queues: view.queues(COUNTED_MAX)?,
        })
    }

    /// Collects what is due now, or says what that would be.
    pub async fn collect(&self, collect: Collect) -> anyhow::Result<Collected> {
        self.barrier().await?;
        if collect.dry_run {
            return self.would_collect(collect.delete_untagged).await;
        }
        let (_, gc) = self.metadata.view()?.gc()?;
        if gc.mode() != GcMode::On {
            let why = if gc.reason.is_empty() { "no reason is given" } else { gc.reason.as_str() };
            bail!(Refused(format!(
                "collection is {} ({why}): nothing was deleted; `flotillactl gc resume` goes on",
                match gc.mode() {
                    GcMode::Verify => "in mode verify",
                    mode => mode_name(mode),
                }
            )));
        }
        let mut all = Collected::default();
        while all.blobs.len() + all.manifests.len() < LISTED_MAX {
            let round = self.collect_round(collect.delete_untagged).await?;
            all.more = round.more;
            let done = round.links == 0 && round.manifests.is_empty();
            all.blobs.extend(round.blobs);
            all.manifests.extend(round.manifests);
            all.bytes += round.bytes;
            all.links += round.links;
            if done && !round.more {
                break;
            }
        }
        let more_lists;
        (all.lists, all.list_bytes, more_lists) = self.start_deletes().await?;
        all.more |= more_lists;
        let view = self.metadata.view()?;
        all.marked = view.cluster()?.blobs;
        let (_, gc) = view.gc()?;
        all.breaker = gc.breaker.then_some(gc.reason);
        let (blobs, bytes, manifests) = (all.blobs.len(), all.bytes, all.manifests.len());
        info!(blobs, bytes, manifests, "an operator collected {blobs} blobs, {bytes} bytes and {manifests} manifests");
        Ok(all)
    }

    pub(super) async fn would_collect(&self, untagged: bool) -> anyhow::Result<Collected> {
        let view = self.metadata.view()?;
        let looks = view.clone();
        // Thousands of records are read.
        let look = move || anyhow::Ok((looks.try_collection(untagged, ROUNDS)?, looks.due_lists()?));
        let (trial, (lists, list_bytes, more_lists)) =
            tokio::task::spawn_blocking(look).await.context("the look ended early")??;
        let blobs = view.cluster()?.blobs.saturating_sub(trial.blobs.len() as u64);
        Ok(Collected {
            marked: blobs,
            bytes: trial.blobs.iter().map(|(_, size)| size).sum(),
            blobs: trial.blobs.iter().map(|(digest, _)| digest.to_string()).collect(),
            manifests: trial.manifests.iter().map(|(_, digest)| digest.to_string()).collect(),
            links: trial.links,
            lists,
            list_bytes,
            more: trial.more || more_lists,
            breaker: None,
        })
    }

    /// One step of each kind. What it names has really gone: apply decides again.
    async fn collect_round(&self, untagged: bool) -> anyhow::Result<Collected> {
        let trial = self.metadata.view()?.try_collection(untagged, 1)?;
        let limit = u32::try_from(WORK_MAX).unwrap_or(u32::MAX);
        let swept = match self.propose(Command::SweepManifests(wire::SweepManifests { limit, untagged })).await? {
            Outcome::ManifestsSwept(swept) => swept,
            other => bail!("SweepManifests answered {other:?}"),
        };
        let collected = match self.propose(Command::Collect(wire::Collect { limit, links: Vec::new() })).await? {
            Outcome::Collected(collected) => collected,
            other => bail!("Collect answered {other:?}"),
        };
        let view = self.metadata.view()?;
        let mut round = Collected {
            links: collected.links,
            bytes: collected.bytes,
            more: swept.more || collected.links == u64::from(limit),
            ..Collected::default()
        };
        for (id, digest) in trial.manifests {
            if !view.has_manifest(&id)? {
                round.manifests.push(digest.to_string());
            }
        }
        for (digest, _) in trial.blobs {
            if view.blob_anywhere(&digest)?.is_none() {
                round.blobs.push(digest.to_string());
            }
        }
        Ok(round)
    }

    /// Lets the deleters have what may go, for at most as long as an operator waits. How many lists, their bytes, and whether
    /// more are due than were counted.
    async fn start_deletes(&self) -> anyhow::Result<(u64, u64, bool)> {
        let (before, bytes_before, _) = self.metadata.view()?.due_lists()?;
        let until = Instant::now() + PATIENCE;
        let command = Command::StartDelete(wire::StartDelete { limit: START_DELETE_MAX });
        while Instant::now() < until {
            match self.propose(command.clone()).await? {
                Outcome::Done(wire::Done { count: 0 }) => break,
                Outcome::Done(_) => {}
                other => bail!("StartDelete answered {other:?}"),
            }
        }
        let (after, bytes_after, more) = self.metadata.view()?.due_lists()?;
        Ok((before.saturating_sub(after), bytes_before.saturating_sub(bytes_after), more))
    }

    /// Pauses collection, or lets it go on and admits what the breaker held back.
    pub async fn set_mode(&self, mode: &str, reason: &str) -> anyhow::Result<Collection> {
        let set = match mode {
            "on" => GcMode::On,
            "paused" => GcMode::Paused,
            "verify" => GcMode::Verify,
            _ => bail!(Refused("a mode is `on`, `paused` or `verify`".to_owned())),
        };
        let command = wire::SetGcMode { mode: set.into(), reason: reason.to_owned() };
        match self.propose(Command::SetGcMode(command)).await? {
            Outcome::Done(_) => info!("an operator set collection to {mode}: {reason}"),
            Outcome::Unsupported(_) => bail!(Refused("the reason is longer than 1024 bytes".to_owned())),
            other => bail!("SetGcMode answered {other:?}"),
        }
        self.collection()
    }

    /// Everything that holds a digest or, without a repository, a key of the store.
    pub async fn why(&self, repository: Option<&str>, what: &str) -> anyhow::Result<Why> {
        let name = repository.map(repository_name).transpose()?;
        self.barrier().await?;
        let view = self.metadata.view()?;
        let what = what.to_owned();
        // A look at every repository.
        let look = tokio::task::spawn_blocking(move || -> anyhow::Result<Why> {
            if let Ok(digest) = what.parse::<Digest>() {
                return Ok(view.why(name.as_ref(), &digest)?);
            }
            if name.is_some() || what.parse::<Key>().is_err() {
                bail!(Refused(format!("{what:?} is neither a digest nor a key of the store below its root directory")));
            }
            let object = Some(view.why_object(&what)?);
            Ok(Why { asked: what, object, ..Why::default() })
        });
        look.await.context("the look ended early")?
    }

    /// What of a repository can be undeleted.
    pub async fn trash(&self, repository: &str) -> anyhow::Result<Deleted> {
        let name = repository_name(repository)?;
        self.barrier().await?;
        let view = self.metadata.view()?;
        let trash = tokio::task::spawn_blocking(move || view.trash(&name)).await.context("the look ended early")??;
        Ok(trash.ok_or_else(|| Refused(format!("there is no repository {repository}")))?)
    }

    /// Puts a deleted manifest back, with its tags that are free.
    pub async fn undelete_manifest(&self, repository: &str, digest: &str) -> anyhow::Result<Undeleted> {
        let repository = repository_name(repository)?.to_string();
        let parsed: Digest = digest.parse().map_err(|_| Refused(format!("{digest:?} is no digest")))?;
        let mut tags = 0;
        loop {
            let command = wire::UndeleteManifest {
                repository: repository.clone(),
                digest: parsed.to_bytes().into(),
                tags_max: TAGS_DELETED_MAX,
            };
            match self.propose(Command::UndeleteManifest(command)).await? {
                Outcome::Undeleted(undeleted) => {
                    tags += undeleted.tags;
                    if !undeleted.more {
                        info!("an operator undeleted {repository}@{digest} and {tags} tags");
                        return Ok(Undeleted { tags });
                    }
                }
                Outcome::ManifestRejected(missing) => {
                    let missing = missing.missing_blobs.iter().chain(&missing.missing_children);
                    let missing: Vec<_> =
                        missing.filter_map(|it| Digest::from_bytes(it)).map(|it| it.to_string()).collect();
                    bail!(Refused(format!("what it needs is gone, put that back first: {}", missing.join(", "))));
                }
                other => return Err(refusal(&repository, digest, &other)),
            }
        }
    }

    /// Puts a deleted tag back, unless it exists again.
    pub async fn undelete_tag(&self, repository: &str, tag: &str) -> anyhow::Result<Undeleted> {
        let repository = repository_name(repository)?.to_string();
        let tag: Tag = tag.parse().map_err(|_| Refused(format!("{tag:?} is no tag")))?;
        let command = wire::UndeleteTag { repository: repository.clone(), tag: tag.to_string() };
        match self.propose(Command::UndeleteTag(command)).await? {
            Outcome::Undeleted(undeleted) => {
                info!("an operator undeleted {repository}:{tag}");
                Ok(Undeleted { tags: undeleted.tags })
            }
            Outcome::TagTaken(taken) => {
                let now = Digest::from_bytes(&taken.digest).map_or_else(String::new, |digest| digest.to_string());
                bail!(Refused(format!("the tag exists again and points to {now}: nothing was changed")))
            }
            Outcome::ManifestUnknown(_) => bail!(Refused(format!(
                "the manifest of the tag is gone too: undelete it first ({repository}@DIGEST); `flotillactl why` finds it"
            ))),
            other => Err(refusal(&repository, tag.as_str(), &other)),
        }
    }

    /// Deletes a repository: its name is free at once, what was in it goes in the background. It cannot be undeleted.
    pub async fn delete_repository(&self, repository: &str) -> anyhow::Result<()> {
        let repository = repository_name(repository)?.to_string();
        match self.propose(Command::DeleteRepository(wire::DeleteRepository { repository: repository.clone() })).await?
        {
            Outcome::Done(_) => info!("an operator deleted the repository {repository}"),
            other => return Err(refusal(&repository, "", &other)),
        }
        Ok(())
    }
}

fn mode_name(mode: GcMode) -> &'static str {
    match mode {
        GcMode::On => "on",
        GcMode::Paused => "paused",
        GcMode::Verify => "verify",
    }
}

fn repository_name(name: &str) -> anyhow::Result<RepositoryName> {
    Ok(name.parse().map_err(|_| Refused(format!("{name:?} is no name of a repository")))?)
}

fn refusal(repository: &str, what: &str, outcome: &Outcome) -> anyhow::Error {
    match outcome {
        Outcome::RepositoryUnknown(_) => Refused(format!("there is no repository {repository}")).into(),
        Outcome::ManifestUnknown(_) | Outcome::TagUnknown(_) => {
            Refused(format!("{what} of {repository} is not among what was deleted, or its time is over")).into()
        }
        other => anyhow::anyhow!("the state machine answered {other:?}"),
    }
}
