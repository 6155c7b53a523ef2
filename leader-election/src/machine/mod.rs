//! The replicated elections: pure, one command a file.
//!
//! [`ElectionMachine`] is all logic of leader election as a function of the log; [`ElectionDuties`] is
//! what its leader keeps besides: the counts of the lease rule. `store` holds the state and numbers
//! what happens, `settle` is where leaderships begin and end; each command has its file: `campaign`,
//! `resign` (and what else is a holder's own word), `transfer` (and revocation), `force_release`,
//! `configure`, `session`. Questions are answered in `query`, and `snapshot` turns the state into
//! bytes while it goes on changing.
//!
//! Invariants, asserted in release builds: a leadership belongs to a candidate, a candidacy to an open
//! session; tokens grow with every election; revisions have no gap. A leadership ends only by its
//! holder's own word, by the expiry of its session, after `Revoking` was counted out, or by force.

mod campaign;
mod check;
mod configure;
mod duties;
mod force_release;
pub mod planted;
mod query;
mod resign;
mod rows;
mod session;
mod settle;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
mod transfer;
pub mod types;

pub use duties::ElectionDuties;
pub use store::ElectionMachine;
pub use types::*;

use quorate_core::codec::CodecError;
use quorate_core::error::Error;
use quorate_core::machine::{Context, Machine, WaitKey};
use quorate_core::types::LogTime;

impl Machine for ElectionMachine {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;
    type Renewal = Renewal;
    type Renewed = Renewed;
    type Event = Event;
    type Duties = ElectionDuties;

    const LEVEL: u16 = 1;

    fn new() -> Self {
        Self::default()
    }

    fn advance(&mut self, ctx: &mut Context<'_, Event>) {
        self.advance_timers(ctx);
    }

    fn apply(&mut self, ctx: &mut Context<'_, Event>, command: Command) -> Result<Reply, Error> {
        match command {
            Command::OpenSession { ttl_ms, label } => {
                self.open_session(ctx, ttl_ms, label).map(Reply::Session)
            }
            Command::CloseSession { session } => self.close_session(ctx, session),
            Command::Campaign(campaign) => self.campaign(ctx, &campaign),
            Command::Resign {
                election,
                session,
                token,
            } => self.give_up(ctx, &election, session, token, EndCause::Resigned),
            Command::Leave {
                election,
                candidate,
                session,
            } => self.leave(ctx, &election, &candidate, session),
            Command::Transfer {
                election,
                to,
                drain_ms,
                token,
            } => self.transfer(ctx, &election, &to, drain_ms, token),
            Command::Drained {
                election,
                session,
                token,
            } => self.give_up(ctx, &election, session, token, EndCause::Drained),
            Command::Revoke {
                election,
                token,
                reason,
            } => {
                check::text("reason", &reason)?;
                let by = ctx.principal.0.clone();
                self.revoke(ctx, &election, token, RevokeCause::Asked { by, reason })
            }
            Command::ForceRelease {
                election,
                token,
                reason,
            } => self.force_release(ctx, &election, token, reason),
            Command::Configure { election, settings } => self.configure(ctx, &election, settings),
            Command::Expire { sessions } => Ok(self.expire(ctx, &sessions)),
            Command::EndRevoked { ends } => Ok(self.end_revoked(ctx, &ends)),
        }
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn query(&self, _: &ElectionDuties, now: LogTime, query: Query) -> Result<Answer, Error> {
        self.answer(now, query)
    }

    /// Nothing is held back: who waits for leadership observes.
    fn parks(&self, _: &Command) -> Option<WaitKey> {
        None
    }

    fn wakes(_: &Event) -> Option<WaitKey> {
        None
    }

    fn parked_reply(_: &Command) -> Reply {
        Reply::Count(0)
    }

    fn snapshot_begin(&mut self) {
        self.begin();
    }

    fn snapshot_slice(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        self.slice(bytes_max)
    }

    fn restore_slice(&mut self, slice: &[u8]) -> Result<(), CodecError> {
        self.restore(slice)
    }

    fn restore_end(&mut self) -> Result<(), CodecError> {
        self.rebuild()
    }

    fn digest(&self) -> u64 {
        self.fold()
    }
}
