//! Questions and their answers.

use super::ids::{BatchId, JobId};
use super::view::{BatchView, ChildView, JobView, QueueView, State};
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One queue.
    Queue { queue: Name },
    /// Queues after this name.
    Queues { after: Option<Name>, limit: u32 },
    /// One job.
    Job { job: JobId },
    /// Jobs of a queue after this id.
    Jobs {
        queue: Name,
        state: Option<State>,
        label: Option<(Arc<str>, Arc<str>)>,
        after: Option<JobId>,
        limit: u32,
    },
    /// One batch.
    Batch { batch: BatchId },
    /// Batches after this id.
    Batches { after: Option<BatchId>, limit: u32 },
    /// Children from this index on.
    BatchResults {
        batch: BatchId,
        from: u32,
        limit: u32,
    },
}

/// Answers to [`Query`]s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// One queue.
    Queue(Box<QueueView>),
    /// A page, and the `after` of the next one.
    Queues(Vec<QueueView>, Option<Name>),
    /// One job.
    Job(Box<JobView>),
    /// A page, and the `after` of the next one. A page may be short or even empty and still have a
    /// next one: it is bounded in bytes, and a filter looks at a bounded number of jobs.
    Jobs(Vec<JobView>, Option<JobId>),
    /// One batch.
    Batch(Box<BatchView>),
    /// A page, and the `after` of the next one.
    Batches(Vec<BatchView>, Option<BatchId>),
    /// A page of children by index, and the `from` of the next one. Pages are bounded in bytes too, so
    /// one may be shorter than was asked for.
    BatchResults(Vec<ChildView>, Option<u32>),
}
