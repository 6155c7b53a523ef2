//! Effects of applied entries.

use super::command::RevokeCause;
use super::ids::BatchId;
use super::ids::{JobId, LeaseId, SessionId};
use super::view::{BatchState, State};
use quorate_core::types::Name;
use std::time::Duration;

/// Effects of applied entries, for waiters, the leader's counts and event streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Jobs of this queue became ready.
    Ready { queue: Name },
    /// A lease was granted or got a new length: its count starts.
    Granted {
        lease: LeaseId,
        session: SessionId,
        job: JobId,
        lease_ms: u64,
        stall_ms: u64,
        /// How often its length was changed; 0 for the grant itself.
        extensions: u32,
    },
    /// A lease gets no acknowledgement any more.
    Revoking { lease: LeaseId, cause: RevokeCause },
    /// A lease ended.
    Ended { lease: LeaseId },
    /// A session began.
    SessionOpened { session: SessionId },
    /// A session ended.
    SessionClosed { session: SessionId },
    /// A job changed its state.
    Job { job: JobId, state: State },
    /// A batch changed its state.
    Batch { batch: BatchId, state: BatchState },
}

/// How long a session that holds nothing may be silent before it is forgotten.
pub const SESSION_IDLE: Duration = Duration::from_secs(300);
