//! The rows of the machine's tables, as they are kept in memory and in snapshots.
//!
//! A backlog is mostly jobs that wait, so [`Job`] holds what each of them needs in 72 bytes, and boxes
//! the rest: [`Extra`] is what few enqueuers ask for, [`Run`] exists from the first grant on.
//!
//! Snapshots hold these rows through `quorate_core::codec`: fields and variants are only ever added
//! under a new record (see `snapshot.rs`), and enums grow at the end.

use super::types::{
    Attempt, AttemptOutcome, BatchId, BatchState, Blob, Counts, JobId, LeaseId, NewJob, OnDead,
    RevokeCause, SessionId, Settings, State,
};
use bytes::Bytes;
use quorate_core::types::{LogTime, Name};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A queue by number: what a job row names instead of the queue's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct QueueId(pub(super) u32);

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    pub(super) name: Name,
    pub(super) settings: Settings,
    pub(super) paused: bool,
    /// Flips at every purge: waiting jobs that carry the other value are to be cancelled.
    pub(super) epoch: bool,
    /// The part of the index that a purge or a deletion has still to sweep.
    pub(super) sweep: Option<QueueSweep>,
    /// When a worker last asked for work.
    pub(super) asked: Option<LogTime>,
}

/// Work on all jobs of a queue that is spread over many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum QueueSweep {
    /// Cancels waiting jobs of the other epoch, from this key of the index on.
    Purge { from: u64 },
    /// Removes all jobs, then the queue. Its name is free already.
    Delete,
}

/// One incarnation of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) worker: Arc<str>,
    pub(super) opened: LogTime,
    /// When it last asked for work.
    pub(super) used: LogTime,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) payload: Bytes,
    pub(super) enqueued: LogTime,
    /// Delayed: when it will be ready. Otherwise: since when it is in its state.
    pub(super) at: LogTime,
    pub(super) extra: Option<Box<Extra>>,
    pub(super) run: Option<Box<Run>>,
    pub(super) queue: QueueId,
    pub(super) state: State,
    pub(super) priority: u8,
    pub(super) marks: Marks,
}

/// Four booleans in a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks(u8);

impl Marks {
    /// The payload is a JSON text.
    pub(super) const JSON: u8 = 1;
    /// The queue's epoch when the job began to wait.
    pub(super) const EPOCH: u8 = 2;
    /// Final, and no batch needs it any more: its retention has begun.
    pub(super) const RETIRED: u8 = 4;
    /// A dead child that counts as final.
    pub(super) const SKIPPED: u8 = 8;

    pub(super) fn has(self, mark: u8) -> bool {
        self.0 & mark != 0
    }

    pub(super) fn set(&mut self, mark: u8, on: bool) {
        if on {
            self.0 |= mark;
        } else {
            self.0 &= !mark;
        }
    }
}

/// What few enqueuers ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extra {
    pub(super) inputs: Vec<Blob>,
    pub(super) labels: Vec<(Arc<str>, Arc<str>)>,
    pub(super) dedupe_key: Option<Arc<str>>,
    pub(super) traceparent: Option<Arc<str>>,
    pub(super) max_attempts: Option<u32>,
    pub(super) not_before: Option<LogTime>,
    pub(super) batch: Option<(BatchId, u32)>,
    /// The batch whose join this job is.
    pub(super) joins: Option<BatchId>,
}

/// What happened to a job since it was first handed out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The live lease.
    pub(super) grant: Option<Grant>,
    /// The last attempts, oldest first; the live one is the last.
    pub(super) tried: Vec<Tried>,
    /// Grants so far.
    pub(super) deliveries: u32,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) releases: u32,
    pub(super) checkpoint: Option<Bytes>,
    pub(super) outcome: Option<Box<Outcome>>,
    pub(super) dead_reason: Option<Arc<str>>,
    pub(super) cancel_requested: bool,
}

/// A live lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    pub(super) lease: LeaseId,
    pub(super) session: SessionId,
    pub(super) lease_ms: u64,
    /// How often its length was changed.
    pub(super) extensions: u32,
    /// Number of the last heartbeat that was sent before the request.
    pub(super) heartbeat: u64,
    /// It gets no acknowledgement any more; its end follows.
    pub(super) revoking: Option<RevokeCause>,
}

/// An attempt. Kept so that a settlement that is repeated gets the first answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tried {
    pub(super) number: u32,
    pub(super) lease: LeaseId,
    pub(super) session: SessionId,
    pub(super) worker: Arc<str>,
    pub(super) started: LogTime,
    pub(super) ended: Option<(LogTime, AttemptOutcome)>,
    pub(super) failure: Option<Box<Failure>>,
}

/// What a worker said when it failed, cut to the bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    pub(super) error: Arc<str>,
    pub(super) retry: bool,
    pub(super) delay_ms: Option<u64>,
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) log_tail: Arc<str>,
}

