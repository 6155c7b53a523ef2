//! `Settle`: the holder says how its lease ends. One outcome is recorded, once, for ever.
//!
//! - The same settlement again gets the first answer; a different one `already_settled`.
//! - While a lease is being revoked because it stalled, its holder may still settle it: the outcome
//!   that comes first, the holder's or the revocation's, is the one recorded.
//! - Once a cancel was acknowledged the job ends cancelled, whatever its holder says: a completion is
//!   refused with `already_settled` and its result dropped; a failure or a release is accepted. Each of
//!   them confirms that the holder has stopped, and ends the lease at once.

use super::check::{self, Standing};
use super::lease::Ending;
use super::planted::{self, Bug};
use super::rows::{Failure, Job, Outcome, Tried};
use super::store::{Ctx, QueueMachine};
use super::types::{
    AttemptOutcome, JobId, LeaseId, LeaseRequest, Reply, Settle, Settled, Settlement, State, limits,
};
use quorate_core::error::{Code, Error};

impl QueueMachine {
    pub(super) fn settle(
        &mut self,
        ctx: &mut Ctx<'_>,
        settle: Vec<Settle>,
        then: Option<&LeaseRequest>,
    ) -> Result<Reply, Error> {
        if settle.len() > limits::LEASES_PER_REQUEST_MAX {
            return Err(Error::invalid(format!(
                "{} settlements in one request; send at most {}",
                settle.len(),
                limits::LEASES_PER_REQUEST_MAX
            )));
        }
        let total = settle
            .iter()
            .map(|one| match &one.settlement {
                Settlement::Complete { result, .. } => result.len(),
                Settlement::Fail { .. } | Settlement::Release => 0,
            })
            .sum::<usize>();
        if total > limits::REQUEST_BYTES_MAX {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "{total} bytes of results in one request; send at most {} at once",
                    limits::REQUEST_BYTES_MAX
                ),
            ));
        }
        // All or nothing: a request for work that will be refused settles nothing first.
        if let Some(request) = then {
            self.check_lease_request(request)?;
            self.queue_or_new(&request.queue)?;
        }
        let outcomes = settle
            .into_iter()
            .map(|settle| self.settle_one(ctx, settle))
            .collect();
        let leased = then.map(|request| self.lease(ctx, request)).transpose()?;
        Ok(Reply::Settled { outcomes, leased })
    }

    fn settle_one(&mut self, ctx: &mut Ctx<'_>, settle: Settle) -> Settled {
        let lease = settle.lease;
        let proposed = Proposed::of(settle.settlement)?;
        match self.standing(lease, settle.session)? {
            Standing::Live(id) => self.settle_live(ctx, id, lease, proposed),
            Standing::Ended(id, outcome) => {
                if self.settle_by_bug(ctx, id, outcome, &proposed) {
                    return Ok(());
                }
                let job = self.job(id);
                let same = job
                    .tried(lease)
                    .is_some_and(|tried| proposed.repeats(job, tried, outcome));
                if same {
                    Ok(())
                } else {
                    Err(check::ended(job, lease, outcome))
                }
            }
        }
    }

    fn settle_live(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: JobId,
        lease: LeaseId,
        proposed: Proposed,
    ) -> Settled {
        let cancelled = self.is_cancelled(self.job(id));
        match proposed {
            Proposed::Complete(_) if cancelled => {
                self.end_lease(ctx, id, Ending::Cancelled);
                Err(Error::new(
                    Code::AlreadySettled,
                    format!("the job of lease {lease} was cancelled; its result is not recorded"),
                ))
            }
            _ if cancelled => {
                self.end_lease(ctx, id, Ending::Cancelled);
                Ok(())
            }
            Proposed::Complete(outcome) => {
                self.end_lease(ctx, id, Ending::Completed(outcome));
                Ok(())
            }
            Proposed::Fail(failure) => {
                self.end_lease(ctx, id, Ending::Failed(failure));
                Ok(())
            }
            Proposed::Release => {
                self.end_lease(ctx, id, Ending::Released);
                Ok(())
            }
        }
    }

    /// Accepts what must be refused, when a bug is planted.
    fn settle_by_bug(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: JobId,
        outcome: AttemptOutcome,
        proposed: &Proposed,
    ) -> bool {
        let stale = planted::on(Bug::StaleTokenAccepted)
            && matches!(outcome, AttemptOutcome::Lost | AttemptOutcome::Unclaimed)
            && matches!(proposed, Proposed::Complete(_));
        let revived = planted::on(Bug::ReleaseRevivesCompleted)
            && outcome == AttemptOutcome::Completed
            && matches!(proposed, Proposed::Release);
        if revived {
            self.change(ctx, id, |job| job.state = State::Ready);
        }
        if stale && self.job(id).waits() {
            self.change(ctx, id, |job| job.state = State::Completed);
        }
        stale || revived
    }
}

/// A settlement that is within the bounds.
enum Proposed {
    Complete(Box<Outcome>),
    Fail(Box<Failure>),
    Release,
}

impl Proposed {
    fn of(settlement: Settlement) -> Result<Self, Error> {
        Ok(match settlement {
            Settlement::Complete {
                result,
                result_is_json,
                outputs,
            } => {
                check::bytes("result", result.len(), limits::RESULT_BYTES_MAX)?;
                check::blobs("outputs", &outputs)?;
                Self::Complete(Box::new(Outcome {
                    result,
                    result_is_json,
                    outputs,
                }))
            }
            Settlement::Fail {
                error,
                retry,
                delay_ms,
                exit_code,
                signal,
                log_tail,
            } => {
                if let Some(ms) = delay_ms
                    && ms > limits::DELAY_MS_MAX
                {
                    return Err(Error::invalid(format!(
                        "delay_ms {ms} is over the bound of {}",
                        limits::DELAY_MS_MAX
                    )));
                }
                Self::Fail(Box::new(Failure {
                    error: check::head(&error, limits::ERROR_BYTES_MAX),
                    retry,
                    delay_ms,
                    exit_code,
                    signal,
                    log_tail: check::tail(&log_tail, limits::LOG_TAIL_BYTES_MAX),
                }))
            }
            Settlement::Release => Self::Release,
        })
    }

    /// Whether this is what ended the attempt.
    fn repeats(&self, job: &Job, tried: &Tried, outcome: AttemptOutcome) -> bool {
        match (self, outcome) {
            (Self::Complete(proposed), AttemptOutcome::Completed) => {
                job.run.as_ref().and_then(|run| run.outcome.as_ref()) == Some(proposed)
            }
            (Self::Fail(proposed), AttemptOutcome::Failed) => {
                tried.failure.as_ref() == Some(proposed)
            }
            (Self::Release, AttemptOutcome::Released)
            | (Self::Fail(_) | Self::Release, AttemptOutcome::Cancelled) => true,
            _ => false,
        }
    }
}
