//! The simulated network: which messages arrive, when, and how often.

use super::faults::Faults;
use super::ledger::True;
use super::rng::Rng;
use quorate_core::types::NodeId;
use std::collections::BTreeSet;

/// Links between nodes, and the faults on them.
#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    /// Directed links that are cut.
    cut: BTreeSet<(NodeId, NodeId)>,
}

impl Network {
    /// A whole network.
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            rng,
            cut: BTreeSet::new(),
        }
    }

    /// Cuts one direction.
    pub(crate) fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Mends everything.
    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Whether a message from one to the other can pass.
    pub(crate) fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }

    /// When a message that is sent now arrives: no time, one, or two.
    pub(crate) fn arrivals(
        &mut self,
        from: NodeId,
        to: NodeId,
        now: True,
        faults: &Faults,
    ) -> Vec<True> {
        if !self.passes(from, to) || self.rng.chance(faults.drop_permille) {
            return Vec::new();
        }
        let mut arrivals = vec![now + self.delay(faults)];
        if self.rng.chance(faults.duplicate_permille) {
            arrivals.push(now + self.delay(faults));
        }
        arrivals
    }

    /// A delay in nanoseconds: mostly short, sometimes as long as the faults allow.
    pub(crate) fn delay(&mut self, faults: &Faults) -> u64 {
        let most = if self.rng.chance(100) {
            faults.delay_ms_max
        } else {
            1
        };
        self.rng.range(50_000, most.max(1) * 1_000_000)
    }
}
