//! The state of the queue, and the one way in which a job comes, changes and goes.
//!
//! Commands look up, decide, and call [`QueueMachine::add`], [`QueueMachine::change`] or
//! [`QueueMachine::remove`]. Everything that is derived of a row (index, counts, timers, the batch it
//! belongs to) follows from comparing the row before and after, so that no command can forget it.

use super::index::{Face, QueueIndex};
use super::planted::{self, Bug};
use super::rows::{Batch, Job, Marks, Queue, QueueId, Session, is_final};
use super::types::{BatchId, Event, JobId, LeaseId, SessionId, Settings, State, limits};
use quorate_core::error::{Code, Error};
use quorate_core::machine::Context;
use quorate_core::table::Table;
use quorate_core::types::{LogTime, Name};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The context of an entry.
pub(super) type Ctx<'a> = Context<'a, Event>;

/// Kept jobs that may go early for each one that retires: two, so that a queue that is over its bound
/// gets below it while jobs go on to retire.
const EVICT_PER_RETIREMENT: usize = 2;

/// Bounds of the state. Constants of this machine level; tests lower them to reach them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) queues: usize,
    pub(super) sessions: usize,
    pub(super) batches: usize,
    pub(super) kept_jobs: u64,
    pub(super) kept_bytes: u64,
    /// Steps of [`super::QueueMachine::advance`]: at some microseconds each, a few milliseconds.
    pub(super) steps: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            queues: limits::QUEUES_MAX,
            sessions: limits::SESSIONS_MAX,
            batches: limits::BATCHES_MAX,
            kept_jobs: limits::KEPT_JOBS_MAX,
            kept_bytes: limits::KEPT_BYTES_MAX,
            steps: 1_000,
        }
    }
}

/// What is kept besides the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// The last number given to a queue.
    pub(super) queue_last: u32,
}

/// Work that is spread over many entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sweep {
    Queue(QueueId),
    Batch(BatchId),
}

/// The replicated queue. See `ARCHITECTURE.md` for its invariants and the tests that guard them.
#[derive(Debug, Default)]
pub struct QueueMachine {
    pub(super) bounds: Bounds,

    // What a snapshot holds.
    pub(super) header: Header,
    pub(super) queues: Table<QueueId, Queue>,
    pub(super) sessions: Table<SessionId, Session>,
    pub(super) jobs: Table<JobId, Job>,
    pub(super) batches: Table<BatchId, Batch>,

    // What follows from it.
    pub(super) names: BTreeMap<Name, QueueId>,
    pub(super) index: BTreeMap<QueueId, QueueIndex>,
    /// All leases of attempts that are kept, live or ended.
    pub(super) leases: BTreeMap<LeaseId, JobId>,
    /// Live leases of sessions that have any.
    pub(super) holds: BTreeMap<SessionId, BTreeSet<LeaseId>>,
    /// Sessions that have none, by their last use.
    pub(super) idle: BTreeSet<(LogTime, SessionId)>,
    pub(super) children: BTreeMap<(BatchId, u32), JobId>,
    pub(super) batch_keys: BTreeMap<(QueueId, Arc<str>), BatchId>,
    /// Closed batches by the end of their retention.
    pub(super) batch_due: BTreeSet<(LogTime, BatchId)>,
    /// Queues by what becomes due in them next.
    pub(super) timers: BTreeSet<(LogTime, QueueId)>,
    pub(super) sweeps: BTreeSet<Sweep>,
    /// Exclusive or of the hashes of all jobs.
    pub(super) mix: u64,

    pub(super) walk: Option<super::snapshot::Walk>,
    pub(super) restored: Option<super::snapshot::Totals>,
}

impl QueueMachine {
    /// The queue of this name.
    pub(super) fn queue_id(&self, name: &Name) -> Result<QueueId, Error> {
        self.names.get(name).copied().ok_or_else(|| {
            Error::not_found(format!(
                "there is no queue {name}; it comes into being when a job is enqueued or it is configured"
            ))
        })
    }

