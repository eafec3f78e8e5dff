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

/// The decision. `leaderless` is how long this node has known no leader; `peer_has_leader` is asked only when it matters.
pub(super) fn decide(leaderless: Option<Duration>, peer_has_leader: Option<bool>) -> Option<Readiness> {
    match (leaderless, peer_has_leader) {
        (None, _) => Some(Readiness::Ready),
        (Some(gone), _) if gone < LEADERLESS_MAX => None,
        (Some(_), Some(true)) => Some(Readiness::Unready("cut off from a leader that a peer has".into())),
        (Some(_), Some(false)) => Some(Readiness::Degraded),
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_does_not_make_a_node_unready() {
        assert_eq!(decide(None, None), Some(Readiness::Ready));
        assert_eq!(decide(Some(Duration::from_secs(2)), None), None);
        assert_eq!(decide(Some(Duration::from_secs(4)), Some(false)), Some(Readiness::Degraded));
        let cut_off = decide(Some(Duration::from_secs(4)), Some(true));
        assert!(!cut_off.expect("decided").is_ready());
    }
}
