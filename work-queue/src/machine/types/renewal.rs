//! Heartbeats: what keeps leases alive and is never logged.

use super::ids::{LeaseId, SessionId};
use super::view::Progress;
use serde::{Deserialize, Serialize};

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewal {
    /// The session. [`SessionId::NONE`] in a report of progress on one lease stands for the session that
    /// holds it.
    pub session: SessionId,
    /// Number of this heartbeat within the session, from 1 and growing; 0 when the sender counts none.
    pub number: u64,
    /// All leases it holds, those included whose settlement is not answered yet. One that is missing
    /// in two numbered heartbeats in a row is released without charging an attempt, so a holder drops a
    /// grant that arrives when two heartbeats were sent since its request.
    pub leases: Vec<LeaseId>,
    /// How far some of them are.
    pub progress: Vec<(LeaseId, Progress)>,
    /// True for a heartbeat proper; false for a report of progress, whose list is not complete.
    pub complete: bool,
}

/// The acknowledgement of a heartbeat: for each listed lease, whether it is live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// Live, and may be trusted for their length from before the heartbeat was sent.
    pub live: Vec<LeaseId>,
    /// Ended or ending: stop the work.
    pub ended: Vec<LeaseId>,
    /// Among those ended: a cancel was asked for.
    pub cancelled: Vec<LeaseId>,
}
