//! The cluster as a whole: replicated time, the store's identity, node ids.

use super::apply::{Applied, Machine, UnknownFeatureLevel};
use super::mutant::Mutant;
use super::tables::TablesError;
use crate::metadata::Outcome;
use flotilla_proto::metadata::{FEATURE_LEVEL, NODE_ID_BASE, TICK_MAX_MS};
use flotilla_proto::wire::metadata as wire;

/// Old records of each kind removed with one tick.
const PRUNED_PER_TICK: usize = 1_000;

impl Machine<'_> {
    /// Time a leader measured within its own term counts, at most [`TICK_MAX_MS`] a tick: `mono` never jumps.
    pub(super) fn tick(&mut self, command: &wire::Tick) -> Applied {
        let mut counted = 0;
        if command.term == self.cluster.tick_term || self.broken(Mutant::TickOfAnyTerm) {
            counted = command.elapsed_ms.min(TICK_MAX_MS);
            self.cluster.mono = self.cluster.mono.saturating_add(counted);
        }
        self.cluster.tick_term = self.cluster.tick_term.max(command.term);
        if self.cluster.mono.saturating_sub(self.cluster.hour_began_mono) >= self.delays().hour_ms {
            self.cluster.hour += 1;
            self.cluster.hour_began_mono = self.cluster.mono;
        }
        self.prune(PRUNED_PER_TICK)?;
        Ok(Outcome::Done(wire::Done { count: counted }))
    }

    /// The first one wins; every later one is told what the first one wrote.
    pub(super) fn create_store(&mut self, command: &wire::CreateStore) -> Applied {
        let wire::CreateStore { cluster_id, incarnation, token } = command.clone();
        let store = self.cluster.store.get_or_insert(wire::Store { cluster_id, incarnation, token, marked: false });
        let wire::Store { cluster_id, incarnation, token, .. } = store.clone();
        Ok(Outcome::StoreCreated(wire::StoreCreated { cluster_id, incarnation, token }))
    }

    pub(super) fn mark_store(&mut self, command: &wire::MarkStore) -> Applied {
        let store = self.cluster.store.as_mut().filter(|store| store.token == command.token);
        let count = u64::from(store.is_some());
        if let Some(store) = store {
            store.marked = true;
        }
        Ok(Outcome::Done(wire::Done { count }))
    }

    /// Levels only rise. A version that does not know the new one stops here, before an entry that needs it.
    pub(super) fn raise_feature_level(&mut self, command: &wire::RaiseFeatureLevel) -> Applied {
        self.knows_level(command.level.max(1))?;
        self.cluster.feature_level = self.cluster.feature_level.max(command.level);
        Ok(Outcome::Done(wire::Done { count: u64::from(self.cluster.feature_level) }))
    }

    /// Level 0 is that of builds before the first release; their records are not kept up.
    pub(super) fn knows_level(&self, level: u32) -> Result<(), TablesError> {
        if !(1..=FEATURE_LEVEL).contains(&level) {
            return Err(TablesError(Box::new(UnknownFeatureLevel { level })));
        }
        Ok(())
    }

    pub(super) fn allocate_node_id(&mut self, _command: &wire::AllocateNodeId) -> Applied {
        let node_id = NODE_ID_BASE.saturating_add(self.index).max(self.cluster.last_node_id.saturating_add(1));
        self.cluster.last_node_id = node_id;
        Ok(Outcome::NodeIdAllocated(wire::NodeIdAllocated { node_id }))
    }
}
