//! The truth about an answer: what became of every planned shard, and what it cost.

use super::ids::Replica;
use super::nested::Covered;
use super::plan::MapId;
use super::reason::Reason;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use std::time::Duration;

/// What became of a planned shard. Exactly one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// Its answer is in the result.
    Merged,
    /// Every attempt failed.
    Failed,
    /// It was still out at the cutoff, or its last attempt ran too long.
    TimedOut,
    /// It was never asked, although it was wanted or because it cannot match: its turn did not come in
    /// time, or the canary stopped the rest.
    Skipped,
    /// There was no need of it: the policy was met without it or could not be met any more, whether it
    /// had been asked by then or not.
    Unneeded,
}

impl Fate {
    /// As it stands in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merged => "merged",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
            Self::Unneeded => "unneeded",
        }
    }
}

/// How many of what fate, also as answers have it. `planned` is the sum of the others.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub planned: u64,
    /// In the result.
    pub merged: u64,
    /// Every attempt failed.
    pub failed: u64,
    /// Out of time.
    pub timed_out: u64,
    /// Wanted, and never asked.
    pub skipped: u64,
    /// Not needed.
    pub unneeded: u64,
}

impl Counts {
    /// Counts one more.
    pub fn add(&mut self, fate: Fate) {
        self.planned += 1;
        match fate {
            Fate::Merged => self.merged += 1,
            Fate::Failed => self.failed += 1,
            Fate::TimedOut => self.timed_out += 1,
            Fate::Skipped => self.skipped += 1,
            Fate::Unneeded => self.unneeded += 1,
        }
    }

    /// Whether the parts add up to the whole. False for nonsense from the network.
    pub fn adds_up(&self) -> bool {
        [self.failed, self.timed_out, self.skipped, self.unneeded]
            .iter()
            .try_fold(self.merged, |sum, &n| sum.checked_add(n))
            == Some(self.planned)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.planned = self.planned.saturating_add(other.planned);
        self.merged = self.merged.saturating_add(other.merged);
        self.failed = self.failed.saturating_add(other.failed);
        self.timed_out = self.timed_out.saturating_add(other.timed_out);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.unneeded = self.unneeded.saturating_add(other.unneeded);
    }
}

/// One shard's line of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardReport {
    /// What became of it.
    pub fate: Fate,
    /// Why, unless it was merged.
    pub reason: Option<Reason>,
    /// Merged, but its own answer was partial.
    pub partial: bool,
    /// Calls that were sent, hedges and retries included.
    pub attempts: u8,
    /// How many of them were hedges.
    pub hedges: u8,
    /// Who gave the merged answer; otherwise who was asked last.
    pub replica: Option<Replica>,
    /// From the start of the request to this fate.
    pub elapsed: Duration,
}

/// What a request cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Calls sent in all.
    pub sends: u32,
    /// Of them hedges.
    pub hedges: u32,
    /// Of them retries.
    pub retries: u32,
    /// Hedges whose answer was merged.
    pub hedges_won: u32,
    /// Hedges and retries that were due and not sent, for want of budget.
    pub denied: u32,
    /// Many shards were late together, so hedging stopped.
    pub late_together: bool,
    /// A leaf asked for less load, so hedging stopped.
    pub pushback: bool,
}

/// Every planned shard, in the plan's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accounting {
    /// The map of the plan.
    pub map: MapId,
    /// The direct shards.
    pub counts: Counts,
    /// The leaves of the whole tree: an inner node's own counts stand for its shard where it gave
    /// them, every other shard counts as one leaf.
    pub leaves: Counts,
    /// The leaves that the merged nested answers cover, by their maps. A parent that passes its
    /// answer on adds its own merged shards.
    pub covered: Vec<Covered>,
    /// Line by line.
    pub shards: Vec<ShardReport>,
    /// What it cost.
    pub effort: Effort,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Too few shards answered, or a required one did not.
    InsufficientShards,
    /// The cutoff came before enough had answered.
    DeadlineExceeded,
    /// The canary crashed or hung; the shell quarantines the request's fingerprint.
    Canary,
    /// Whoever asked is gone.
    Cancelled,
}

/// Whether there is an answer, and what may be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every planned shard was merged whole.
    Complete,
    /// Enough for the policy, and something is missing.
    Partial,
    /// No answer.
    Failed(Failure),
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether there is an answer.
    pub verdict: Verdict,
    /// What became of every shard.
    pub accounting: Accounting,
    /// From the start to the end.
    pub elapsed: Duration,
}

impl Outcome {
    /// Whether every planned shard was merged whole.
    pub fn complete(&self) -> bool {
        self.verdict == Verdict::Complete
    }
}
