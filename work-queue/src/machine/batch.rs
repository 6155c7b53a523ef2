//! Batches: jobs that belong together, and one job that joins them.
//!
//! A batch is *open* while it takes jobs, then sealed with their number. Its join is fired once, ever,
//! when it is sealed and each child is final; `fired` is set in the same step and never cleared. It is
//! *closed* when nothing needs its children any more (the join is final, or it was cancelled): only
//! then does their retention begin.

use super::check;
use super::enqueue;
use super::index::{Face, step};
use super::planted::{self, Bug};
use super::rows::{Batch, Job, Marks, QueueId, count_mut};
use super::store::{Ctx, QueueMachine, Sweep};
use super::types::{
    BatchId, BatchState, Counts, Event, JobId, NewJob, OnDead, Reply, State, limits,
};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use std::sync::Arc;

/// Gaps named in a refusal.
const GAPS_NAMED_MAX: usize = 10;

impl QueueMachine {
    pub(super) fn create_batch(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &Name,
        join: Option<(Name, NewJob)>,
        on_dead: OnDead,
        key: Option<Arc<str>>,
    ) -> Result<Reply, Error> {
        if let Some(key) = &key {
            check::text("key", key)?;
        }
        if let Some((_, job)) = &join {
            check::new_job(job)?;
            if job.batch.is_some() || job.dedupe_key.is_some() {
                return Err(Error::invalid(
                    "a join is enqueued once by its batch; leave out batch and dedupe_key",
                ));
            }
        }
        if let Some(found) = self.attach(name, key.as_ref()) {
            return Ok(Reply::Batch(found, true));
        }
        if self.batches.len() >= self.bounds.batches {
            return Err(Error::new(
                Code::OverQuota,
                format!(
                    "this cluster holds {} batches, its bound; cancel those that are never sealed",
                    self.batches.len()
                ),
            ));
        }
        let queue = self.queue_or_new(name)?;
        let join = match join {
            None => None,
            Some((name, job)) => {
                let queue = self.queue_or_new(&name)?;
                self.reserve_join(&name, queue, &job)?;
                Some(Box::new((queue, job)))
            }
        };
        self.index_mut(queue).open_batches += 1;
        let id = BatchId(ctx.next_token().0);
        if let Some(key) = &key {
            self.batch_keys.insert((queue, key.clone()), id);
        }
        self.batches.insert(
            id,
            Batch {
                queue,
                queue_name: name.clone(),
                key,
                state: BatchState::Open,
                on_dead,
                expected: None,
                counts: Counts::default(),
                skipped: 0,
                join,
                fired: None,
                created: ctx.time,
                finished: None,
                closed: false,
                sweep: None,
                due: None,
                expired: false,
            },
        );
        ctx.events.push(Event::Batch {
            batch: id,
            state: BatchState::Open,
        });
        Ok(Reply::Batch(id, false))
    }

    /// The batch that was created under this key, unless it was cancelled: that one is given up, and
    /// the key may name a new one.
    fn attach(&self, name: &Name, key: Option<&Arc<str>>) -> Option<BatchId> {
        let queue = *self.names.get(name)?;
        let id = *self.batch_keys.get(&(queue, key?.clone()))?;
        let batch = self.batches.get(&id)?;
        (batch.state != BatchState::Cancelled).then_some(id)
    }

    /// Makes room for the join while it waits in its batch, so that firing it can never be refused.
    fn reserve_join(&mut self, name: &Name, queue: QueueId, job: &NewJob) -> Result<(), Error> {
        let bytes = enqueue::weight(job);
        let max = self.queue(queue).settings.max_bytes;
        let index = self.index_mut(queue);
        if index.held_bytes + bytes > max {
            return Err(Error::new(
                Code::OverQuota,
                format!("queue {name} has no room for the join: it may hold {max} bytes"),
            ));
        }
        index.held_bytes += bytes;
        index.open_batches += 1;
        Ok(())
    }

    fn release_join(&mut self, queue: QueueId, job: &NewJob) {
        let index = self.index_mut(queue);
        step(&mut index.held_bytes, enqueue::weight(job), false);
        step(&mut index.open_batches, 1, false);
    }

    pub(super) fn seal_batch(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: BatchId,
        expected: u32,
    ) -> Result<Reply, Error> {
        let batch = self.batch(id)?;
        if let Some(sealed) = batch.expected {
            return if sealed == expected {
                Ok(Reply::Done)
            } else {
                Err(Error::new(
                    Code::BatchSealed,
                    format!("batch {id} was sealed with {sealed} jobs, not {expected}"),
                ))
            };
        }
        if batch.state == BatchState::Cancelled {
            return Err(Error::new(
                Code::BatchSealed,
                format!("batch {id} was cancelled; create another one"),
            ));
        }
        self.check_gaps(id, expected)?;
        self.batch_mut(id).expected = Some(expected);
        self.review(ctx, id);
        Ok(Reply::Done)
    }