    /// The queue of this name, made with default settings if there is none.
    pub(super) fn queue_or_new(&mut self, name: &Name) -> Result<QueueId, Error> {
        if let Some(id) = self.names.get(name) {
            return Ok(*id);
        }
        if self.names.len() >= self.bounds.queues {
            return Err(Error::new(
                Code::OverQuota,
                format!(
                    "this cluster holds {} queues, its bound; delete one that is no longer used",
                    self.names.len()
                ),
            ));
        }
        self.header.queue_last = self
            .header
            .queue_last
            .checked_add(1)
            .expect("four thousand million queues are not made in the life of a cluster");
        let id = QueueId(self.header.queue_last);
        self.queues.insert(
            id,
            Queue {
                name: name.clone(),
                settings: Settings::default(),
                paused: false,
                epoch: false,
                sweep: None,
                asked: None,
            },
        );
        self.names.insert(name.clone(), id);
        self.index.insert(id, QueueIndex::default());
        Ok(id)
    }

    /// The row of a queue that is known to exist.
    pub(super) fn queue(&self, id: QueueId) -> &Queue {
        self.queues
            .get(&id)
            .expect("jobs and names refer to queues that exist")
    }

    /// The row of a queue that is known to exist, to be changed.
    pub(super) fn queue_mut(&mut self, id: QueueId) -> &mut Queue {
        self.queues
            .get_mut(&id)
            .expect("jobs and names refer to queues that exist")
    }

    /// The index of a queue that is known to exist.
    pub(super) fn index(&self, id: QueueId) -> &QueueIndex {
        self.index.get(&id).expect("every queue has an index")
    }

    /// The index of a queue that is known to exist, to be changed.
    pub(super) fn index_mut(&mut self, id: QueueId) -> &mut QueueIndex {
        self.index.get_mut(&id).expect("every queue has an index")
    }

    /// The row of a job that is known to exist.
    pub(super) fn job(&self, id: JobId) -> &Job {
        self.jobs
            .get(&id)
            .expect("indexes refer to jobs that exist")
    }

    /// Puts a new job. Says `Job`, not `Ready`: who adds many says that once.
    pub(super) fn add(&mut self, ctx: &mut Ctx<'_>, id: JobId, mut job: Job) {
        let queue = job.queue;
        job.marks.set(Marks::EPOCH, self.queue(queue).epoch);
        let face = Face::of(id, &job);
        let batch = job.batch();
        if let Some(key) = job
            .extra
            .as_ref()
            .and_then(|extra| extra.dedupe_key.clone())
            && !planted::on(Bug::DedupeLost)
        {
            self.index_mut(queue).dedupe.insert(key, id);
        }
        let old = self.jobs.insert(id, job);
        assert!(old.is_none(), "ids are never given twice: {id}");
        self.reindex(queue, None, Some(face));
        ctx.events.push(Event::Job {
            job: id,
            state: face.state,
        });
        if let Some(place) = batch {
            self.children.insert(place, id);
            self.child_changed(ctx, place.0, None, Some(face));
        }
    }

    /// Changes a job that is known to exist.
    pub(super) fn change(&mut self, ctx: &mut Ctx<'_>, id: JobId, edit: impl FnOnce(&mut Job)) {
        let job = self
            .jobs
            .get_mut(&id)
            .expect("a job is looked up before it is changed");
        let before = Face::of(id, job);
        edit(job);
        let queue = job.queue;
        if job.waits() && !matches!(before.state, State::Ready | State::Delayed) {
            let epoch = self.queues.get(&queue).is_some_and(|queue| queue.epoch);
            job.marks.set(Marks::EPOCH, epoch);
        }
        let needed = job
            .batch()
            .is_some_and(|(batch, _)| self.batches.get(&batch).is_some_and(|batch| !batch.closed))
            && !planted::on(Bug::UnjoinedChildrenRemoved);
        job.marks
            .set(Marks::RETIRED, is_final(job.state) && !needed);
        if job.state != State::Dead {
            job.marks.set(Marks::SKIPPED, false);
        }
        let after = Face::of(id, job);
        let (batch, joins) = (job.batch(), job.joins());
        self.reindex(queue, Some(before), Some(after));
        if before.state != after.state {
            ctx.events.push(Event::Job {
                job: id,
                state: after.state,
            });
            if after.state == State::Ready {
                self.say_ready(ctx, queue);
            }
        }
        if let Some((batch, _)) = batch
            && (before.state, before.skipped) != (after.state, after.skipped)
        {
            self.child_changed(ctx, batch, Some(before), Some(after));
        }
        if let Some(batch) = joins
            && before.state != after.state
        {
            self.join_changed(ctx, batch, after.state);
        }
        self.evict(ctx, queue);
    }

