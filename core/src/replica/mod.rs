//! One replica of one group, without I/O: raft, the state machine, reads, waits, log time.
//!
//! The only module that imports `raft`; no raft type leaves it. Everything enters as an [`Input`]
//! together with a reading of the clocks, everything leaves as an [`Output`]; equal inputs give equal
//! outputs. The shell is `crate::node`; the simulator is another.

mod config;
mod input;
mod output;

pub use config::{Boot, BootError, Config};
pub use input::{Input, Proposal, RequestId};
pub use output::{HardState, LogEntry, Member, Output, Role, SnapshotMeta, Status, Write};
