//! `CancelJob`: a job that waits is cancelled at once. One that is out gets its lease revoked: its
//! holder is told, and the lease ends with the holder's word or when its time is over.

use super::check;
use super::store::{Ctx, QueueMachine};
use super::types::{Event, JobId, Reply, RevokeCause, State};
use quorate_core::error::{Code, Error};

impl QueueMachine {
    pub(super) fn cancel_job(&mut self, ctx: &mut Ctx<'_>, id: JobId) -> Result<Reply, Error> {
        match self.known(id)?.state {
            State::Completed => Err(Error::new(
                Code::AlreadySettled,
                format!("job {id} is completed; there is nothing to cancel"),
            )),
            State::Cancelled => Ok(Reply::Done),
            State::Ready | State::Delayed | State::Leased | State::Dead => {
                self.cancel(ctx, id);
                Ok(Reply::Done)
            }
        }
    }

    /// Cancels a job that is known to exist, unless it is completed or cancelled.
    pub(super) fn cancel(&mut self, ctx: &mut Ctx<'_>, id: JobId) {
        let now = ctx.time;
        match self.job(id).state {
            State::Completed | State::Cancelled => {}
            State::Ready | State::Delayed | State::Dead => self.change(ctx, id, |job| {
                job.state = State::Cancelled;
                job.at = now;
            }),
            State::Leased => {
                if self.job(id).cancel_requested() {
                    return;
                }
                let mut revoked = None;
                self.change(ctx, id, |job| {
                    let run = job.run.as_mut().expect("a job that is out has a run");
                    run.cancel_requested = true;
                    let grant = run.grant.as_mut().expect("a job that is out has a lease");
                    grant.revoking = Some(RevokeCause::Cancelled);
                    revoked = Some(grant.lease);
                });
                if let Some(lease) = revoked {
                    ctx.events.push(Event::Revoking {
                        lease,
                        cause: RevokeCause::Cancelled,
                    });
                }
            }
        }
    }

    /// A job by the id that a user gave.
    pub(super) fn known(&self, id: JobId) -> Result<&super::rows::Job, Error> {
        self.jobs
            .get(&id)
            .filter(|job| !self.is_deleted(job.queue))
            .ok_or_else(|| {
                Error::not_found(format!(
                    "there is no job {}; it was never enqueued, or removed after its retention",
                    check::short(&id.to_string())
                ))
            })
    }
}