    /// Removes a job that is known to exist and has no live lease.
    pub(super) fn remove(&mut self, ctx: &mut Ctx<'_>, id: JobId) {
        let job = self
            .jobs
            .remove(&id)
            .expect("a job is looked up before it is removed");
        assert!(job.grant().is_none(), "a job that is out stays: {id}");
        let face = Face::of(id, &job);
        self.reindex(job.queue, Some(face), None);
        for tried in job.run.iter().flat_map(|run| &run.tried) {
            self.leases.remove(&tried.lease);
        }
        if let Some(key) = job
            .extra
            .as_ref()
            .and_then(|extra| extra.dedupe_key.as_ref())
        {
            self.index_mut(job.queue).dedupe.remove(key);
        }
        if let Some(place) = job.batch() {
            self.children.remove(&place);
            self.child_changed(ctx, place.0, Some(face), None);
        }
        if let Some(batch) = job.joins() {
            self.join_removed(ctx, batch);
        }
    }

    /// Says that a queue has ready jobs, unless it is paused.
    pub(super) fn say_ready(&self, ctx: &mut Ctx<'_>, queue: QueueId) {
        let queue = self.queue(queue);
        if !queue.paused {
            ctx.events.push(Event::Ready {
                queue: queue.name.clone(),
            });
        }
    }

    /// Whether a waiting job is to be cancelled by a sweep that has not come to it yet.
    pub(super) fn is_doomed(&self, job: &Job) -> bool {
        if !job.waits() {
            return false;
        }
        let queue = self.queue(job.queue);
        (queue.sweep.is_some() && job.marks.has(Marks::EPOCH) != queue.epoch)
            || self.is_batch_cancelled(job)
    }

    /// Whether somebody asked to cancel the job or its batch, be the sweep there already or not.
    pub(super) fn is_cancelled(&self, job: &Job) -> bool {
        job.cancel_requested() || self.is_batch_cancelled(job)
    }

    /// Brings the timer of a queue up to date.
    pub(super) fn retime(&mut self, queue: QueueId) {
        let retention_ms = self.queue(queue).settings.retention_ms;
        let index = self
            .index
            .get_mut(&queue)
            .expect("every queue has an index");
        let due = index.next_due(retention_ms);
        if due != index.deadline {
            if let Some(old) = index.deadline {
                self.timers.remove(&(old, queue));
            }
            if let Some(new) = due {
                self.timers.insert((new, queue));
            }
            index.deadline = due;
        }
    }

    fn reindex(&mut self, queue: QueueId, before: Option<Face>, after: Option<Face>) {
        if before == after {
            return;
        }
        self.index_mut(queue).replace(before, after);
        for face in [before, after].into_iter().flatten() {
            self.mix ^= face.mix();
        }
        self.retime(queue);
    }

    fn evict(&mut self, ctx: &mut Ctx<'_>, queue: QueueId) {
        for _ in 0..EVICT_PER_RETIREMENT {
            let index = self.index(queue);
            let over = index.kept_jobs() > self.bounds.kept_jobs
                || index.kept_bytes > self.bounds.kept_bytes;
            match index.oldest_kept() {
                Some(oldest) if over => self.remove(ctx, oldest),
                _ => break,
            }
        }
    }
}