    /// Refuses unless the children are exactly 0..expected.
    fn check_gaps(&self, id: BatchId, expected: u32) -> Result<(), Error> {
        let children = || self.children.range((id, 0)..=(id, u32::MAX));
        if expected > limits::BATCH_JOBS_MAX {
            return Err(Error::invalid(format!(
                "expected {expected}: a batch has at most {} jobs",
                limits::BATCH_JOBS_MAX
            )));
        }
        if let Some(((_, last), _)) = children().next_back()
            && *last >= expected
        {
            return Err(Error::invalid(format!(
                "batch {id} has a job at index {last}, so it has more than the {expected} expected; seal it with the right number"
            )));
        }
        // All are below `expected` and no two are at one place: the number alone tells.
        let there = self.batch(id)?.children();
        if there == u64::from(expected) || planted::on(Bug::SealIgnoresGaps) {
            return Ok(());
        }
        let mut missing = Vec::new();
        let mut next = 0;
        for index in children().map(|((_, index), _)| *index).chain([expected]) {
            while next < index && missing.len() < GAPS_NAMED_MAX {
                missing.push(next.to_string());
                next += 1;
            }
            if missing.len() == GAPS_NAMED_MAX {
                break;
            }
            next = index + 1;
        }
        Err(Error::invalid(format!(
            "batch {id} has {there} of {expected} jobs; enqueue the missing ones first, at {}{}",
            missing.join(", "),
            if u64::from(expected) - there > missing.len() as u64 {
                ", …"
            } else {
                ""
            }
        )))
    }

    pub(super) fn cancel_batch(&mut self, ctx: &mut Ctx<'_>, id: BatchId) -> Result<Reply, Error> {
        let batch = self.batch(id)?;
        if batch.state == BatchState::Cancelled {
            return Ok(Reply::Done);
        }
        if batch.closed {
            return Err(Error::new(
                Code::AlreadySettled,
                format!("batch {id} is over; there is nothing to cancel"),
            ));
        }
        let fired = batch.fired;
        self.close(ctx, id, BatchState::Cancelled);
        if let Some(join) = fired
            && self.jobs.contains_key(&join)
        {
            self.cancel(ctx, join);
        }
        Ok(Reply::Done)
    }

    pub(super) fn skip_child(&mut self, ctx: &mut Ctx<'_>, id: JobId) -> Result<Reply, Error> {
        let job = self.known(id)?;
        if job.batch().is_none() {
            return Err(Error::invalid(format!(
                "job {id} belongs to no batch; only a dead job of a batch can be skipped"
            )));
        }
        if job.state != State::Dead {
            return Err(Error::invalid(format!(
                "job {id} is {}; only a dead job can be skipped",
                super::query::word(job.state)
            )));
        }
        self.change(ctx, id, |job| job.marks.set(Marks::SKIPPED, true));
        Ok(Reply::Done)
    }

    /// A batch by the id that a user gave.
    pub(super) fn batch(&self, id: BatchId) -> Result<&Batch, Error> {
        self.batches.get(&id).ok_or_else(|| {
            Error::not_found(format!(
                "there is no batch {id}; it was never created, or removed after its retention"
            ))
        })
    }

    pub(super) fn batch_mut(&mut self, id: BatchId) -> &mut Batch {
        self.batches
            .get_mut(&id)
            .expect("a batch is looked up before it is changed, and outlives its children")
    }

    pub(super) fn is_batch_cancelled(&self, job: &Job) -> bool {
        job.batch()
            .and_then(|(batch, _)| self.batches.get(&batch))
            .is_some_and(|batch| batch.state == BatchState::Cancelled)
    }

    /// A child came, changed or went.
    pub(super) fn child_changed(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: BatchId,
        before: Option<Face>,
        after: Option<Face>,
    ) {
        let batch = self.batch_mut(id);
        for (face, add) in [(before, false), (after, true)] {
            if let Some(face) = face {
                step(count_mut(&mut batch.counts, face.state), 1, add);
                step(&mut batch.skipped, u64::from(face.skipped), add);
            }
        }
        if batch.closed {
            self.remove_if_done(id);
        } else {
            self.review(ctx, id);
        }
    }

    /// Brings the state of a batch that is not closed up to date, and fires its join when it is time.
    fn review(&mut self, ctx: &mut Ctx<'_>, id: BatchId) {
        let batch = self.batch_mut(id);
        if batch.closed || batch.fired.is_some() {
            return;
        }
        let dead = batch.counts.dead - batch.skipped;
        if dead > 0 && batch.on_dead == OnDead::Cancel {
            self.close(ctx, id, BatchState::Cancelled);
            return;
        }
        let Some(expected) = batch.expected else {
            return;
        };
        let hurried = planted::on(Bug::SealIgnoresGaps) && batch.finals() == batch.children();
        if batch.finals() == u64::from(expected) || hurried {
            self.fire(ctx, id);
        } else if dead > 0 && batch.on_dead == OnDead::Hold {
            self.say_batch(ctx, id, BatchState::Held);
        } else {
            self.say_batch(ctx, id, BatchState::Running);
        }
    }

