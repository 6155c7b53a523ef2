//! What operators do to a queue: configure, pause, purge, redrive, delete.
//!
//! Purging and deleting take effect at once, whatever the size of the queue: a purge flips the epoch of
//! the queue, which dooms every job that waits (none of them is handed out any more), and a deletion
//! frees the name. The rows follow in bounded steps, the first of them in the command itself.

use super::check;
use super::index::{WAITING_END, job_of};
use super::rows::{QueueId, QueueSweep};
use super::store::{Ctx, QueueMachine, Sweep};
use super::types::{JobId, Reply, Settings, State, limits};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;

/// When a purge that is under way is likely over.
const PURGE_RETRY_AFTER_MS: u64 = 100;

/// Dead jobs that one redrive looks at: those whose batch was joined without them stay dead.
const SCAN_MAX: usize = 2 * limits::REDRIVE_MAX as usize;

impl QueueMachine {
    pub(super) fn configure(&mut self, name: &Name, settings: Settings) -> Result<Reply, Error> {
        check::settings(&settings)?;
        let id = self.queue_or_new(name)?;
        self.queue_mut(id).settings = settings;
        self.retime(id);
        Ok(Reply::Done)
    }

    pub(super) fn pause(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &Name,
        paused: bool,
    ) -> Result<Reply, Error> {
        let id = self.queue_id(name)?;
        self.queue_mut(id).paused = paused;
        if self.index(id).first_ready().is_some() {
            self.say_ready(ctx, id);
        }
        Ok(Reply::Done)
    }

    pub(super) fn purge(&mut self, ctx: &mut Ctx<'_>, name: &Name) -> Result<Reply, Error> {
        let id = self.queue_id(name)?;
        let counts = self.index(id).counts;
        let queue = self.queue_mut(id);
        if queue.sweep.is_some() {
            return Err(Error::new(
                Code::OverQuota,
                format!("queue {name} is being purged already; try again when that is over"),
            )
            .retry_after_ms(PURGE_RETRY_AFTER_MS));
        }
        queue.epoch = !queue.epoch;
        queue.sweep = Some(QueueSweep::Purge { from: 0 });
        self.sweeps.insert(Sweep::Queue(id));
        self.sweep_queue(ctx, id, self.bounds.steps);
        Ok(Reply::Count(counts.ready + counts.delayed))
    }

    pub(super) fn redrive(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &Name,
        max: u32,
    ) -> Result<Reply, Error> {
        let id = self.queue_id(name)?;
        let max = u64::from(max.min(limits::REDRIVE_MAX));
        let dead = self.index(id).page(Some(State::Dead), JobId(0), SCAN_MAX);
        let mut revived = 0;
        for job in dead {
            if revived == max {
                break;
            }
            if self.may_revive(job) {
                self.revive(ctx, job);
                revived += 1;
            }
        }
        Ok(Reply::Count(revived))
    }

    pub(super) fn delete_queue(&mut self, ctx: &mut Ctx<'_>, name: &Name) -> Result<Reply, Error> {
        let id = self.queue_id(name)?;
        let index = self.index(id);
        let counts = index.counts;
        let busy = counts.ready + counts.delayed + counts.leased;
        if busy > 0 {
            return Err(Error::invalid(format!(
                "queue {name} holds {busy} jobs that are not final; purge it and wait for its workers first"
            )));
        }
        if index.open_batches > 0 || index.needed_jobs() > 0 {
            return Err(Error::invalid(format!(
                "queue {name} serves batches that are not final; wait for them or cancel them first"
            )));
        }
        self.names.remove(name);
        self.queue_mut(id).sweep = Some(QueueSweep::Delete);
        self.sweeps.insert(Sweep::Queue(id));
        self.sweep_queue(ctx, id, self.bounds.steps);
        Ok(Reply::Done)
    }

    /// Whether this queue was deleted and waits for its last rows to go.
    pub(super) fn is_deleted(&self, id: QueueId) -> bool {
        self.queue(id).sweep == Some(QueueSweep::Delete)
    }

    /// Goes on with the sweep of a queue. Takes at most `steps`, and says how many it took.
    pub(super) fn sweep_queue(&mut self, ctx: &mut Ctx<'_>, id: QueueId, steps: usize) -> usize {
        match self.queues.get(&id).and_then(|queue| queue.sweep) {
            Some(QueueSweep::Purge { from }) => self.sweep_purged(ctx, id, from, steps),
            Some(QueueSweep::Delete) => self.sweep_deleted(ctx, id, steps),
            None => {
                self.sweeps.remove(&Sweep::Queue(id));
                0
            }
        }
    }

    fn sweep_purged(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: QueueId,
        mut from: u64,
        steps: usize,
    ) -> usize {
        for taken in 0..steps {
            let Some(key) = self.index(id).first_from(from, WAITING_END) else {
                self.queue_mut(id).sweep = None;
                self.sweeps.remove(&Sweep::Queue(id));
                return taken;
            };
            from = key + 1;
            let job = job_of(key);
            if self.is_doomed(self.job(job)) {
                self.cancel(ctx, job);
            }
        }
        self.queue_mut(id).sweep = Some(QueueSweep::Purge { from });
        steps
    }

    fn sweep_deleted(&mut self, ctx: &mut Ctx<'_>, id: QueueId, steps: usize) -> usize {
        for taken in 0..steps {
            let Some(job) = self.index(id).any() else {
                if let Some(due) = self.index(id).deadline {
                    self.timers.remove(&(due, id));
                }
                self.index.remove(&id);
                self.queues.remove(&id);
                self.sweeps.remove(&Sweep::Queue(id));
                return taken;
            };
            self.remove(ctx, job);
        }
        steps
    }
}
