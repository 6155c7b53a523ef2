//! `Resign`, `Drained` and `Leave`: a holder's own word, which ends its leadership at once.

use super::store::{Ctx, ElectionMachine};
use super::types::{EndCause, LeaveCause, Reply, SessionId};
use quorate_core::error::{Code, Error};
use quorate_core::types::{FencingToken, Name};

impl ElectionMachine {
    /// `Resign` and `Drained`. A token that is not current is a no-op, also when the election is gone with it.
    pub(super) fn give_up(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        session: SessionId,
        token: FencingToken,
        cause: EndCause,
    ) -> Result<Reply, Error> {
        let Ok((election, row)) = self.known(election) else {
            return Ok(self.ended(election, false));
        };
        let current = row
            .leader
            .as_deref()
            .filter(|leader| leader.token == token)
            .map(|leader| leader.session);
        let Some(holder) = current else {
            return Ok(Reply::Ended {
                leadership: false,
                revision: row.changed,
            });
        };
        if holder != session {
            return Err(Error::new(
                Code::Forbidden,
                format!(
                    "the leadership of {election} under token {token} belongs to another session; only its holder can give it up. Order a transfer, or revoke it"
                ),
            ));
        }
        self.end_leadership(ctx, &election, cause);
        self.settle(ctx, &election);
        Ok(self.ended(&election, true))
    }

    pub(super) fn leave(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        candidate: &Name,
        session: SessionId,
    ) -> Result<Reply, Error> {
        let (election, _) = self.known(election)?;
        let key = (election.clone(), candidate.clone());
        let Some(holder) = self.candidates.get(&key).map(|row| row.session) else {
            return Err(Error::not_found(format!(
                "{candidate} is not a candidate of {election}; it left, or its session ended"
            )));
        };
        if holder != session {
            return Err(self.taken(&election, candidate, holder));
        }
        let led =
            self.remove_candidate(ctx, &election, candidate, EndCause::Left, LeaveCause::Left);
        if let Some(stands) = self.stands.get_mut(&session) {
            stands.remove(&key);
            if stands.is_empty() {
                self.stands.remove(&session);
            }
        }
        self.settle(ctx, &election);
        Ok(self.ended(&election, led))
    }

    /// The answer after an end; the election may have vanished with it.
    pub(super) fn ended(&self, election: &Name, leadership: bool) -> Reply {
        let row = self.elections.get(election);
        Reply::Ended {
            leadership,
            revision: row.map_or(self.header.revision, |row| row.changed),
        }
    }
}
