//! `Lease`: hands out ready jobs, and how a lease ends. Every grant and every end passes here.

use super::backoff;
use super::planted::{self, Bug};
use super::rows::{Extra, Failure, Grant, Job, Marks, Outcome, Run, Tried};
use super::store::{Ctx, QueueMachine};
use super::types::{
    AttemptOutcome, Event, JobId, Lease, LeaseId, LeaseRequest, SessionId, Settings, State, limits,
};
use quorate_core::error::Error;
use quorate_core::types::LogTime;
use std::sync::Arc;

/// Jobs that are to be cancelled and stand in the way, cancelled at the most by one request for work.
const DOOMED_PER_REQUEST_MAX: usize = 1_000;

/// How a lease ends.
pub(super) enum Ending {
    /// Done, with what came out.
    Completed(Box<Outcome>),
    /// The worker reported a failure.
    Failed(Box<Failure>),
    /// No progress.
    Stalled,
    /// The worker was silent.
    Lost,
    /// The worker gave it back.
    Released,
    /// The grant never reached the worker.
    Unclaimed,
    /// The job was cancelled.
    Cancelled,
}

impl QueueMachine {
    /// Grants up to `max` leases. Refuses only what [`QueueMachine::check_lease_request`] refuses,
    /// and a queue or a session too many.
    pub(super) fn lease(
        &mut self,
        ctx: &mut Ctx<'_>,
        request: &LeaseRequest,
    ) -> Result<(SessionId, Vec<Lease>), Error> {
        self.check_lease_request(request)?;
        let queue = self.queue_or_new(&request.queue)?;
        let session = match request.session {
            Some(session) if session != SessionId::NONE => session,
            _ => self.open_session(ctx, &request.worker)?,
        };
        self.use_session(ctx, session);
        let row = self.queue(queue);
        let (paused, lease_ms, stall_ms) = (
            row.paused,
            request.lease_ms.unwrap_or(row.settings.lease_ms),
            row.settings.stall_ms,
        );
        if row.asked != Some(ctx.time) {
            self.queue_mut(queue).asked = Some(ctx.time);
        }
        let held = self
            .holds
            .get(&session)
            .map_or(0, std::collections::BTreeSet::len);
        let room = limits::LEASES_PER_RENEWAL_MAX.saturating_sub(held);
        let max = usize::try_from(request.max).unwrap_or(usize::MAX).min(room);

        let mut leases = Vec::new();
        let mut bytes = 0;
        let mut doomed = 0;
        while !paused
            && leases.len() < max
            && bytes < limits::ANSWER_BYTES_MAX
            && doomed < DOOMED_PER_REQUEST_MAX
        {
            let Some(id) = self.index(queue).first_ready() else {
                if planted::on(Bug::LeasedToTwo)
                    && leases.is_empty()
                    && let Some(id) = self
                        .index(queue)
                        .page(Some(State::Leased), JobId(0), 1)
                        .pop()
                {
                    leases.push(self.view(id, LeaseId(ctx.next_token().0), lease_ms));
                }
                break;
            };
            let job = self.job(id);
            if self.is_doomed(job) {
                doomed += 1;
                self.cancel(ctx, id);
                continue;
            }
            bytes += usize::try_from(job.weight()).unwrap_or(usize::MAX);
            let grant = Grant {
                lease: LeaseId(ctx.next_token().0),
                session,
                lease_ms,
                extensions: 0,
                heartbeat: request.heartbeat,
                revoking: None,
            };
            self.grant(ctx, id, grant, &request.worker, stall_ms);
            leases.push(self.view(id, grant.lease, lease_ms));
        }
        Ok((session, leases))
    }

    fn grant(
        &mut self,
        ctx: &mut Ctx<'_>,
        id: JobId,
        grant: Grant,
        worker: &Arc<str>,
        stall_ms: u64,
    ) {
        let now = ctx.time;
        let mut forgotten = None;
        ctx.events.push(Event::Granted {
            lease: grant.lease,
            session: grant.session,
            job: id,
            lease_ms: grant.lease_ms,
            stall_ms,
            extensions: 0,
        });
        self.change(ctx, id, |job| {
            job.state = State::Leased;
            job.at = now;
            let run = job.run.get_or_insert_default();
            assert!(run.grant.is_none(), "a job has one live lease");
            run.deliveries = run.deliveries.saturating_add(1);
            run.grant = Some(grant);
            if run.tried.len() >= limits::ATTEMPTS_KEPT_MAX {
                forgotten = Some(run.tried.remove(0).lease);
            }
            if run.tried.is_empty() {
                // Most jobs need one attempt, and completed jobs are kept by the thousand.
                run.tried.reserve_exact(1);
            }
            run.tried.push(Tried {
                number: run.deliveries,
                lease: grant.lease,
                session: grant.session,
                worker: worker.clone(),
                started: now,
                ended: None,
                failure: None,
            });
        });
        if let Some(lease) = forgotten {
            self.leases.remove(&lease);
        }
        self.leases.insert(grant.lease, id);
        self.hold(grant.session, grant.lease);
    }

