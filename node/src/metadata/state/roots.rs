//! What holds a manifest: a tag, an index that lists it, a subject that is itself held. These edges form cycles (an index may
//! refer to what it lists), so what holds a manifest is found by walking upwards, a bounded number of steps.
//!
//! A manifest without tags stays where it is, except that
//! - one that loses an index or its subject, because that was deleted or swept, is `lost` and reviewed after the grace;
//! - one without a tag is reviewed too if `untagged_ms` asks for that.
//!
//! A review removes the manifest if nothing holds it. An index always goes before what it lists. Of a cycle that nothing
//! holds, every member that is met is queued, so that it goes piece by piece.

use super::apply::{Applied, Machine};
use super::keys::{Table, key, queued, split_queued};
use super::manifests::MANIFEST_UNKNOWN;
use super::mutant::Mutant;
use super::records::{damaged, scan};
use super::tables::TablesError;
use crate::metadata::Outcome;
use bytes::Bytes;
use flotilla_proto::{metadata::WORK_MAX, wire::metadata as wire};
use std::collections::BTreeSet;
use wire::manifest::Waits;

/// Manifests that one walk meets at most; what is not decided by then stays, and is reviewed again after the grace.
const WALK_MAX: usize = 200;
/// Manifests that the walks of one command meet at most.
const STEPS_MAX: usize = 2_000;
/// References and children that the removals of one command end, about.
const ITEMS_MAX: usize = 2_000;

/// What a walk upwards came to.
enum Walk {
    /// Something holds it.
    Held,
    /// Nothing does; these were met.
    Unheld(BTreeSet<Bytes>),
    /// Too long to say.
    Undecided,
}

