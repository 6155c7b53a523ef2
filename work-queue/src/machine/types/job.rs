//! What is put into a queue: jobs, the files they need, the settings they live under.

use super::ids::BatchId;
use bytes::Bytes;
use quorate_core::types::LogTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A file outside the queue: what payloads over 64 KiB and films are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// `file:///…` or `s3://…`, or a name within the cluster's blob store.
    pub uri: Arc<str>,
    /// Lower-case hex SHA-256 of the content; empty when unknown (an input that the queue did not make).
    pub sha256: Arc<str>,
    /// Bytes.
    pub size: u64,
}

/// A job as it is enqueued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    /// Opaque bytes, handed out byte for byte.
    pub payload: Bytes,
    /// Content type of the payload: true when it is a JSON text and REST shows it as such.
    pub payload_is_json: bool,
    /// Files it needs.
    pub inputs: Vec<Blob>,
    /// 0 (first) to 15; FIFO within. Default 8.
    pub priority: u8,
    /// Not before this time.
    pub not_before: Option<LogTime>,
    /// A second job with the same key in the same queue is answered with the first one's id as long as
    /// that job is kept.
    pub dedupe_key: Option<Arc<str>>,
    /// Failed attempts before it is dead; the queue's setting when absent.
    pub max_attempts: Option<u32>,
    /// The batch it belongs to, and its place in it. A second job at the same place is the first one.
    pub batch: Option<(BatchId, u32)>,
    /// Free labels, sorted by key, for lists.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// W3C trace context of the enqueuer.
    pub traceparent: Option<Arc<str>>,
}

impl NewJob {
    /// The priority of a job that names none.
    pub const PRIORITY_DEFAULT: u8 = 8;
    /// The last priority.
    pub const PRIORITY_MAX: u8 = 15;
}

impl Default for NewJob {
    /// An empty payload at the default priority.
    fn default() -> Self {
        Self {
            payload: Bytes::new(),
            payload_is_json: false,
            inputs: Vec::new(),
            priority: Self::PRIORITY_DEFAULT,
            not_before: None,
            dedupe_key: None,
            max_attempts: None,
            batch: None,
            labels: Vec::new(),
            traceparent: None,
        }
    }
}

/// Settings of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Default lease length.
    pub lease_ms: u64,
    /// A lease whose progress does not change for so long is revoked; 0 is off.
    pub stall_ms: u64,
    /// Failed attempts before a job is dead. Lost leases (crashes) are bounded by the same number, apart.
    pub max_attempts: u32,
    /// First delay after a failure; doubles with each, with ±10 % deterministic jitter.
    pub backoff_initial_ms: u64,
    /// Longest delay.
    pub backoff_max_ms: u64,
    /// Jobs that are not final, at the most.
    pub max_jobs: u64,
    /// Payload bytes of jobs that are not final, at the most.
    pub max_bytes: u64,
    /// How long final jobs are kept.
    pub retention_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease_ms: 30_000,
            stall_ms: 0,
            max_attempts: 5,
            backoff_initial_ms: 1_000,
            backoff_max_ms: 300_000,
            max_jobs: 10_000_000,
            max_bytes: 8 << 30,
            retention_ms: 86_400_000,
        }
    }
}

/// What a batch does about a dead child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDead {
    /// Waits until the child is retried or skipped.
    #[default]
    Hold,
    /// Counts it as final and joins all the same.
    Join,
    /// Cancels the batch.
    Cancel,
}
