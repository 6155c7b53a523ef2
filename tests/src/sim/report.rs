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
    /// What else `simulate` must be told to replay it.
    pub replay: &'static str,
    /// The mixture of faults it drew.
    pub faults: Faults,
    /// Hash over every input and output.
    pub trace: u64,
    /// Events carried out.
    pub steps: u64,
    /// What was done, by kind; the last one stands for the use of it all.
    pub summary: Vec<(&'static str, u64)>,
    /// How often each kind of thing happened; see which faults really struck.
    pub counts: BTreeMap<&'static str, u64>,
    /// Broken promises; empty is good.
    pub violations: Vec<Violation>,
}

impl Report {
    /// How much of what it is all for was done.
    pub fn done(&self) -> u64 {
        self.summary.last().map_or(0, |(_, count)| *count)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {} steps", self.seed, self.steps)?;
        for (what, count) in &self.summary {
            write!(f, ", {count} {what}")?;
        }
        writeln!(f, ", trace {:016x}", self.trace)?;
        writeln!(f, "  faults: {:?}", self.faults)?;
        writeln!(f, "  counts: {:?}", self.counts)?;
        for violation in &self.violations {
            writeln!(f, "  {} broken: {}", violation.promise, violation.what)?;
        }
        write!(
            f,
            "  replay: cargo run -p quorate-tests --bin simulate -- {}--seed {}",
            self.replay, self.seed
        )
    }
}
