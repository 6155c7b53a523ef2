//! Sessions: incarnations of workers. Open, close, forget.

use super::check;
use super::lease::Ending;
use super::rows::Session;
use super::store::{Ctx, QueueMachine};
use super::types::{Event, LeaseId, Reply, SessionId, State};
use quorate_core::error::{Code, Error};
use std::sync::Arc;

impl QueueMachine {
    /// A new session. When there are too many, the one that holds nothing and was used least recently
    /// makes room: its worker is told `session_expired` and opens another.
    pub(super) fn open_session(
        &mut self,
        ctx: &mut Ctx<'_>,
        worker: &Arc<str>,
    ) -> Result<SessionId, Error> {
        check::text("worker", worker)?;
        if self.sessions.len() >= self.bounds.sessions {
            let Some((_, oldest)) = self.idle.first().copied() else {
                return Err(Error::new(
                    Code::OverQuota,
                    format!(
                        "{} sessions hold leases, the bound of this cluster; stop some workers",
                        self.sessions.len()
                    ),
                ));
            };
            self.end_session(ctx, oldest);
        }
        let id = SessionId(ctx.next_token().0);
        self.sessions.insert(
            id,
            Session {
                worker: worker.clone(),
                opened: ctx.time,
                used: ctx.time,
            },
        );
        self.idle.insert((ctx.time, id));
        ctx.events.push(Event::SessionOpened { session: id });
        Ok(id)
    }

    /// The worker stops: what it holds is released at once, on its own word.
    pub(super) fn close_session(
        &mut self,
        ctx: &mut Ctx<'_>,
        session: SessionId,
    ) -> Result<Reply, Error> {
        self.check_session(session)?;
        for lease in self.holds.get(&session).cloned().unwrap_or_default() {
            if let Some(job) = self.leases.get(&lease).copied() {
                let ending = if self.is_cancelled(self.job(job)) {
                    Ending::Cancelled
                } else {
                    Ending::Released
                };
                self.end_lease(ctx, job, ending);
            }
        }
        self.end_session(ctx, session);
        Ok(Reply::Done)
    }

    /// Forgets those of these sessions that hold nothing.
    pub(super) fn forget_sessions(&mut self, ctx: &mut Ctx<'_>, sessions: &[SessionId]) -> Reply {
        let mut forgotten = 0;
        for session in sessions {
            if self.sessions.contains_key(session) && !self.holds.contains_key(session) {
                self.end_session(ctx, *session);
                forgotten += 1;
            }
        }
        Reply::Count(forgotten)
    }

    /// The session asked for work.
    pub(super) fn use_session(&mut self, ctx: &Ctx<'_>, session: SessionId) {
        let Some(row) = self.sessions.get(&session) else {
            return;
        };
        let used = row.used;
        if used == ctx.time {
            return;
        }
        if self.idle.remove(&(used, session)) {
            self.idle.insert((ctx.time, session));
        }
        if let Some(row) = self.sessions.get_mut(&session) {
            row.used = ctx.time;
        }
    }

    /// The session got a lease.
    pub(super) fn hold(&mut self, session: SessionId, lease: LeaseId) {
        if let Some(row) = self.sessions.get(&session) {
            self.idle.remove(&(row.used, session));
        }
        self.holds.entry(session).or_default().insert(lease);
    }

    /// A lease of the session ended.
    pub(super) fn unhold(&mut self, session: SessionId, lease: LeaseId) {
        let Some(held) = self.holds.get_mut(&session) else {
            return;
        };
        held.remove(&lease);
        if held.is_empty() {
            self.holds.remove(&session);
            if let Some(row) = self.sessions.get(&session) {
                self.idle.insert((row.used, session));
            }
        }
    }

    fn end_session(&mut self, ctx: &mut Ctx<'_>, session: SessionId) {
        assert!(
            !self.holds.contains_key(&session),
            "a session ends after its leases"
        );
        if let Some(row) = self.sessions.remove(&session) {
            self.idle.remove(&(row.used, session));
            ctx.events.push(Event::SessionClosed { session });
        }
    }

    /// The live leases of a session.
    pub(super) fn held_by(&self, session: SessionId) -> impl Iterator<Item = LeaseId> + '_ {
        self.holds.get(&session).into_iter().flatten().copied()
    }

    /// The job of a live lease.
    pub(super) fn live_job(&self, lease: LeaseId) -> Option<&super::rows::Job> {
        let job = self.jobs.get(self.leases.get(&lease)?)?;
        (job.state == State::Leased && job.grant().is_some_and(|grant| grant.lease == lease))
            .then_some(job)
    }
}
