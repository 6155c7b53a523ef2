//! A job as its handler sees it, and how a handler says that it did not work out.

use super::context::{Context, cut};
use super::engine::settles::failure;
use crate::machine::{BatchId, Blob, JobId, Lease, Settlement, limits};
use bytes::Bytes;
use quorate_core::types::Name;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// A job in a handler's hands.
#[derive(Clone, Debug)]
pub struct Job<T> {
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: Name,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// What was enqueued.
    pub payload: T,
    /// Files it needs.
    pub inputs: Vec<Blob>,
    /// Its labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// What an earlier attempt left with [`Context::checkpoint`].
    pub checkpoint: Option<Bytes>,
    /// The batch it belongs to and its place in it.
    pub batch: Option<(BatchId, u32)>,
    /// For the join of a batch: the batch, whose results `BatchResults` reads.
    pub joins: Option<BatchId>,
    /// W3C trace context of the enqueuer.
    pub traceparent: Option<Arc<str>>,
}

impl<T> Job<T> {
    pub(super) fn new(lease: Lease, payload: T) -> Self {
        Self {
            id: lease.job,
            queue: lease.queue,
            attempt: lease.attempt,
            payload,
            inputs: lease.inputs,
            labels: lease.labels,
            checkpoint: lease.checkpoint,
            batch: lease.batch,
            joins: lease.joins,
            traceparent: lease.traceparent,
        }
    }
}

/// How a handler ends without a result. Any `std::error::Error` becomes [`Fail`] by `?`.
#[derive(Clone, Debug)]
pub struct JobError {
    error: String,
    retry: bool,
    delay: Option<Duration>,
}

/// The attempt failed; another follows after the queue's backoff while attempts are left.
#[derive(Clone, Debug)]
pub struct Fail(pub String);

/// The attempt failed; another follows after this delay while attempts are left.
#[derive(Clone, Debug)]
pub struct Retry {
    /// What was wrong.
    pub error: String,
    /// Instead of the queue's backoff.
    pub delay: Duration,
}

/// No attempt can succeed: the job is dead at once.
#[derive(Clone, Debug)]
pub struct Dead(pub String);

impl Fail {
    /// With this text.
    pub fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl Retry {
    /// After `delay`, with this text.
    pub fn after(delay: Duration, error: impl Display) -> Self {
        Self {
            error: error.to_string(),
            delay,
        }
    }
}

impl Dead {
    /// With this text.
    pub fn new(error: impl Display) -> Self {
        Self(error.to_string())
    }
}

impl From<Fail> for JobError {
    fn from(fail: Fail) -> Self {
        Self {
            error: fail.0,
            retry: true,
            delay: None,
        }
    }
}

impl From<Retry> for JobError {
    fn from(retry: Retry) -> Self {
        Self {
            error: retry.error,
            retry: true,
            delay: Some(retry.delay),
        }
    }
}

impl From<Dead> for JobError {
    fn from(dead: Dead) -> Self {
        Self {
            error: dead.0,
            retry: false,
            delay: None,
        }
    }
}

impl<E: std::error::Error> From<E> for JobError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Fail(text).into()
    }
}

impl JobError {
    /// What is told to the queue. A handler that gives up because it was told to stop has not failed:
    /// its job goes back without charging an attempt.
    pub(super) fn settlement(self, context: &Context) -> Settlement {
        if context.is_cancelled() {
            return Settlement::Release;
        }
        Settlement::Fail {
            error: Arc::from(cut(&self.error, limits::ERROR_BYTES_MAX)),
            retry: self.retry,
            delay_ms: self
                .delay
                .map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX)),
            exit_code: None,
            signal: None,
            log_tail: Arc::from(""),
        }
    }
}

/// The outcome of a handler that came to a result. One that is over the bound would be refused, so
/// it fails here with a reason that its author sees.
pub(super) fn complete(result: Bytes, result_is_json: bool) -> Settlement {
    if result.len() > limits::RESULT_BYTES_MAX {
        return failure(
            &format!(
                "the result has {} bytes and may have {}; put it into a blob and return its address",
                result.len(),
                limits::RESULT_BYTES_MAX
            ),
            false,
        );
    }
    Settlement::Complete {
        result,
        result_is_json,
        outputs: Vec::new(),
    }
}
