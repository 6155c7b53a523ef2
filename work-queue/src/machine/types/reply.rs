//! What commands are answered with.

use super::ids::{BatchId, JobId, LeaseId, SessionId};
use super::job::Blob;
use bytes::Bytes;
use quorate_core::error::Error;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A job handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The grant.
    pub id: LeaseId,
    /// The job.
    pub job: JobId,
    /// Its queue.
    pub queue: Name,
    /// 1 for the first.
    pub attempt: u32,
    /// d.
    pub lease_ms: u64,
    /// As enqueued.
    pub payload: Bytes,
    /// As enqueued.
    pub payload_is_json: bool,
    /// As enqueued. For a join job: the manifest is read with [`super::Query::BatchResults`].
    pub inputs: Vec<Blob>,
    /// As enqueued.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// The last checkpoint of an earlier attempt.
    pub checkpoint: Option<Bytes>,
    /// As enqueued.
    pub traceparent: Option<Arc<str>>,
    /// Set for a join job: the batch whose children it joins.
    pub joins: Option<BatchId>,
    /// Set for a child.
    pub batch: Option<(BatchId, u32)>,
}

/// The outcome of one settlement in a request of many.
pub type Settled = Result<(), Error>;

/// Answers to [`super::Command`]s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// Ids in the order of the request; true for a duplicate.
    Enqueued(Vec<(JobId, bool)>),
    /// Granted leases; empty when there was nothing.
    Leased {
        session: SessionId,
        leases: Vec<Lease>,
    },
    /// One outcome for each settlement, then the leases if they were asked for.
    Settled {
        outcomes: Vec<Settled>,
        leased: Option<(SessionId, Vec<Lease>)>,
    },
    /// The session.
    Session(SessionId),
    /// The batch; true if the key named an existing one.
    Batch(BatchId, bool),
    /// How many jobs were affected.
    Count(u64),
    /// Answer to Extend and Checkpoint: whether the holder should stop.
    Kept { cancel_requested: bool },
}
