//! Jobs on their way into a queue.

use super::{Queue, misfit};
use crate::machine::{Blob, JobId, NewJob, limits};
use bytes::Bytes;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// A job that is in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enqueued {
    /// Its id.
    pub id: JobId,
    /// It was there before, under the same dedupe key or at the same place of its batch.
    pub duplicate: bool,
}

impl From<(JobId, bool)> for Enqueued {
    fn from((id, duplicate): (JobId, bool)) -> Self {
        Self { id, duplicate }
    }
}

/// A job with this payload as JSON.
pub(super) fn encode<T: Serialize + ?Sized>(payload: &T) -> Result<NewJob, Error> {
    let payload = serde_json::to_vec(payload)
        .map_err(|error| Error::invalid(format!("the payload does not encode to JSON: {error}")))?;
    if payload.len() > limits::PAYLOAD_BYTES_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "the payload has {} bytes and may have {}; store it as a blob and name it as an input",
                payload.len(),
                limits::PAYLOAD_BYTES_MAX
            ),
        ));
    }
    Ok(NewJob {
        payload: Bytes::from(payload),
        payload_is_json: true,
        ..NewJob::default()
    })
}

/// A job and its options; goes into the queue with [`JobBuilder::enqueue`].
#[derive(Clone, Debug)]
#[must_use = "the job is in the queue only after enqueue()"]
pub struct JobBuilder {
    queue: Queue,
    name: String,
    job: Result<NewJob, Error>,
}

impl JobBuilder {
    pub(super) fn new(queue: Queue, name: &str, job: Result<NewJob, Error>) -> Self {
        Self {
            queue,
            name: name.to_owned(),
            job,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut NewJob)) -> Self {
        if let Ok(job) = &mut self.job {
            change(job);
        }
        self
    }

    /// 0 (first) to 15; 8 by default.
    pub fn priority(self, priority: u8) -> Self {
        self.with(|job| job.priority = priority)
    }

    /// Not before this much time has passed, by the wall clock of this machine.
    pub fn delay(self, delay: Duration) -> Self {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.with(|job| job.not_before = Some(LogTime(clock::wall_ms()).plus_ms(ms)))
    }

    /// A second job of the queue with this key is the first one.
    pub fn dedupe_key(self, key: &str) -> Self {
        self.with(|job| job.dedupe_key = Some(Arc::from(key)))
    }

    /// Failed attempts before the job is dead; the queue's setting by default.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.with(|job| job.max_attempts = Some(attempts))
    }

    /// A file that the job needs.
    pub fn input(self, blob: Blob) -> Self {
        self.with(|job| job.inputs.push(blob))
    }

    /// A label, for lists.
    pub fn label(self, key: &str, value: &str) -> Self {
        self.with(|job| {
            job.labels.push((Arc::from(key), Arc::from(value)));
            job.labels.sort();
        })
    }

    /// The W3C trace context of the caller.
    pub fn traceparent(self, traceparent: &str) -> Self {
        self.with(|job| job.traceparent = Some(Arc::from(traceparent)))
    }

    /// The job as it would be enqueued, for [`super::Batch::add_jobs`] and [`super::Producer`].
    pub fn build(self) -> Result<NewJob, Error> {
        self.job
    }

    /// Adds it. It is synced on a majority when this returns.
    pub async fn enqueue(self) -> Result<Enqueued, Error> {
        let added = self
            .queue
            .add(Name::new(&self.name)?, vec![self.job?])
            .await?;
        added.first().copied().ok_or_else(misfit)
    }
}