    /// A job as it is handed out.
    fn view(&self, id: JobId, lease: LeaseId, lease_ms: u64) -> Lease {
        let job = self.job(id);
        let run = job.run.as_deref();
        let none = Extra::default();
        let extra = job.extra.as_deref().unwrap_or(&none);
        Lease {
            id: lease,
            job: id,
            queue: self.queue(job.queue).name.clone(),
            attempt: run.map_or(0, |run| run.deliveries),
            lease_ms,
            payload: job.payload.clone(),
            payload_is_json: job.marks.has(Marks::JSON),
            inputs: extra.inputs.clone(),
            labels: extra.labels.clone(),
            checkpoint: run.and_then(|run| run.checkpoint.clone()),
            traceparent: extra.traceparent.clone(),
            joins: extra.joins,
            batch: extra.batch,
        }
    }

    /// Ends the live lease of a job. The job goes on to where this ending leads it.
    pub(super) fn end_lease(&mut self, ctx: &mut Ctx<'_>, id: JobId, ending: Ending) {
        let now = ctx.time;
        let job = self.job(id);
        let grant = *job
            .grant()
            .expect("only the lease of a job that is out ends");
        let settings = self.queue(job.queue).settings.clone();
        let cancelled = self.is_cancelled(job);
        let max_attempts = job
            .extra
            .as_ref()
            .and_then(|extra| extra.max_attempts)
            .unwrap_or(settings.max_attempts);

        self.unhold(grant.session, grant.lease);
        ctx.events.push(Event::Ended { lease: grant.lease });
        self.change(ctx, id, |job| {
            let run = job.run.as_mut().expect("a job that is out has a run");
            run.grant = None;
            let next = run.ended(ending, now, id, &settings, max_attempts);
            let next = match next {
                Next::Ready | Next::Delayed(_) | Next::Dead(_) if cancelled => Next::Cancelled,
                next => next,
            };
            place(job, next, now);
        });
    }
}

/// Where a job goes when its lease ends.
enum Next {
    Ready,
    Delayed(LogTime),
    Completed,
    Dead(String),
    Cancelled,
}

fn place(job: &mut Job, next: Next, now: LogTime) {
    job.at = now;
    job.state = match next {
        Next::Ready => State::Ready,
        Next::Delayed(at) => {
            job.at = at;
            State::Delayed
        }
        Next::Completed => State::Completed,
        Next::Cancelled => State::Cancelled,
        Next::Dead(reason) => {
            if let Some(run) = &mut job.run {
                run.dead_reason = Some(Arc::from(reason));
            }
            State::Dead
        }
    };
}

impl Run {
    /// Records the end of the last attempt, charges it, and says what comes next.
    fn ended(
        &mut self,
        ending: Ending,
        now: LogTime,
        id: JobId,
        settings: &Settings,
        max_attempts: u32,
    ) -> Next {
        let after = |delay_ms: u64| match delay_ms {
            0 => Next::Ready,
            ms => Next::Delayed(now.plus_ms(ms)),
        };
        let (outcome, failure, next) = match ending {
            Ending::Completed(outcome) => {
                self.outcome = Some(outcome);
                self.checkpoint = None;
                (AttemptOutcome::Completed, None, Next::Completed)
            }
            Ending::Cancelled => (AttemptOutcome::Cancelled, None, Next::Cancelled),
            Ending::Failed(failure) => {
                let next = self.failed(&failure, id, settings, max_attempts, now);
                (AttemptOutcome::Failed, Some(failure), next)
            }
            Ending::Stalled => {
                let failure = Box::new(Failure {
                    error: Arc::from(format!("no progress for {} ms", settings.stall_ms)),
                    retry: true,
                    delay_ms: None,
                    exit_code: None,
                    signal: None,
                    log_tail: Arc::from(""),
                });
                let next = self.failed(&failure, id, settings, max_attempts, now);
                (AttemptOutcome::Stalled, Some(failure), next)
            }
            Ending::Lost => {
                self.losses = self.losses.saturating_add(1);
                let next = if self.losses >= max_attempts {
                    Next::Dead(format!("lost its worker {} times", self.losses))
                } else if self.losses == 1 {
                    // One crash says little about the job.
                    Next::Ready
                } else {
                    after(backoff::delay_ms(settings, id, self.losses - 1))
                };
                (AttemptOutcome::Lost, None, next)
            }
            Ending::Released | Ending::Unclaimed => {
                self.releases = self.releases.saturating_add(1);
                let outcome = match ending {
                    Ending::Released => AttemptOutcome::Released,
                    _ => AttemptOutcome::Unclaimed,
                };
                let next = if self.releases >= limits::RELEASES_MAX {
                    Next::Dead(format!("given back {} times", self.releases))
                } else {
                    Next::Ready
                };
                (outcome, None, next)
            }
        };
        let tried = self
            .tried
            .last_mut()
            .expect("an attempt is kept while it runs");
        tried.ended = Some((now, outcome));
        tried.failure = failure;
        next
    }

    fn failed(
        &mut self,
        failure: &Failure,
        id: JobId,
        settings: &Settings,
        max_attempts: u32,
        now: LogTime,
    ) -> Next {
        if !planted::on(Bug::AttemptUncharged) {
            self.failures = self.failures.saturating_add(1);
        }
        if !failure.retry {
            return Next::Dead(format!(
                "its worker said that no attempt can succeed: {}",
                failure.error
            ));
        }
        if self.failures >= max_attempts {
            return Next::Dead(format!(
                "failed {} times, the last time with: {}",
                self.failures, failure.error
            ));
        }
        let delay_ms = failure
            .delay_ms
            .unwrap_or_else(|| backoff::delay_ms(settings, id, self.failures));
        match delay_ms {
            0 => Next::Ready,
            ms => Next::Delayed(now.plus_ms(ms)),
        }
    }
}
