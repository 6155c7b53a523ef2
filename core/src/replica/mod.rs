//! One replica of one group, without I/O: raft, the state machine, reads, waits, log time.
//!
//! The only module that imports `raft`; no raft type leaves it. Everything enters as an [`Input`]
//! together with a reading of the clocks, everything leaves as an [`Output`]; equal inputs give equal
//! outputs. The shell is `crate::node`; the simulator is another.
//!
//! Where to find what: [`Replica`] is in `replica.rs`, its inputs are taken in by `step.rs` and worked
//! out by `turn.rs`, which hands entries to `apply.rs`. What only a leader does is in `office.rs`.
//! `replicated.rs` is the state that all replicas share, a pure function of the log, with `dedupe.rs`
//! inside. `pending.rs`, `parked.rs` and `reads.rs` keep those who wait, `disk.rs` what waits for a
//! write, `window.rs` the log that raft reads; `doubt.rs` withholds votes after damage; `wire.rs` is the border to raft's own types.

mod apply;
mod config;
mod dedupe;
mod disk;
mod doubt;
mod election;
mod entry;
mod hash;
mod input;
mod log_time;
mod office;
mod output;
mod parked;
mod pending;
mod reads;
// The struct that the module is named after.
#[allow(
    clippy::module_inception,
    reason = "the type Replica is what this module is about"
)]
mod replica;
mod replicated;
mod snapshot;
mod status;
mod step;
#[cfg(test)]
mod tests;
mod turn;
mod window;
mod wire;

pub use config::{Boot, BootError, Config};
pub use dedupe::{KEY_KEPT_MS, STREAM_IDLE_MS};
pub use input::{Input, Proposal, RequestId};
pub use output::{HardState, LogEntry, Member, Output, Role, SnapshotMeta, Status, Write};
pub use replica::Replica;
pub use wire::meta_of as snapshot_meta;

/// Entries that may be committed and not yet applied here before the leader proposes no more: its own
/// disk is slower than that of the majority.
const APPLY_BEHIND_MAX: usize = 8;