/// The recorded outcome of a completed job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) result: Bytes,
    pub(super) result_is_json: bool,
    pub(super) outputs: Vec<Blob>,
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) queue: QueueId,
    /// Its name, which may outlive the queue.
    pub(super) queue_name: Name,
    pub(super) key: Option<Arc<str>>,
    pub(super) state: BatchState,
    pub(super) on_dead: OnDead,
    pub(super) expected: Option<u32>,
    pub(super) counts: Counts,
    pub(super) skipped: u64,
    /// The job to run when all children are final, until it is fired, and its queue.
    pub(super) join: Option<Box<(QueueId, NewJob)>>,
    /// The join job. Set once, ever.
    pub(super) fired: Option<JobId>,
    pub(super) created: LogTime,
    pub(super) finished: Option<LogTime>,
    /// Final for good: nothing needs the children any more and their retention begins.
    pub(super) closed: bool,
    /// The first child that the sweep of a closed batch has still to visit.
    pub(super) sweep: Option<u32>,
    /// When its retention is over; set when it is closed.
    pub(super) due: Option<LogTime>,
    /// Its retention is over: it goes with its last child.
    pub(super) expired: bool,
}

impl Job {
    pub(super) fn batch(&self) -> Option<(BatchId, u32)> {
        self.extra.as_ref().and_then(|extra| extra.batch)
    }

    pub(super) fn joins(&self) -> Option<BatchId> {
        self.extra.as_ref().and_then(|extra| extra.joins)
    }

    pub(super) fn grant(&self) -> Option<&Grant> {
        self.run.as_ref().and_then(|run| run.grant.as_ref())
    }

    pub(super) fn cancel_requested(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.cancel_requested)
    }

    pub(super) fn tried(&self, lease: LeaseId) -> Option<&Tried> {
        self.run
            .as_ref()
            .and_then(|run| run.tried.iter().rev().find(|tried| tried.lease == lease))
    }

    /// Whether it waits for a worker or for its time.
    pub(super) fn waits(&self) -> bool {
        matches!(self.state, State::Ready | State::Delayed)
    }

    /// Payload and texts, in bytes: what the bounds of a queue count.
    pub(super) fn weight(&self) -> u64 {
        let extra = self.extra.as_ref().map_or(0, |extra| {
            blobs_weight(&extra.inputs)
                + extra
                    .labels
                    .iter()
                    .map(|(key, value)| key.len() + value.len())
                    .sum::<usize>()
                + text_weight(extra.dedupe_key.as_ref())
                + text_weight(extra.traceparent.as_ref())
        });
        let run = self.run.as_ref().map_or(0, |run| run.weight());
        (self.payload.len() + extra + run) as u64
    }
}

impl Run {
    fn weight(&self) -> usize {
        self.checkpoint.as_ref().map_or(0, Bytes::len)
            + self.outcome.as_ref().map_or(0, |outcome| {
                outcome.result.len() + blobs_weight(&outcome.outputs)
            })
            + self
                .tried
                .iter()
                .filter_map(|tried| tried.failure.as_ref())
                .map(|failure| failure.error.len() + failure.log_tail.len())
                .sum::<usize>()
    }
}

impl Tried {
    /// The attempt as it is shown.
    pub(super) fn view(&self) -> Attempt {
        let failure = self.failure.as_deref();
        Attempt {
            number: self.number,
            lease: self.lease,
            worker: self.worker.clone(),
            started: self.started,
            ended: self.ended.map(|(at, _)| at),
            outcome: self.ended.map(|(_, outcome)| outcome),
            error: failure.map_or_else(|| Arc::from(""), |failure| failure.error.clone()),
            exit_code: failure.and_then(|failure| failure.exit_code),
            signal: failure.and_then(|failure| failure.signal),
            log_tail: failure.map_or_else(|| Arc::from(""), |failure| failure.log_tail.clone()),
        }
    }
}

impl Batch {
    /// Children that need no more work, dead ones that hold the join not among them.
    pub(super) fn finals(&self) -> u64 {
        let dead = match self.on_dead {
            OnDead::Join => self.counts.dead,
            OnDead::Hold | OnDead::Cancel => self.skipped,
        };
        self.counts.completed + self.counts.cancelled + dead
    }

    /// Children in all.
    pub(super) fn children(&self) -> u64 {
        let c = &self.counts;
        c.ready + c.delayed + c.leased + c.completed + c.dead + c.cancelled
    }
}

fn blobs_weight(blobs: &[Blob]) -> usize {
    blobs
        .iter()
        .map(|blob| blob.uri.len() + blob.sha256.len())
        .sum()
}

fn text_weight(text: Option<&Arc<str>>) -> usize {
    text.map_or(0, |text| text.len())
}

/// Whether a job in this state is over unless somebody asks for it again.
pub(super) fn is_final(state: State) -> bool {
    matches!(state, State::Completed | State::Dead | State::Cancelled)
}

/// The count of this state.
pub(super) fn count_mut(counts: &mut Counts, state: State) -> &mut u64 {
    match state {
        State::Ready => &mut counts.ready,
        State::Delayed => &mut counts.delayed,
        State::Leased => &mut counts.leased,
        State::Completed => &mut counts.completed,
        State::Dead => &mut counts.dead,
        State::Cancelled => &mut counts.cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_is_small() {
        assert_eq!(size_of::<Job>(), 72);
    }
}
