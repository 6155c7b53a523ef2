//! One replica of one group, without I/O: raft, the state machine, reads, waits, log time.
//!
//! The only module that imports `raft`; no raft type leaves it. Everything enters as an [`Input`]
//! together with a reading of the clocks, everything leaves as an [`Output`]; equal inputs give equal
//! outputs. The shell is `crate::node`; the simulator is another.

mod input;
mod output;

pub use input::{Input, Proposal, RequestId};
pub use output::{Output, Role, Status, Write};
