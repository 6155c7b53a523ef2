//! A job as a caller gives it: alone, in a list, as the join of a batch.

use crate::api::rest::instant::Instant;
use crate::api::rest::values::{
    AnyJson, Base64, BlobDto, NotBuilt, blobs_in, given, labels_in, raw,
};
use crate::convert::within;
use crate::machine::{BatchId, NewJob};
use quorate_core::error::Error;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A struct with the fields of a job and some of its own: serde can deny unknown fields or flatten,
/// not both.
macro_rules! job_in {
    ($(#[$doc:meta])* $name:ident as $schema:ident { $($(#[$own_doc:meta])* $own:ident: $own_type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $schema)]
        pub(in crate::api::rest) struct $name {
            $(
                #[serde(default)]
                $(#[$own_doc])*
                pub(in crate::api::rest) $own: $own_type,
            )*
            /// Any JSON value, handed out byte for byte. Up to 64 KiB.
            #[serde(default, deserialize_with = "raw")]
            #[schema(value_type = Option<AnyJson>)]
            payload: Option<Box<RawValue>>,
            /// Or any bytes.
            #[schema(value_type = Option<String>, content_encoding = "base64")]
            #[serde(default)]
            payload_base64: Option<Base64>,
            /// Files it needs.
            #[serde(default)]
            inputs: Vec<BlobDto>,
            /// 0 (first) to 15; first in, first out within. Default 8.
            priority: Option<u8>,
            /// Not before this time.
            not_before: Option<Instant>,
            /// A second job of the queue with the same key is answered with the first one's id, as long
            /// as that one is kept.
            dedupe_key: Option<String>,
            /// Failed attempts before it is dead; the queue's setting when absent.
            max_attempts: Option<u32>,
            /// The batch it belongs to; needs `index`.
            batch: Option<String>,
            /// Its place in the batch, from 0. A second job at the same place is the first one.
            index: Option<u32>,
            /// For lists.
            #[serde(default)]
            labels: BTreeMap<String, String>,
            #[serde(default)]
            #[schema(ignore)]
            deadline: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            depends_on: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            weight: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            requires: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            concurrency_key: NotBuilt,
            #[serde(default)]
            #[schema(ignore)]
            fairness_key: NotBuilt,
        }

        impl $name {
            /// The job, with the trace context of its request.
            pub(in crate::api::rest) fn into_job(self, traceparent: Option<Arc<str>>) -> Result<NewJob, Error> {
                let Self {
                    deadline: NotBuilt,
                    depends_on: NotBuilt,
                    weight: NotBuilt,
                    requires: NotBuilt,
                    concurrency_key: NotBuilt,
                    fairness_key: NotBuilt,
                    ..
                } = self;
                let payload = given("payload", self.payload, self.payload_base64)?;
                let (payload, payload_is_json) = payload.unwrap_or_default();
                Ok(NewJob {
                    payload,
                    payload_is_json,
                    inputs: blobs_in(self.inputs),
                    priority: self.priority.unwrap_or(NewJob::PRIORITY_DEFAULT),
                    not_before: self.not_before.map(|instant| instant.0),
                    dedupe_key: self.dedupe_key.map(Arc::from),
                    max_attempts: self.max_attempts,
                    batch: place(self.batch, self.index)?,
                    labels: labels_in(self.labels),
                    traceparent,
                })
            }
        }
    };
}

job_in! {
    /// A job.
    JobIn as NewJob {}
}
job_in! {
    /// One job, or several under `jobs`.
    EnqueueIn as EnqueueOne {
        /// Several jobs, added all or none; then no other field may be there.
        #[schema(ignore)]
        jobs: Option<Vec<JobIn>>,
    }
}
job_in! {
    /// The job to run when all jobs of a batch are final.
    JoinIn as JoinJob {
        /// Its queue; the batch's when absent.
        queue: Option<String>,
    }
}

/// One job, or several that are added all or none.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(
    dead_code,
    reason = "for the OpenAPI text; EnqueueIn reads both in one pass"
)]
pub(super) enum EnqueueRequest {
    One(JobIn),
    Many { jobs: Vec<JobIn> },
}

fn place(batch: Option<String>, index: Option<u32>) -> Result<Option<(BatchId, u32)>, Error> {
    match (batch, index) {
        (None, None) => Ok(None),
        (Some(batch), Some(index)) => {
            let batch = batch.parse().map_err(|e| within("batch", e))?;
            Ok(Some((batch, index)))
        }
        (Some(_), None) => Err(Error::invalid(
            "index: missing; a job of a batch has its place there, from 0",
        )),
        (None, Some(_)) => Err(Error::invalid(
            "batch: missing; an index is a place in a batch",
        )),
    }
}

impl EnqueueIn {
    pub(super) fn into_jobs(mut self, traceparent: Option<Arc<str>>) -> Result<Vec<NewJob>, Error> {
        let Some(jobs) = self.jobs.take() else {
            return Ok(vec![self.into_job(traceparent)?]);
        };
        if !self.is_empty() {
            return Err(Error::invalid(
                "jobs: stands beside fields of a single job; put them into the jobs",
            ));
        }
        jobs.into_iter()
            .enumerate()
            .map(|(i, job)| {
                job.into_job(traceparent.clone())
                    .map_err(|e| within(format_args!("jobs[{i}]"), e))
            })
            .collect()
    }

    /// No field of a job is there.
    fn is_empty(&self) -> bool {
        self.payload.is_none()
            && self.payload_base64.is_none()
            && self.inputs.is_empty()
            && self.priority.is_none()
            && self.not_before.is_none()
            && self.dedupe_key.is_none()
            && self.max_attempts.is_none()
            && self.batch.is_none()
            && self.index.is_none()
            && self.labels.is_empty()
    }
}
