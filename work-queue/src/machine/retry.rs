//! `RetryJob`: a dead job becomes ready again, with its counts reset and its history kept.

use super::store::{Ctx, QueueMachine};
use super::types::{BatchState, JobId, Reply, State};
use quorate_core::error::{Code, Error};

impl QueueMachine {
    pub(super) fn retry_job(&mut self, ctx: &mut Ctx<'_>, id: JobId) -> Result<Reply, Error> {
        let job = self.known(id)?;
        if job.state != State::Dead {
            return Err(Error::invalid(format!(
                "job {id} is {}; only a dead job can be retried",
                super::query::word(job.state)
            )));
        }
        if !self.may_revive(id) {
            return Err(Error::new(
                Code::BatchSealed,
                format!(
                    "the batch of job {id} has been joined or cancelled without it; enqueue a new job"
                ),
            ));
        }
        self.revive(ctx, id);
        Ok(Reply::Done)
    }

    /// Whether a dead job may run again: a batch joins after its last child is final, so once its join
    /// is fired no child comes back.
    pub(super) fn may_revive(&self, id: JobId) -> bool {
        self.job(id)
            .batch()
            .and_then(|(batch, _)| self.batches.get(&batch))
            .is_none_or(|batch| {
                matches!(
                    batch.state,
                    BatchState::Open | BatchState::Running | BatchState::Held
                )
            })
    }

    /// Makes a dead job ready.
    pub(super) fn revive(&mut self, ctx: &mut Ctx<'_>, id: JobId) {
        let now = ctx.time;
        self.change(ctx, id, |job| {
            job.state = State::Ready;
            job.at = now;
            if let Some(run) = &mut job.run {
                run.failures = 0;
                run.losses = 0;
                run.releases = 0;
                run.dead_reason = None;
            }
        });
    }
}
