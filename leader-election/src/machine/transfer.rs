//! `Transfer`: an ordered hand-over. The leader drains and confirms; who does not in time is revoked.

use super::check;
use super::store::{Ctx, ElectionMachine};
use super::types::{Phase, Reply, RevokeCause, Transferring};
use quorate_core::error::{Code, Error};
use quorate_core::types::{FencingToken, Name};

impl ElectionMachine {
    pub(super) fn transfer(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        to: &Name,
        drain_ms: u64,
        token: Option<FencingToken>,
    ) -> Result<Reply, Error> {
        check::delay("drain_ms", drain_ms)?;
        let (election, row) = self.known(election)?;
        if !self
            .candidates
            .contains_key(&(election.clone(), to.clone()))
        {
            return Err(Error::new(
                Code::NotACandidate,
                format!(
                    "{to} is not a candidate of {election}; let it campaign first, or choose one of its candidates"
                ),
            ));
        }
        let Some(leader) = row.leader.clone() else {
            return Err(Error::not_found(format!(
                "nobody leads {election} at the moment, so there is nothing to hand over; give {to} a higher priority or make it the preferred one"
            )));
        };
        check_token(&election, leader.token, token)?;
        let until = ctx.time.plus_ms(drain_ms);
        let done = leader.candidate == *to;
        match &leader.phase {
            _ if done => self.call_off(ctx, &election),
            Phase::Leading => self.begin_handover(ctx, &election, to.clone(), until),
            Phase::Draining { until: old, .. } => {
                let until = until.min(*old);
                self.begin_handover(ctx, &election, to.clone(), until);
            }
            Phase::Revoking { cause, .. } => {
                self.revoke_leadership(ctx, &election, cause.clone(), Some(to.clone()));
            }
        }
        self.settle(ctx, &election);
        Ok(Reply::Transferring(Transferring {
            token: leader.token,
            from: leader.candidate.clone(),
            to: to.clone(),
            done,
            revision: self.row(&election).changed,
        }))
    }

    /// `Revoke`: the lease ends at its holder's word or when it was counted out.
    pub(super) fn revoke(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        token: Option<FencingToken>,
        cause: RevokeCause,
    ) -> Result<Reply, Error> {
        let (election, row) = self.known(election)?;
        if let Some(leader) = row.leader.clone() {
            check_token(&election, leader.token, token)?;
            match &leader.phase {
                Phase::Leading => self.revoke_leadership(ctx, &election, cause, None),
                Phase::Draining { to, .. } => {
                    self.revoke_leadership(ctx, &election, cause, Some(to.clone()));
                }
                Phase::Revoking { .. } => {}
            }
            self.settle(ctx, &election);
        }
        let revision = self.row(&election).changed;
        Ok(Reply::Done { revision })
    }

    /// The leader counted d(1+ρ) from `Revoking`, or from when it took office.
    pub(super) fn end_revoked(
        &mut self,
        ctx: &mut Ctx<'_>,
        ends: &[(Name, FencingToken)],
    ) -> Reply {
        let mut ended = 0;
        for (election, token) in ends {
            if self.revoking.get(token) != Some(election) {
                continue;
            }
            self.end_leadership(ctx, election, super::types::EndCause::Revoked);
            self.settle(ctx, election);
            ended += 1;
        }
        Reply::Count(ended)
    }
}

/// Refuses a token that is named and not current.
pub(super) fn check_token(
    election: &Name,
    current: FencingToken,
    named: Option<FencingToken>,
) -> Result<(), Error> {
    match named {
        Some(named) if named != current => Err(Error::new(
            Code::StaleFencingToken,
            format!(
                "the token {named} is not current in {election}; look who leads now and decide again"
            ),
        )),
        _ => Ok(()),
    }
}
