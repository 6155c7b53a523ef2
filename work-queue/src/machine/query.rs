//! Questions, answered from the tables and, for progress, from what the leader keeps.

use super::duties::QueueDuties;
use super::index::QueueIndex;
use super::rows::{Batch, Extra, Job, Marks, QueueId, Run};
use super::store::QueueMachine;
use super::types::{
    Answer, BatchId, BatchState, BatchView, ChildView, JobId, JobView, NewJob, Query, QueueView,
    State, limits,
};
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Name};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that one question with a filter looks at: a few milliseconds.
const SCAN_MAX: usize = 5_000;

/// The name of a state in a message.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Leased => "leased",
        State::Completed => "completed",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}

fn page_len(limit: u32) -> usize {
    usize::try_from(limit.clamp(1, limits::PAGE_MAX)).unwrap_or(1)
}

impl QueueMachine {
    pub(super) fn answer(
        &self,
        duties: &QueueDuties,
        now: LogTime,
        query: Query,
    ) -> Result<Answer, Error> {
        Ok(match query {
            Query::Queue { queue } => {
                let id = self.queue_id(&queue)?;
                Answer::Queue(Box::new(self.queue_view(id, now)))
            }
            Query::Queues { after, limit } => self.queues_page(after, limit, now),
            Query::Job { job } => {
                let row = self.known(job)?;
                Answer::Job(Box::new(self.job_view(duties, job, row, now)))
            }
            Query::Jobs {
                queue,
                state,
                label,
                after,
                limit,
            } => {
                let id = self.queue_id(&queue)?;
                let after = after.unwrap_or_default();
                self.jobs_page(duties, id, state, label.as_ref(), after, limit, now)
            }
            Query::Batch { batch } => {
                Answer::Batch(Box::new(batch_view(batch, self.batch(batch)?, now)))
            }
            Query::Batches { after, limit } => self.batches_page(after, limit, now),
            Query::BatchResults { batch, from, limit } => self.results_page(batch, from, limit)?,
        })
    }

    fn queues_page(&self, after: Option<Name>, limit: u32, now: LogTime) -> Answer {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut names = self.names.range((from, Bound::Unbounded));
        let page: Vec<QueueView> = names
            .by_ref()
            .take(page_len(limit))
            .map(|(_, id)| self.queue_view(*id, now))
            .collect();
        let next = names
            .next()
            .and(page.last())
            .map(|queue| queue.name.clone());
        Answer::Queues(page, next)
    }

    fn batches_page(&self, after: Option<BatchId>, limit: u32, now: LogTime) -> Answer {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut batches = self.batches.range((from, Bound::Unbounded));
        let page: Vec<BatchView> = batches
            .by_ref()
            .take(page_len(limit))
            .map(|(id, batch)| batch_view(*id, batch, now))
            .collect();
        let next = batches.next().and(page.last()).map(|batch| batch.id);
        Answer::Batches(page, next)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the fields of one question, in their order"
    )]
    fn jobs_page(
        &self,
        duties: &QueueDuties,
        queue: QueueId,
        state: Option<State>,
        label: Option<&(Arc<str>, Arc<str>)>,
        after: JobId,
        limit: u32,
        now: LogTime,
    ) -> Answer {
        let limit = page_len(limit);
        let scan = if label.is_some() { SCAN_MAX } else { limit };
        let ids = self.index(queue).page(state, after, scan + 1);
        let mut page = Vec::new();
        let mut bytes = 0;
        for (n, id) in ids.iter().enumerate() {
            if n == scan || page.len() == limit || bytes >= limits::ANSWER_BYTES_MAX {
                let last = ids[..n].last().copied();
                return Answer::Jobs(page, last);
            }
            let job = self.job(*id);
            let labels = job.extra.as_ref().map_or(&[][..], |extra| &extra.labels);
            if label.is_none_or(|label| labels.contains(label)) {
                bytes += usize::try_from(job.weight()).unwrap_or(usize::MAX);
                page.push(self.job_view(duties, *id, job, now));
            }
        }
        Answer::Jobs(page, None)
    }

    fn results_page(&self, id: BatchId, from: u32, limit: u32) -> Result<Answer, Error> {
        self.batch(id)?;
        let mut page = Vec::new();
        let mut bytes = 0;
        for ((_, index), job) in self.children.range((id, from)..=(id, u32::MAX)) {
            if page.len() == page_len(limit) || bytes >= limits::ANSWER_BYTES_MAX {
                return Ok(Answer::BatchResults(page, Some(*index)));
            }
            let row = self.job(*job);
            bytes += usize::try_from(row.weight()).unwrap_or(usize::MAX);
            page.push(child_view(*index, *job, row));
        }
        Ok(Answer::BatchResults(page, None))
    }

    fn queue_view(&self, id: QueueId, now: LogTime) -> QueueView {
        let (row, index) = (self.queue(id), self.index(id));
        QueueView {
            name: row.name.clone(),
            settings: row.settings.clone(),
            paused: row.paused,
            counts: index.counts,
            bytes: index.held_bytes,
            oldest_age_ms: self.oldest_age_ms(index, now),
        }
    }

    fn oldest_age_ms(&self, index: &QueueIndex, now: LogTime) -> u64 {
        index
            .ready_heads()
            .map(|id| now.since_ms(self.job(id).enqueued))
            .max()
            .unwrap_or(0)
    }

    fn job_view(&self, duties: &QueueDuties, id: JobId, job: &Job, now: LogTime) -> JobView {
        let none = Run::default();
        let run = job.run.as_deref().unwrap_or(&none);
        let outcome = run.outcome.as_deref();
        JobView {
            id,
            queue: self.queue(job.queue).name.clone(),
            state: job.state,
            job: as_enqueued(job),
            enqueued: job.enqueued,
            finished: finished(job, run),
            ready_at: (job.state == State::Delayed).then_some(job.at),
            failures: run.failures,
            losses: run.losses,
            releases: run.releases,
            attempts: run.tried.iter().map(super::rows::Tried::view).collect(),
            progress: run
                .grant
                .and_then(|grant| duties.progress(grant.lease).cloned()),
            result: outcome.map(|outcome| outcome.result.clone()),
            result_is_json: outcome.is_some_and(|outcome| outcome.result_is_json),
            outputs: outcome.map_or_else(Vec::new, |outcome| outcome.outputs.clone()),
            waiting: self.waiting(job, run, now),
            dead_reason: run.dead_reason.clone().unwrap_or_else(|| Arc::from("")),
            cancel_requested: job.state == State::Leased && self.is_cancelled(job),
        }
    }

    /// Why a job is not running, for people.
    fn waiting(&self, job: &Job, run: &Run, now: LogTime) -> String {
        let queue = self.queue(job.queue);
        match job.state {
            State::Leased | State::Completed | State::Cancelled => String::new(),
            State::Dead => match job.batch().and_then(|(id, _)| self.batches.get(&id)) {
                Some(batch)
                    if batch.state == BatchState::Held && !job.marks.has(Marks::SKIPPED) =>
                {
                    "dead, and its batch waits until it is retried or skipped".to_owned()
                }
                _ => String::new(),
            },
            State::Ready | State::Delayed if self.is_doomed(job) => {
                "about to be cancelled, with its queue or batch".to_owned()
            }
            State::Delayed => {
                let left = ago(job.at.since_ms(now));
                match run.tried.last() {
                    Some(tried) => format!(
                        "attempt {} came to nothing; the next one in {left}",
                        tried.number
                    ),
                    None => format!("not to be run before its time, in {left}"),
                }
            }
            State::Ready if queue.paused => {
                format!("queue {} is paused; resume it", queue.name)
            }
            State::Ready => {
                let since = ago(now.since_ms(job.at));
                match queue.asked {
                    None => format!(
                        "ready for {since}: no worker has ever asked for work from queue {}",
                        queue.name
                    ),
                    Some(asked) if asked < job.at => format!(
                        "ready for {since}: no worker has asked for work from queue {} since then (the last one {} ago)",
                        queue.name,
                        ago(now.since_ms(asked))
                    ),
                    Some(asked) => format!(
                        "ready for {since}: {} jobs are ready in queue {}, and a worker last asked {} ago",
                        self.index(job.queue).counts.ready,
                        queue.name,
                        ago(now.since_ms(asked))
                    ),
                }
            }
        }
    }
}

