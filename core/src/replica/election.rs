//! When an election starts. raft-rs draws its timeout from a random number generator; ours is a hash,
//! so that equal inputs give equal runs, and differs between nodes and attempts, so that split votes
//! do not repeat.

use super::hash;
use crate::types::{NodeId, Term};

/// Silent ticks before this node's next election, within `min..max` (`max` exclusive).
pub(super) fn timeout_ticks(
    seed: u64,
    node: NodeId,
    term: Term,
    campaigns: u64,
    min: usize,
    max: usize,
) -> usize {
    let hash = [node.0, term.0, campaigns]
        .into_iter()
        .fold(hash::mix(seed), hash::fold);
    let span = max.saturating_sub(min).max(1) as u64;
    min + usize::try_from(hash % span).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_range_reaches_all_of_it_and_differs_between_nodes() {
        let draw = |node, campaigns| timeout_ticks(7, NodeId(node), Term(3), campaigns, 3, 6);
        let mut seen = [0_u32; 6];
        let mut equal = 0;
        for campaigns in 0..300 {
            let (one, two) = (draw(1, campaigns), draw(2, campaigns));
            assert!((3..6).contains(&one));
            seen[one] += 1;
            equal += u32::from(one == two);
        }
        assert!(seen[3..].iter().all(|n| *n > 60), "{seen:?}");
        assert!(
            equal < 150,
            "two nodes drew the same timeout {equal} times of 300"
        );
    }
}
