//! Sessions: opened, closed by their process, ended by the leader when they were silent.
//!
//! One entry ends a session with everything that hangs off it: first all its candidacies go, those of
//! sessions that end in the same step too, and only then the elections are settled, so that nobody is
//! elected who is about to go.

use super::check;
use super::rows::Session;
use super::store::{Ctx, ElectionMachine};
use super::types::{EndCause, Event, LeaveCause, Opened, Reply, SessionId, What, limits};
use quorate_core::error::{Code, Error};
use quorate_core::lease::Terms;
use quorate_core::types::Name;
use std::collections::BTreeSet;
use std::sync::Arc;

impl ElectionMachine {
    /// Whether a session of this length could be opened.
    pub(super) fn check_open(&self, ttl_ms: u64) -> Result<(), Error> {
        if !limits::TTL_MS.contains(&ttl_ms) {
            return Err(Error::invalid(format!(
                "ttl_ms is {ttl_ms}; choose {} to {} (2000 suits most)",
                limits::TTL_MS.start(),
                limits::TTL_MS.end()
            )));
        }
        if self.sessions.len() >= self.bounds.sessions {
            return Err(Error::new(
                Code::OverQuota,
                format!(
                    "this cluster holds {} sessions, its bound; share one session among the elections of a process, and close those that are no longer used",
                    self.sessions.len()
                ),
            )
            .retry_after_ms(1_000));
        }
        Ok(())
    }

    pub(super) fn open_session(
        &mut self,
        ctx: &mut Ctx<'_>,
        ttl_ms: u64,
        label: Arc<str>,
    ) -> Result<Opened, Error> {
        check::text("label", &label)?;
        self.check_open(ttl_ms)?;
        let session = SessionId(ctx.next_token().0);
        let terms = Terms::new(ttl_ms);
        self.sessions.insert(
            session,
            Session {
                terms,
                label,
                principal: ctx.principal.clone(),
                opened: ctx.time,
                lost: 0,
                draining: 0,
            },
        );
        ctx.events.push(Event::SessionOpened { session, terms });
        Ok(Opened { session, terms })
    }

    /// The process stops, on its own word.
    pub(super) fn close_session(
        &mut self,
        ctx: &mut Ctx<'_>,
        session: SessionId,
    ) -> Result<Reply, Error> {
        self.session(session)?;
        self.end_sessions(ctx, &[session], &EndCause::Closed, LeaveCause::Closed);
        Ok(Reply::Count(1))
    }

    /// The counts of these sessions are over. One that ended meanwhile is passed over.
    pub(super) fn expire(&mut self, ctx: &mut Ctx<'_>, sessions: &[SessionId]) -> Reply {
        Reply::Count(self.end_sessions(ctx, sessions, &EndCause::Expired, LeaveCause::Expired))
    }

    fn end_sessions(
        &mut self,
        ctx: &mut Ctx<'_>,
        sessions: &[SessionId],
        cause: &EndCause,
        left: LeaveCause,
    ) -> u32 {
        let mut ended = 0;
        let mut touched: BTreeSet<Name> = BTreeSet::new();
        for session in sessions {
            if self.sessions.remove(session).is_none() {
                continue;
            }
            ended += 1;
            for (election, candidate) in self.stands.remove(session).unwrap_or_default() {
                self.remove_candidate(ctx, &election, &candidate, cause.clone(), left);
                touched.insert(election);
            }
            ctx.events.push(Event::SessionEnded { session: *session });
        }
        for election in touched {
            self.settle(ctx, &election);
        }
        ended
    }

    /// A candidate goes, and its leadership before it. `settle` must follow. The caller has taken it
    /// out of `stands`, or does.
    pub(super) fn remove_candidate(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        candidate: &Name,
        cause: EndCause,
        left: LeaveCause,
    ) -> bool {
        let leads = self
            .row(election)
            .leader
            .as_ref()
            .is_some_and(|leader| leader.candidate == *candidate);
        if leads {
            self.end_leadership(ctx, election, cause);
        }
        if let Some(row) = self
            .candidates
            .remove(&(election.clone(), candidate.clone()))
        {
            self.order.remove(&Self::place(election, &row));
        }
        self.say(
            ctx,
            election,
            What::Left {
                candidate: candidate.clone(),
                cause: left,
            },
        );
        leads
    }
}
