//! What answers hold: errors, grants, and the parts that they share.

use crate::container::http::Answer as HttpAnswer;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use quorate_work_queue::machine::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

pub(super) fn take_bytes(
    text: Option<Box<RawValue>>,
    base64: Option<String>,
) -> Option<(Bytes, bool)> {
    assert!(text.is_none() || base64.is_none(), "both forms");
    match (text, base64) {
        (Some(text), _) => Some((Bytes::copy_from_slice(text.get().as_bytes()), true)),
        (None, Some(base64)) => Some((STANDARD.decode(base64).unwrap().into(), false)),
        (None, None) => None,
    }
}

pub(super) fn instant(text: &str) -> LogTime {
    let time = humantime::parse_rfc3339(text).unwrap();
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    LogTime(u64::try_from(since.as_millis()).unwrap())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) status: u16,
    pub(super) detail: String,
    pub(super) code: String,
    pub(super) retryable: bool,
    pub(super) retry_after_ms: Option<u64>,
}

impl Problem {
    pub(super) fn error(self) -> Error {
        let code = Code::parse(&self.code).unwrap();
        assert_eq!(self.status, code.http_status());
        assert_eq!(self.retryable, code.retryable());
        assert!(self.kind.ends_with(&self.code) && !self.title.is_empty());
        Error {
            code,
            detail: self.detail,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobIn {
    pub(super) uri: String,
    sha256: String,
    pub(super) size: u64,
}

pub(super) fn blobs_in(blobs: Vec<BlobIn>) -> Vec<Blob> {
    blobs
        .into_iter()
        .map(|blob| Blob {
            uri: blob.uri.into(),
            sha256: blob.sha256.into(),
            size: blob.size,
        })
        .collect()
}

pub(super) fn labels_in(labels: BTreeMap<String, String>) -> Vec<(Arc<str>, Arc<str>)> {
    labels
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueuedIn {
    pub(super) jobs: Vec<EnqueuedJob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnqueuedJob {
    pub(super) id: String,
    pub(super) duplicate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeasedIn {
    pub(super) session: Option<String>,
    pub(super) leases: Vec<LeaseIn>,
    pub(super) settled: Option<Vec<SettledIn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseIn {
    pub(super) lease_id: String,
    pub(super) job_id: String,
    pub(super) queue: Name,
    pub(super) attempt: u32,
    pub(super) fencing_token: u64,
    pub(super) payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
    pub(super) inputs: Vec<BlobIn>,
    pub(super) deadline_ms: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) checkpoint: Option<Box<RawValue>>,
    checkpoint_base64: Option<String>,
    pub(super) traceparent: Option<String>,
    pub(super) batch: Option<String>,
    pub(super) index: Option<u32>,
    pub(super) joins: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SettledIn {
    pub(super) lease_id: String,
    pub(super) settled: bool,
    pub(super) error: Option<Problem>,
}

impl LeaseIn {
    pub(super) fn lease(self) -> Lease {
        let id: LeaseId = self.lease_id.parse().unwrap();
        assert_eq!(self.fencing_token, id.token().0);
        let (payload, payload_is_json) = take_bytes(self.payload, self.payload_base64).unwrap();
        let batch = self.batch.map(|batch| batch.parse().unwrap());
        Lease {
            id,
            job: self.job_id.parse().unwrap(),
            queue: self.queue,
            attempt: self.attempt,
            lease_ms: self.deadline_ms,
            payload,
            payload_is_json,
            inputs: blobs_in(self.inputs),
            labels: labels_in(self.labels),
            checkpoint: take_bytes(self.checkpoint, self.checkpoint_base64).map(|(data, _)| data),
            traceparent: self.traceparent.map(Arc::from),
            joins: self.joins.map(|batch| batch.parse().unwrap()),
            batch: batch.zip(self.index),
        }
    }
}

pub(super) fn outcomes(settle: &[Settle], items: Vec<SettledIn>) -> Vec<Settled> {
    assert_eq!(settle.len(), items.len());
    items
        .into_iter()
        .zip(settle)
        .map(|(item, settle)| {
            assert_eq!(item.lease_id, settle.lease.to_string());
            assert_eq!(item.settled, item.error.is_none());
            item.error.map_or(Ok(()), |problem| Err(problem.error()))
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptIn {
    pub(super) cancel_requested: bool,
    pub(super) deadline_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountIn {
    pub(super) count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RenewedIn {
    pub(super) live: Vec<String>,
    pub(super) ended: Vec<String>,
    pub(super) cancelled: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageIn<T> {
    pub(super) items: Vec<T>,
    pub(super) next_page_token: Option<String>,
}

pub(super) fn read<T: DeserializeOwned>(answer: &HttpAnswer) -> Result<T, Error> {
    let told = || format!("{} {}", answer.status, answer.text());
    if answer.status < 300 {
        return Ok(serde_json::from_slice(&answer.body)
            .unwrap_or_else(|error| panic!("{error}: {}", told())));
    }
    assert_eq!(
        answer.headers["content-type"],
        "application/problem+json",
        "{}",
        told()
    );
    let problem: Problem =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", told()));
    assert_eq!(problem.status, answer.status);
    Err(problem.error())
}
