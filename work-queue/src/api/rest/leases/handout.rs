//! A request for work and what is handed out.

use crate::api::rest::settle::{CompleteItem, FailItem, ReleaseItem, SettledOut};
use crate::api::rest::values::{
    AnyJson, Base64, BlobDto, NotBuilt, blobs_out, labels_out, shown, shown_if,
};
use crate::machine::{Lease, SessionId};
use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A request for work, with settlements of what was worked on before.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LeaseRequest)]
pub(super) struct LeaseIn {
    /// Name of the worker, for people.
    pub(super) worker: String,
    /// Its session, as answered before; one is opened when absent.
    #[serde(default)]
    pub(super) session: Option<String>,
    /// At most so many, 1 to 1000. Default 1.
    #[serde(default)]
    pub(super) max: Option<u32>,
    /// Length of each; the queue's setting when absent.
    #[serde(default)]
    pub(super) lease_ms: Option<u64>,
    /// Waits so long when there is no work, up to 60000. Default 0.
    #[serde(default)]
    pub(super) wait_ms: u64,
    /// Settled first, in the same step.
    #[serde(default)]
    pub(super) complete: Vec<CompleteItem>,
    /// Settled first, in the same step.
    #[serde(default)]
    pub(super) fail: Vec<FailItem>,
    /// Settled first, in the same step.
    #[serde(default)]
    pub(super) release: Vec<ReleaseItem>,
    #[serde(default)]
    #[schema(ignore)]
    pub(super) provides: NotBuilt,
}

/// Work, if there was any in time.
#[derive(Serialize, ToSchema)]
pub(super) struct Leased {
    /// For heartbeats and further requests; null when none was opened because there was no work.
    session: Option<String>,
    leases: Vec<LeaseOut>,
    /// What became of the settlements, in the order complete, fail, release.
    #[serde(skip_serializing_if = "Option::is_none")]
    settled: Option<Vec<SettledOut>>,
}

/// A job handed out.
#[derive(Serialize, ToSchema)]
#[schema(as = Lease)]
struct LeaseOut {
    lease_id: String,
    job_id: String,
    queue: String,
    /// 1 for the first.
    attempt: u32,
    /// Grows with every grant; a protected resource refuses a lower one than it has seen.
    fencing_token: u64,
    /// The payload, if it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<AnyJson>)]
    payload: Option<Box<RawValue>>,
    /// The payload otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    payload_base64: Option<Base64>,
    inputs: Vec<BlobDto>,
    /// The lease lives so long unless it is kept by heartbeats or extended, counted from before the
    /// request was sent. 0 in the answer to a request that was repeated under its key: the lease may have ended,
    /// a heartbeat says whether it did.
    deadline_ms: u64,
    labels: BTreeMap<String, String>,
    /// The last checkpoint of an earlier attempt, if it is JSON; null when there is none.
    #[schema(value_type = Option<AnyJson>)]
    checkpoint: Option<Box<RawValue>>,
    /// The last checkpoint otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, content_encoding = "base64")]
    checkpoint_base64: Option<Base64>,
    traceparent: Option<String>,
    /// Set for a child of a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<String>,
    /// Its place there.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u32>,
    /// Set for a join job: the batch whose results it joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    joins: Option<String>,
}

impl From<Lease> for LeaseOut {
    fn from(lease: Lease) -> Self {
        let (payload, payload_base64) = shown(lease.payload, lease.payload_is_json);
        let (checkpoint, checkpoint_base64) = shown_if(lease.checkpoint, true);
        Self {
            lease_id: lease.id.to_string(),
            job_id: lease.job.to_string(),
            queue: lease.queue.to_string(),
            attempt: lease.attempt,
            fencing_token: lease.id.token().0,
            payload,
            payload_base64,
            inputs: blobs_out(lease.inputs),
            deadline_ms: lease.lease_ms,
            labels: labels_out(lease.labels),
            checkpoint,
            checkpoint_base64,
            traceparent: lease.traceparent.map(|value| value.to_string()),
            batch: lease.batch.map(|(batch, _)| batch.to_string()),
            index: lease.batch.map(|(_, index)| index),
            joins: lease.joins.map(|batch| batch.to_string()),
        }
    }
}

pub(super) fn leased(
    session: SessionId,
    leases: Vec<Lease>,
    settled: Option<Vec<SettledOut>>,
) -> Json<Leased> {
    Json(Leased {
        session: (session != SessionId::NONE).then(|| session.to_string()),
        leases: leases.into_iter().map(LeaseOut::from).collect(),
        settled,
    })
}