impl Machine<'_> {
    // ------------------------------------------------------------ queues

    /// Takes a manifest off its queue; the caller writes the record.
    pub(super) fn unqueue(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        match manifest.waits.take() {
            Some(Waits::LostMono(at)) => self.delete(&queued(Table::ManifestDue, at, repository, digest)),
            Some(Waits::UntaggedMono(at)) => self.delete(&queued(Table::Untagged, at, repository, digest)),
            None => Ok(()),
        }
    }

    /// Something that held the manifest is gone; the caller writes the record.
    fn queue_lost(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        self.unqueue(repository, digest, manifest)?;
        let at = self.lease_end();
        manifest.waits = Some(Waits::LostMono(at));
        self.mark(&queued(Table::ManifestDue, at, repository, digest))
    }

    /// The manifest has no tag from now on; the caller writes the record.
    pub(super) fn queue_untagged(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        self.unqueue(repository, digest, manifest)?;
        manifest.waits = Some(Waits::UntaggedMono(self.cluster.mono));
        self.mark(&queued(Table::Untagged, self.cluster.mono, repository, digest))
    }

    /// Queues a manifest that was put, as it is now; the caller writes the record.
    pub(super) fn settle(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        manifest: &mut wire::Manifest,
    ) -> Result<(), TablesError> {
        if manifest.tags > 0 {
            return self.unqueue(repository, digest, manifest);
        }
        // What an index lists goes after it at the earliest.
        let listed = !scan(&*self.tables, Table::Parent, &[repository, digest], 1)?.is_empty();
        if manifest.waits.is_some() || !listed {
            self.queue_untagged(repository, digest, manifest)?;
        }
        Ok(())
    }

    /// A new index lists the manifest.
    pub(super) fn hold(&mut self, repository: &[u8], digest: &[u8]) -> Result<(), TablesError> {
        if let Some(mut child) = self.manifest(repository, digest)?.filter(|child| child.waits.is_some()) {
            self.unqueue(repository, digest, &mut child)?;
            self.put(&key(Table::Manifest, &[repository, digest]), &child)?;
        }
        Ok(())
    }

    /// A manifest is gone that held others: its children are queued now, its referrers by later sweeps.
    pub(super) fn bereave(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        manifest: &wire::Manifest,
    ) -> Result<(), TablesError> {
        for child in &manifest.children {
            self.lose(repository, child)?;
        }
        if !scan(&*self.tables, Table::Referrer, &[repository, digest], 1)?.is_empty() {
            self.mark(&key(Table::Bereaved, &[repository, digest]))?;
        }
        Ok(())
    }

    fn lose(&mut self, repository: &[u8], digest: &[u8]) -> Result<(), TablesError> {
        let Some(mut manifest) = self.manifest(repository, digest)? else { return Ok(()) };
        let waits = matches!(manifest.waits, Some(Waits::LostMono(_)));
        if manifest.tags == 0 && !(waits && self.broken(Mutant::LoseOnce)) {
            // Again if it waits already: it stays as long as the last of those that held it can be undeleted.
            self.queue_lost(repository, digest, &mut manifest)?;
            self.put(&key(Table::Manifest, &[repository, digest]), &manifest)?;
        }
        Ok(())
    }

    /// When a manifest of its own right goes that has no tag since `since`.
    fn untagged_until(&self, since: u64, asked: bool) -> Option<u64> {
        let wire::GcDelays { untagged_ms, grace_ms, .. } = self.delays();
        (untagged_ms > 0 || asked)
            .then(|| since.saturating_add(if asked { grace_ms } else { untagged_ms.max(grace_ms) }))
    }

    pub(super) fn touch_manifest(&mut self, command: &wire::TouchManifest) -> Applied {
        let Some(repository) = self.repository(&command.repository)? else {
            return Ok(Outcome::RepositoryUnknown(wire::RepositoryUnknown {}));
        };
        let (id, digest) = (repository.id.as_ref(), command.digest.as_ref());
        let Some(mut manifest) = self.manifest(id, digest)? else { return Ok(MANIFEST_UNKNOWN) };
        let renewed = match manifest.waits {
            Some(Waits::LostMono(at)) if self.must_renew(at) => {
                self.queue_lost(id, digest, &mut manifest)?;
                true
            }
            Some(Waits::UntaggedMono(since)) if self.must_renew(since.saturating_add(self.delays().grace_ms)) => {
                self.queue_untagged(id, digest, &mut manifest)?;
                true
            }
            Some(_) | None => false,
        };
        if renewed {
            self.put(&key(Table::Manifest, &[id, digest]), &manifest)?;
        }
        Ok(Outcome::Done(wire::Done { count: u64::from(renewed) }))
    }

    // ------------------------------------------------------------ review

    pub(super) fn sweep_manifests(&mut self, command: &wire::SweepManifests) -> Applied {
        let mut swept = wire::ManifestsSwept::default();
        if !self.collects() {
            return Ok(Outcome::ManifestsSwept(swept));
        }
        let limit = usize::try_from(command.limit).unwrap_or(WORK_MAX).min(WORK_MAX);
        let (mut steps, mut items) = (STEPS_MAX, ITEMS_MAX);
        let told = self.tell_referrers(limit)?;
        if told == limit {
            // Those that are not told yet must not be taken for manifests of their own right.
            swept.more = true;
            return Ok(Outcome::ManifestsSwept(swept));
        }
        let mut due = self.due(Table::ManifestDue, self.cluster.mono, limit)?;
        due.extend(self.due_untagged(limit.saturating_sub(due.len()), command.untagged)?);
        swept.more = due.len() == limit;
        for entry in due {
            if steps == 0 || items == 0 {
                swept.more = true;
                break;
            }
            let (_, repository, digest) = split_queued(&entry).ok_or_else(|| damaged("due manifest", &entry))?;
            swept.reviewed += 1;
            swept.removed += u64::from(self.review(repository, digest, command.untagged, &mut steps, &mut items)?);
        }
        Ok(Outcome::ManifestsSwept(swept))
    }

    fn due_untagged(&self, limit: usize, asked: bool) -> Result<Vec<Vec<u8>>, TablesError> {
        let Some(age) = self.untagged_until(0, asked) else { return Ok(Vec::new()) };
        let Some(until) = self.cluster.mono.checked_sub(age) else { return Ok(Vec::new()) };
        self.due(Table::Untagged, until, limit)
    }

    /// Queues at most `limit` referrers of manifests that are gone, unless they came back.
    fn tell_referrers(&mut self, limit: usize) -> Result<usize, TablesError> {
        let mut told = 0;
        while told < limit {
            let Some((entry, cursor)) = scan(&*self.tables, Table::Bereaved, &[], 1)?.pop() else { break };
            let (repository, digest) = entry[1..].split_at_checked(16).ok_or_else(|| damaged("bereaved", &entry))?;
            let prefix = key(Table::Referrer, &[repository, digest]);
            let start = if cursor.is_empty() { prefix.clone() } else { super::keys::after(cursor) };
            let back = self.tables.get(&key(Table::Manifest, &[repository, digest]))?.is_some();
            let wanted = if back { 0 } else { limit - told };
            let referrers = self.tables.scan(&start, &super::keys::prefix_end(&prefix), wanted)?;
            for (referrer, _) in &referrers {
                self.lose(repository, &referrer[prefix.len()..])?;
            }
            told += referrers.len().max(1);
            match referrers.last() {
                Some((last, _)) if referrers.len() == wanted => self.tables.put(&entry, last)?,
                Some(_) | None => self.delete(&entry)?,
            }
        }
        Ok(told.min(limit))
    }

    /// Decides about one manifest whose time has come; whether it was removed.
    fn review(
        &mut self,
        repository: &[u8],
        digest: &[u8],
        asked: bool,
        steps: &mut usize,
        items: &mut usize,
    ) -> Result<bool, TablesError> {
        let record = key(Table::Manifest, &[repository, digest]);
        let mut manifest = self.manifest(repository, digest)?.ok_or_else(|| damaged("queued manifest", &record))?;
        if manifest.waits.is_none_or(|waits| matches!(waits, Waits::LostMono(at) if at > self.cluster.mono)) {
            return Ok(false); // a review before this one, of the same command, queued it anew
        }
        let walk = match self.broken(Mutant::SweepHeld) {
            true => Walk::Unheld(BTreeSet::new()),
            false => self.walk(repository, digest, &manifest, asked, steps)?,
        };
        let met = match walk {
            Walk::Held => {
                self.unqueue(repository, digest, &mut manifest)?;
                self.put(&record, &manifest)?;
                return Ok(false);
            }
            Walk::Undecided => {
                match manifest.waits {
                    Some(Waits::UntaggedMono(_)) => self.queue_untagged(repository, digest, &mut manifest)?,
                    Some(Waits::LostMono(_)) | None => self.queue_lost(repository, digest, &mut manifest)?,
                }
                self.put(&record, &manifest)?;
                return Ok(false);
            }
            Walk::Unheld(met) => met,
        };
        for above in met {
            let unqueued = self.manifest(repository, &above)?.filter(|above| above.waits.is_none());
            if let Some(mut unqueued) = unqueued {
                self.queue_lost(repository, &above, &mut unqueued)?;
                self.put(&key(Table::Manifest, &[repository, &above]), &unqueued)?;
            }
        }
        let listed = !scan(&*self.tables, Table::Parent, &[repository, digest], 1)?.is_empty();
        if listed && !self.broken(Mutant::SweepHeld) {
            // Whatever lists it is queued now, and its end queues this one again.
            self.unqueue(repository, digest, &mut manifest)?;
            self.put(&record, &manifest)?;
            return Ok(false);
        }
        let mut home = self.repository_by_id(repository)?;
        self.drop_manifest(&mut home, digest, &mut manifest)?;
        self.put_repository(&home)?;
        self.bereave(repository, digest, &manifest)?;
        *items = items.saturating_sub(1 + manifest.blobs.len() + manifest.children.len());
        Ok(true)
    }

    /// Looks for something that holds a manifest without tags.
    fn walk(
        &self,
        repository: &[u8],
        digest: &[u8],
        manifest: &wire::Manifest,
        asked: bool,
        steps: &mut usize,
    ) -> Result<Walk, TablesError> {
        let mut met: BTreeSet<Bytes> = BTreeSet::new();
        let mut above = self.above(repository, digest, manifest)?;
        while let Some(next) = above.pop() {
            if next == digest || met.contains(&next) {
                continue;
            }
            let Some(manifest) = self.manifest(repository, &next)? else { continue };
            *steps = steps.saturating_sub(1);
            if self.stands(&manifest, asked) {
                return Ok(Walk::Held);
            }
            above.extend(self.above(repository, &next, &manifest)?);
            met.insert(next);
            if met.len() >= WALK_MAX || above.len() > WALK_MAX {
                return Ok(Walk::Undecided);
            }
        }
        Ok(Walk::Unheld(met))
    }

    /// The indexes that list a manifest, a few more than a walk may meet at most, and its subject.
    fn above(&self, repository: &[u8], digest: &[u8], manifest: &wire::Manifest) -> Result<Vec<Bytes>, TablesError> {
        let prefix = key(Table::Parent, &[repository, digest]).len();
        let parents = scan(&*self.tables, Table::Parent, &[repository, digest], WALK_MAX + 1)?;
        let parents = parents.iter().map(|(entry, _)| Bytes::copy_from_slice(&entry[prefix..]));
        Ok(parents.chain(manifest.subject.clone()).collect())
    }

    /// Whether a manifest holds others by itself: it has a tag, a lease, or may stay without one.
    fn stands(&self, manifest: &wire::Manifest, asked: bool) -> bool {
        let now = self.cluster.mono;
        manifest.tags > 0
            || match manifest.waits {
                Some(Waits::LostMono(at)) => at > now,
                Some(Waits::UntaggedMono(since)) => self.untagged_until(since, asked).is_none_or(|until| until > now),
                None => false,
            }
    }
}