    /// Enqueues the join, or completes a batch that has none.
    fn fire(&mut self, ctx: &mut Ctx<'_>, id: BatchId) {
        let batch = self.batch_mut(id);
        assert!(batch.fired.is_none(), "a join is fired once: {id}");
        let Some(join) = batch.join.take() else {
            self.close(ctx, id, BatchState::Completed);
            return;
        };
        let (queue, job) = *join;
        let join = JobId(ctx.next_token().0);
        self.batch_mut(id).fired = Some(join);
        self.release_join(queue, &job);
        let row = enqueue::new_row(queue, job, ctx, Some(id));
        let ready = row.state == State::Ready;
        self.say_batch(ctx, id, BatchState::Joining);
        self.add(ctx, join, row);
        if ready {
            self.say_ready(ctx, queue);
        }
    }

    /// The join job changed its state.
    pub(super) fn join_changed(&mut self, ctx: &mut Ctx<'_>, id: BatchId, state: State) {
        let now = ctx.time;
        let Some(batch) = self.batches.get(&id) else {
            return;
        };
        if batch.closed {
            return;
        }
        match state {
            State::Completed => self.close(ctx, id, BatchState::Completed),
            State::Cancelled => self.close(ctx, id, BatchState::Cancelled),
            State::Dead => {
                self.batch_mut(id).finished = Some(now);
                self.say_batch(ctx, id, BatchState::Dead);
            }
            State::Ready | State::Delayed | State::Leased => {
                if batch.state == BatchState::Dead {
                    self.batch_mut(id).finished = None;
                    self.say_batch(ctx, id, BatchState::Joining);
                }
            }
        }
    }

    /// The join job was removed. A dead one that nobody retried within its retention ends the batch.
    pub(super) fn join_removed(&mut self, ctx: &mut Ctx<'_>, id: BatchId) {
        if let Some(batch) = self.batches.get(&id)
            && !batch.closed
        {
            self.close(ctx, id, BatchState::Dead);
        }
    }

    /// Final for good.
    fn close(&mut self, ctx: &mut Ctx<'_>, id: BatchId, state: BatchState) {
        let now = ctx.time;
        let batch = self.batch_mut(id);
        batch.closed = true;
        batch.finished.get_or_insert(now);
        batch.sweep = Some(0);
        let (queue, join, fired) = (batch.queue, batch.join.take(), batch.fired);
        if let Some(join) = join {
            self.release_join(join.0, &join.1);
        }
        if planted::on(Bug::JoinFiredTwice)
            && state == BatchState::Completed
            && let Some(first) = fired
        {
            let mut again = self.job(first).clone();
            again.state = State::Ready;
            again.run = None;
            let id = JobId(ctx.next_token().0);
            self.add(ctx, id, again);
        }
        step(&mut self.index_mut(queue).open_batches, 1, false);
        let due = now.plus_ms(self.queue(queue).settings.retention_ms);
        self.batch_mut(id).due = Some(due);
        self.batch_due.insert((due, id));
        self.sweeps.insert(Sweep::Batch(id));
        self.say_batch(ctx, id, state);
    }

    /// Goes on with the sweep of a closed batch: cancels what is not final, begins the retention of
    /// what is. Takes at most `steps`, and says how many it took.
    pub(super) fn sweep_batch(&mut self, ctx: &mut Ctx<'_>, id: BatchId, steps: usize) -> usize {
        let now = ctx.time;
        let Some(from) = self.batches.get(&id).and_then(|batch| batch.sweep) else {
            self.sweeps.remove(&Sweep::Batch(id));
            return 0;
        };
        let part: Vec<(u32, JobId)> = self
            .children
            .range((id, from)..=(id, u32::MAX))
            .take(steps)
            .map(|((_, index), job)| (*index, *job))
            .collect();
        for (_, job) in &part {
            let row = self.job(*job);
            if row.state == State::Leased || row.waits() {
                self.cancel(ctx, *job);
            } else if !row.marks.has(Marks::RETIRED) {
                self.change(ctx, *job, |job| job.at = now);
            }
        }
        let next = match part.last() {
            Some((last, _)) if part.len() == steps => Some(last + 1),
            _ => None,
        };
        self.batch_mut(id).sweep = next;
        if next.is_none() {
            self.sweeps.remove(&Sweep::Batch(id));
            self.remove_if_done(id);
        }
        part.len()
    }

    /// Removes a closed batch whose retention is over and whose children are gone.
    pub(super) fn remove_if_done(&mut self, id: BatchId) {
        let Some(batch) = self.batches.get(&id) else {
            return;
        };
        if batch.expired && batch.sweep.is_none() && batch.children() == 0 {
            let key = batch.key.clone().map(|key| (batch.queue, key));
            self.batches.remove(&id);
            if let Some(key) = key
                && self.batch_keys.get(&key) == Some(&id)
            {
                self.batch_keys.remove(&key);
            }
        }
    }

    fn say_batch(&mut self, ctx: &mut Ctx<'_>, id: BatchId, state: BatchState) {
        let batch = self.batch_mut(id);
        if batch.state != state {
            batch.state = state;
            ctx.events.push(Event::Batch { batch: id, state });
        }
    }
}