fn ago(ms: u64) -> String {
    let whole = if ms < 1_000 { ms } else { ms / 1_000 * 1_000 };
    humantime::format_duration(Duration::from_millis(whole)).to_string()
}

fn finished(job: &Job, run: &Run) -> Option<LogTime> {
    let last = run.tried.last().and_then(|tried| tried.ended);
    match job.state {
        State::Completed | State::Dead => Some(last.map_or(job.at, |(at, _)| at)),
        State::Cancelled => Some(job.at),
        State::Ready | State::Delayed | State::Leased => None,
    }
}

fn as_enqueued(job: &Job) -> NewJob {
    let none = Extra::default();
    let extra = job.extra.as_deref().unwrap_or(&none);
    NewJob {
        payload: job.payload.clone(),
        payload_is_json: job.marks.has(Marks::JSON),
        inputs: extra.inputs.clone(),
        priority: job.priority,
        not_before: extra.not_before,
        dedupe_key: extra.dedupe_key.clone(),
        max_attempts: extra.max_attempts,
        batch: extra.batch,
        labels: extra.labels.clone(),
        traceparent: extra.traceparent.clone(),
    }
}

fn child_view(index: u32, id: JobId, job: &Job) -> ChildView {
    let run = job.run.as_deref();
    let outcome = run.and_then(|run| run.outcome.as_deref());
    ChildView {
        index,
        job: id,
        state: job.state,
        attempts: run.map_or(0, |run| run.deliveries),
        result: outcome.map(|outcome| outcome.result.clone()),
        result_is_json: outcome.is_some_and(|outcome| outcome.result_is_json),
        outputs: outcome.map_or_else(Vec::new, |outcome| outcome.outputs.clone()),
    }
}

fn batch_view(id: BatchId, batch: &Batch, now: LogTime) -> BatchView {
    BatchView {
        id,
        key: batch.key.clone(),
        queue: batch.queue_name.clone(),
        state: batch.state,
        on_dead: batch.on_dead,
        expected: batch.expected,
        counts: batch.counts,
        skipped: batch.skipped,
        join: batch.fired,
        created: batch.created,
        finished: batch.finished,
        eta_ms: eta_ms(batch, now),
    }
}

/// Time to the end of the children at the rate so far; none before the first one is final.
fn eta_ms(batch: &Batch, now: LogTime) -> Option<u64> {
    let done = batch.finals();
    let total = batch.expected.map_or(batch.children(), u64::from);
    if batch.finished.is_some() || done == 0 || done >= total {
        return None;
    }
    let elapsed = u128::from(now.since_ms(batch.created));
    u64::try_from(elapsed * u128::from(total - done) / u128::from(done)).ok()
}
