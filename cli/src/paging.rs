//! Lists longer than a page, as one list.

use crate::connect::{Remote, unexpected};
use crate::errors::Outcome;
use quorate_core::types::Name;
use quorate_work_queue::machine::{
    Answer, BatchId, BatchView, ChildView, JobView, Query, QueueView, State, limits,
};
use std::sync::Arc;

/// Which jobs to list.
#[derive(Clone, Debug)]
pub(crate) struct JobFilter {
    /// Their queue.
    pub(crate) queue: Name,
    /// Only these.
    pub(crate) state: Option<State>,
    /// Only these.
    pub(crate) label: Option<(Arc<str>, Arc<str>)>,
}

/// How many items are still wanted, as the next page's size.
fn page(wanted: usize) -> u32 {
    u32::try_from(wanted)
        .unwrap_or(u32::MAX)
        .min(limits::PAGE_MAX)
}

/// Pages of one list: asks with the cursor of the page before until there is none or enough.
macro_rules! collect {
    ($remote:expr, $most:expr, $answer:path, |$after:ident, $limit:ident| $query:expr) => {{
        let mut items = Vec::new();
        let mut $after = None;
        while items.len() < $most {
            let $limit = page($most - items.len());
            let $answer(some, next) = $remote.ask($query).await? else {
                return Err(unexpected());
            };
            items.extend(some);
            match next {
                Some(next) => $after = Some(next),
                None => break,
            }
        }
        Ok(items)
    }};
}

/// Up to `most` queues, by name.
pub(crate) async fn queues(remote: &Remote, most: usize) -> Outcome<Vec<QueueView>> {
    collect!(remote, most, Answer::Queues, |after, limit| Query::Queues {
        after: after.clone(),
        limit
    })
}

/// Up to `most` jobs, by id.
pub(crate) async fn jobs(
    remote: &Remote,
    filter: &JobFilter,
    most: usize,
) -> Outcome<Vec<JobView>> {
    collect!(remote, most, Answer::Jobs, |after, limit| Query::Jobs {
        queue: filter.queue.clone(),
        state: filter.state,
        label: filter.label.clone(),
        after,
        limit,
    })
}

/// Up to `most` batches, by id.
pub(crate) async fn batches(remote: &Remote, most: usize) -> Outcome<Vec<BatchView>> {
    collect!(remote, most, Answer::Batches, |after, limit| {
        Query::Batches { after, limit }
    })
}

/// Up to `most` children of a batch, by index.
pub(crate) async fn children(
    remote: &Remote,
    batch: BatchId,
    most: usize,
) -> Outcome<Vec<ChildView>> {
    collect!(remote, most, Answer::BatchResults, |from, limit| {
        Query::BatchResults {
            batch,
            from: from.unwrap_or(0),
            limit,
        }
    })
}
