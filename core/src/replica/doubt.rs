//! A replica that may have lost synced entries at the end of its log, until it has caught up.
//!
//! A vote says "no entry that I ever acknowledged is missing in the candidate's log". A replica in doubt
//! can say that only of a candidate that is not behind any other member, itself included, by what all of
//! them have told since this replica started: whatever it acknowledged and lost was committed only if one
//! of them holds it. It withholds its vote until then, its vote for itself too.
//!
//! It starts in a term of its own, so that no leader of its earlier life goes on counting what was lost as
//! held here, and trusts itself again once it has applied an entry of that term or a later one: the leader
//! of that term has committed everything before it, and the log here matches up to there. (The case is
//! that of Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", 2018.)

use crate::types::{LogIndex, NodeId, Term};
use std::collections::BTreeMap;

/// Where a log ends: what Raft compares logs by (Ongaro and Ousterhout 2014, section 5.4.1).
pub(super) type End = (Term, LogIndex);

/// What a replica in doubt has heard.
#[derive(Debug)]
pub(super) struct Doubt {
    /// The term it started in; entries of this term or a later one end the doubt.
    since: Term,
    /// The ends of the logs of other voters, as they told when they asked for votes.
    heard: BTreeMap<NodeId, End>,
}

impl Doubt {
    /// Doubt that began at the start in term `since`.
    pub(super) fn new(since: Term) -> Self {
        Self {
            since,
            heard: BTreeMap::new(),
        }
    }

    /// A voter asked for a vote; its log ends so.
    pub(super) fn hear(&mut self, from: NodeId, end: End) {
        self.heard.insert(from, end);
    }

    /// Whether a vote may go to the candidate whose log ends at `candidate`, while the one here ends at
    /// `own` and `others` are the other voters.
    pub(super) fn allows(
        &self,
        candidate: End,
        own: End,
        mut others: impl Iterator<Item = NodeId>,
    ) -> bool {
        candidate >= own
            && others.all(|other| self.heard.get(&other).is_some_and(|end| candidate >= *end))
    }

    /// Whether it is over once an entry of term `applied` is applied.
    pub(super) fn is_over(&self, applied: Term) -> bool {
        applied >= self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vote_is_withheld_until_all_were_heard_and_goes_to_one_who_is_not_behind_any() {
        let end = |term, index| (Term(term), LogIndex(index));
        let others = || [NodeId(2), NodeId(3)].into_iter();
        let own = end(3, 7);
        let mut doubt = Doubt::new(Term(4));
        assert!(!doubt.allows(end(3, 9), own, others()), "nobody was heard");
        doubt.hear(NodeId(2), end(3, 9));
        assert!(!doubt.allows(end(3, 9), own, others()), "one was not heard");
        doubt.hear(NodeId(3), end(2, 20));
        assert!(doubt.allows(end(3, 9), own, others()));
        assert!(doubt.allows(end(4, 1), own, others()));
        assert!(!doubt.allows(end(3, 8), own, others()), "behind node 2");
        assert!(!doubt.allows(own, own, others()), "itself is behind");
        assert!(!doubt.is_over(Term(3)) && doubt.is_over(Term(4)) && doubt.is_over(Term(5)));
    }
}
