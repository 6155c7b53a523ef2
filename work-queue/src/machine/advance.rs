//! Time passes: delayed jobs become ready, retention ends, sweeps go on.

use super::store::{Ctx, QueueMachine, Sweep};
use super::types::State;
use quorate_core::types::LogTime;

impl QueueMachine {
    /// Does what is due at the time of the entry, at most `bounds.steps` of it.
    pub(super) fn advance_steps(&mut self, ctx: &mut Ctx<'_>) {
        let mut left = self.bounds.steps;
        while left > 0
            && let Some((due, queue)) = self.timers.first().copied()
            && due <= ctx.time
        {
            left -= 1;
            let retention_ms = self.queue(queue).settings.retention_ms;
            let index = self.index(queue);
            if let Some(id) = index.due_delayed(ctx.time) {
                if self.is_doomed(self.job(id)) {
                    self.cancel(ctx, id);
                } else {
                    let now = ctx.time;
                    self.change(ctx, id, |job| {
                        job.state = State::Ready;
                        job.at = now;
                    });
                }
            } else if let Some(id) = index.due_retired(ctx.time, retention_ms) {
                self.remove(ctx, id);
            }
        }
        while left > 0
            && let Some((due, batch)) = self.batch_due.first().copied()
            && due <= ctx.time
        {
            left -= 1;
            self.batch_due.pop_first();
            self.batch_mut(batch).expired = true;
            self.remove_if_done(batch);
        }
        while left > 0
            && let Some(sweep) = self.sweeps.first().copied()
        {
            let taken = match sweep {
                Sweep::Queue(queue) => self.sweep_queue(ctx, queue, left),
                Sweep::Batch(batch) => self.sweep_batch(ctx, batch, left),
            };
            left = left.saturating_sub(taken.max(1));
        }
    }

    /// When there is something to do: now, while a sweep is under way.
    pub(super) fn next_step(&self) -> Option<LogTime> {
        if !self.sweeps.is_empty() {
            return Some(LogTime(0));
        }
        let timer = self.timers.first().map(|(due, _)| *due);
        let batch = self.batch_due.first().map(|(due, _)| *due);
        timer.into_iter().chain(batch).min()
    }
}
