//! The gather engine: one pure machine for one request.
//!
//! A shell feeds [`Input`]s to a [`Gather`] and carries out the [`Output`]s in order; the engine has
//! no clock, no randomness, no I/O and no bytes of any answer. Equal inputs give equal outputs.
//!
//! ```text
//! Start ─▶ Choose(shard) ─▶ the shell's balancer offers a replica ─▶ Chosen ─▶ Send
//!          Reply | Failed ─▶ Accept ─▶ the shell's merger takes the staged body ─▶ Merged | Refused
//!          Timer ─▶ a hedge (Choose), a timeout (Cancel), or the end (Cancel…, Finish)
//! ```
//!
//! **Who decides what.** The engine decides *that* a shard is asked (again), and which replicas are
//! out of the question because this request has tried them; the shell's balancer decides *which* of
//! the rest, and tells what it knows of its latency; the engine then sends or drops the offer (the
//! remainder may be shorter than the replica's median, the budget may be empty). All policy is thus
//! in this module, and all knowledge of endpoints outside.
//!
//! **What holds, whatever order the inputs come in** (see `gather/tests`):
//!
//! - A shard is handed to the merger at most once, and never after [`Output::Finish`].
//! - planned = merged + failed + timed_out + skipped + unneeded.
//! - `complete` only if every planned shard was merged whole; zero merged is an error.
//! - [`Output::Finish`] comes exactly once, at the latest with the first input at or after the
//!   cutoff (deadline minus merge reserve) by which the merger has answered for what it holds.
//! - Whatever arrives for an attempt that no longer counts is ignored and counted.

mod accounting;
mod budget;
mod engine;
mod hedge;
mod ids;
mod input;
mod nested;
mod output;
mod plan;
pub mod planted;
mod policy;
mod quarantine;
mod reason;
mod sketch;

pub use accounting::{Accounting, Counts, Effort, Failure, Fate, Outcome, ShardReport, Verdict};
pub use budget::{Budget, Budgets};
pub use engine::Gather;
pub use hedge::{HedgePolicy, Trigger};
pub use ids::{AttemptId, Replica, ReplicaSet, ShardIndex};
pub use input::{Input, Told};
pub use nested::{Covered, Nested};
pub use output::{Kind, Output};
pub use plan::{Canary, Caps, MapId, Plan, PlanError, ShardPlan};
pub use policy::{Coverage, Policy, Share};
pub use quarantine::Quarantine;
pub use reason::Reason;
pub use sketch::Sketch;

#[cfg(test)]
pub(crate) mod tests;
