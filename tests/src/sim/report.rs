//! What one run did and found.

use super::faults::Faults;
use super::ledger::Violation;
use std::collections::BTreeMap;
use std::fmt;

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed it is a function of.
    pub seed: u64,
    /// The mixture of faults it drew.
    pub faults: Faults,
    /// Hash over every input and output.
    pub trace: u64,
    /// Events carried out.
    pub steps: u64,
    /// Acknowledged enqueues, grants that arrived, acknowledged completions.
    pub enqueued: u64,
    /// Grants that arrived.
    pub granted: u64,
    /// Acknowledged completions.
    pub completed: u64,
    /// How often each kind of thing happened; see which faults really struck.
    pub counts: BTreeMap<&'static str, u64>,
    /// Broken promises; empty is good.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {} steps, {} enqueued, {} granted, {} completed, trace {:016x}",
            self.seed, self.steps, self.enqueued, self.granted, self.completed, self.trace
        )?;
        writeln!(f, "  faults: {:?}", self.faults)?;
        writeln!(f, "  counts: {:?}", self.counts)?;
        for violation in &self.violations {
            writeln!(f, "  {} broken: {}", violation.promise, violation.what)?;
        }
        write!(
            f,
            "  replay: cargo run -p quorate-tests --bin simulate -- --seed {}",
            self.seed
        )
    }
}
