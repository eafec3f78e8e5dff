//! Whether a balancer should send requests here.
//!
//! Ready is what a barrier through the leader has proven. Without a leader for 3 s the peers decide: if one of them knows a
//! leader, this node is cut off and steps aside; if none does, stepping aside would help nobody, so reads by digest go on.

use crate::lifecycle::Readiness;
use std::time::Duration;

/// Between two looks.
pub(super) const INTERVAL: Duration = Duration::from_millis(250);

/// How long a node may be without a leader before it asks its peers.
pub(super) const LEADERLESS_MAX: Duration = Duration::from_secs(3);

/// A node that heard of its leader so lately has one. Heartbeats are far more frequent.
const HEARD_LATELY: Duration = Duration::from_secs(1);

/// The decision. `leaderless` is how long this node has heard of no leader; `peer_has_leader` is asked only when it matters.
pub(super) fn decide(leaderless: Duration, peer_has_leader: Option<bool>) -> Option<Readiness> {
    match peer_has_leader {
        _ if leaderless < HEARD_LATELY => Some(Readiness::Ready),
        _ if leaderless < LEADERLESS_MAX => None,
        Some(true) => Some(Readiness::Unready("cut off from a leader that a peer has".into())),
        Some(false) => Some(Readiness::Degraded),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_does_not_make_a_node_unready() {
        assert_eq!(decide(Duration::ZERO, None), Some(Readiness::Ready));
        assert_eq!(decide(Duration::from_millis(90), None), Some(Readiness::Ready), "between two heartbeats");
        assert_eq!(decide(Duration::from_secs(2), None), None);
        assert_eq!(decide(Duration::from_secs(4), Some(false)), Some(Readiness::Degraded));
        let cut_off = decide(Duration::from_secs(4), Some(true));
        assert!(!cut_off.expect("decided").is_ready());
    }
}
