//! Rules that tests switch off, one at a time, to see that a named invariant notices. In a normal build every rule holds and
//! the questions cost nothing.

use super::apply::Machine;

/// A rule of the state machine that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mutant {
    /// `Collect` believes the proposer that a link has no references.
    CollectReferenced,
    /// A lease is renewed iff it ends before the end of the promise, not also if it ends with it.
    RenewLate,
    /// References are counted by occurrence.
    CountOccurrences,
    /// A lease is no longer than the promise.
    ShortGrace,
    /// Condemned lists are deleted early.
    ShortDelete,
    /// Hours are forgotten early.
    ShortSweep,
    /// A commit covers whatever the session has.
    IgnoreAt,
    /// The end of a session is not remembered.
    ForgetEnd,
    /// A request id is not remembered.
    NoDedupe,
    /// Replicated time follows the proposers' wall clocks.
    MonoFromWall,
    /// Ticks count whatever term they are of.
    TickOfAnyTerm,
    /// `DeletesDone` forgets whatever it names.
    DeletesDoneUnasked,
    /// A drain forgets a repository after its first step.
    DrainOnce,
    /// What loses a second one of those that held it goes with the first.
    LoseOnce,
    /// What is in the trash can be put back for the grace only, also while collection is paused.
    ReturnNotInPause,
    /// The sweep of manifests does not look for what holds them.
    SweepHeld,
}

impl Machine<'_> {
    /// Whether a rule is off.
    #[cfg(test)]
    pub(super) fn broken(&self, rule: Mutant) -> bool {
        self.mutant == Some(rule)
    }

    /// Whether a rule is off: never.
    #[cfg(not(test))]
    pub(super) const fn broken(&self, _rule: Mutant) -> bool {
        false
    }
}
