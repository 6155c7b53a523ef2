//! What only the leader keeps: how long each session was silent, and how long ago each revocation
//! began. Lost with the leader's office, and started anew by the next one.
//!
//! The lease rule (`docs/leases.md`, `quorate_core::lease`) is kept here. A session's count starts when
//! it is opened and at the receipt of each renewal that is acknowledged; a renewal is acknowledged only
//! while no end of the session is proposed; the end is proposed when the count is over. A leadership
//! that is being revoked has a count of its own, which starts when `Revoking` is applied and which no
//! renewal touches.

use super::planted::{self, Bug};
use super::settle::is_revoking;
use super::store::ElectionMachine;
use super::types::{Command, Event, Kept, Renewal, Renewed, SessionId, What, limits};
use quorate_core::error::Error;
use quorate_core::lease::{Keeper, Terms};
use quorate_core::machine::Duties;
use quorate_core::types::{FencingToken, LogTime, Mono, Name};
use std::collections::BTreeSet;
use std::time::Duration;

/// Sessions in one proposal.
const SESSIONS_DUE_MAX: usize = 1_000;

/// Candidacies in one proposal (those of one session at least): an entry that ends them takes some
/// ten milliseconds, well below a follower's patience with its leader.
const CANDIDACIES_DUE_MAX: usize = 10_000;

/// Revoked leaderships in one proposal.
const REVOKED_DUE_MAX: usize = 1_000;

/// The leader's volatile bookkeeping of the elections.
#[derive(Debug, Default)]
pub struct ElectionDuties {
    sessions: Keeper<SessionId>,
    revoked: Keeper<FencingToken>,
}

impl ElectionDuties {
    fn count_session(&mut self, session: SessionId, terms: Terms, now: Mono) {
        let terms = if planted::on(Bug::CountTooShort) {
            Terms {
                lease_ms: terms.lease_ms / 2,
                ..terms
            }
        } else {
            terms
        };
        self.sessions.start(session, terms, now);
    }

    fn count_revoked(&mut self, machine: &ElectionMachine, election: &Name, now: Mono) {
        let row = machine.elections.get(election);
        let Some(leader) = row
            .and_then(|row| row.leader.as_deref())
            .filter(|leader| is_revoking(leader))
        else {
            // It ended later in the same entry.
            return;
        };
        if self.revoked.end_of(leader.token).is_some() {
            return;
        }
        if let Some(session) = machine.sessions.get(&leader.session) {
            let terms = if planted::on(Bug::RevokedEndsAtOnce) {
                Terms {
                    lease_ms: 0,
                    ..session.terms
                }
            } else {
                session.terms
            };
            self.revoked.start(leader.token, terms, now);
        }
    }

    fn due_sessions(&mut self, machine: &ElectionMachine, now: Mono, out: &mut Vec<Command>) {
        let mut sessions = Vec::new();
        let mut weight = 0;
        while sessions.len() < SESSIONS_DUE_MAX
            && weight < CANDIDACIES_DUE_MAX
            && let Some(session) = self.sessions.due(now, 1).pop()
        {
            weight += machine.candidacies(session);
            sessions.push(session);
        }
        if !sessions.is_empty() {
            out.push(Command::Expire { sessions });
        }
    }

    fn due_revoked(&mut self, machine: &ElectionMachine, now: Mono, out: &mut Vec<Command>) {
        let ends: Vec<_> = self
            .revoked
            .due(now, REVOKED_DUE_MAX)
            .into_iter()
            .filter_map(|token| Some((machine.revoking.get(&token)?.clone(), token)))
            .collect();
        if !ends.is_empty() {
            out.push(Command::EndRevoked { ends });
        }
    }
}

/// The sessions that a renewal names, each once.
fn named(renewal: &Renewal) -> BTreeSet<SessionId> {
    if renewal.sessions.len() > limits::SESSIONS_PER_RENEWAL_MAX {
        return BTreeSet::new();
    }
    renewal.sessions.iter().copied().collect()
}

impl Duties<ElectionMachine> for ElectionDuties {
    fn new(machine: &ElectionMachine, now: Mono) -> Self {
        let mut duties = Self::default();
        for (session, row) in machine.sessions.iter() {
            let from = if planted::on(Bug::NewLeaderKeepsOldCount) {
                let gone = Duration::from_millis(row.terms.lease_ms);
                Mono(
                    now.since(Mono(0))
                        .saturating_sub(gone)
                        .as_nanos()
                        .try_into()
                        .unwrap_or(0),
                )
            } else {
                now
            };
            duties.count_session(*session, row.terms, from);
        }
        for election in machine.revoking.values() {
            duties.count_revoked(machine, election, now);
        }
        duties
    }

    fn arrived(&mut self, _: &ElectionMachine, renewal: &Renewal, _: Mono) {
        for session in named(renewal) {
            self.sessions.arrived(session);
        }
    }

    fn confirmed(
        &mut self,
        machine: &ElectionMachine,
        renewal: Renewal,
        receipt: Mono,
    ) -> Result<Renewed, Error> {
        if renewal.sessions.len() > limits::SESSIONS_PER_RENEWAL_MAX {
            return Err(Error::invalid(format!(
                "a renewal names at most {} sessions; send several",
                limits::SESSIONS_PER_RENEWAL_MAX
            )));
        }
        let mut renewed = Renewed::default();
        for session in named(&renewal) {
            let counted = self.sessions.confirmed(session, receipt);
            match machine.sessions.get(&session).filter(|_| counted) {
                Some(row) => renewed.live.push(Kept {
                    session,
                    terms: row.terms,
                    lost: if planted::on(Bug::LossUntold) {
                        0
                    } else {
                        row.lost
                    },
                    draining: row.draining,
                    revision: machine.header.revision,
                }),
                None => renewed.ended.push(session),
            }
        }
        // The instant of the answer is that of the state; log time is not known here.
        let as_of = machine
            .history
            .iter()
            .next_back()
            .map_or(LogTime::default(), |(_, change)| change.time);
        renewed.elections = renewal
            .elections
            .iter()
            .take(limits::ELECTIONS_PER_RENEWAL_MAX)
            .filter_map(|election| machine.view(election, as_of))
            .collect();
        Ok(renewed)
    }

    fn abandoned(&mut self, _: &ElectionMachine, renewal: &Renewal) {
        for session in named(renewal) {
            self.sessions.abandoned(session);
        }
    }

    fn applied(&mut self, machine: &ElectionMachine, event: &Event, now: Mono) {
        match event {
            Event::SessionOpened { session, terms } => {
                // It may have ended later in the same entry.
                if machine.sessions.contains_key(session) {
                    self.count_session(*session, *terms, now);
                }
            }
            Event::SessionEnded { session } => self.sessions.stop(*session),
            Event::Change(change) => match &change.what {
                What::Revoking => self.count_revoked(machine, &change.election, now),
                What::Ended { token, .. } => self.revoked.stop(*token),
                _ => {}
            },
        }
    }

    fn stalled(&mut self, stall: Duration) {
        self.sessions.stalled(stall);
        self.revoked.stalled(stall);
    }

    fn due(&mut self, machine: &ElectionMachine, now: Mono, out: &mut Vec<Command>) {
        self.due_sessions(machine, now, out);
        self.due_revoked(machine, now, out);
    }

    fn next_due(&self) -> Option<Mono> {
        [self.sessions.next_due(), self.revoked.next_due()]
            .into_iter()
            .flatten()
            .min()
    }
}
