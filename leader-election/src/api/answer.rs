//! The election answer: what is known of an election, and what its candidate may believe of itself and
//! for how long.
//!
//! **What `valid_for_ms` means.** The caller reads its clock before it sends a request and may act as
//! leader until that reading plus `valid_for_ms`. So it is never more than what is left of the lease when
//! the request arrives. For a renewal that is sent on at once it is the lease's trust d(1−ρ). For a
//! request that waited w, by the clock here, before its last renewal was sent, it is
//! w·(1−ρ)/(1+ρ) + d(1−ρ): however the caller's clock and this one differ in rate, within ρ each of true
//! time, w·(1−ρ)/(1+ρ) of its clock is no longer than w of ours. See docs/leases.md.

use super::{Api, caller};
use crate::convert::NO_SESSION;
use crate::machine::{Answer, ElectionView, Phase, Query, Renewal, SessionId};
use crate::service::Caller;
use quorate_core::clock;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::lease::Terms;
use quorate_core::types::{FencingToken, LogTime, Mono, Name};
use std::time::Duration;

/// An ambassador answers for its candidates within this time, and `unknown` past it.
pub(super) const LOCAL_ANSWER_MAX: Duration = Duration::from_millis(1_500);

/// What an ambassador holds for a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The token it leads with.
    pub token: FencingToken,
    /// What is left of its trust at this instant.
    pub valid_for: Duration,
}

/// What an ambassador knows of the candidates it speaks for.
pub trait Local: Send + Sync + 'static {
    /// How this candidate stands; `None` when it does not lead as far as is known. Whatever validity it
    /// gives counts as handed out.
    fn standing(&self, election: &Name, candidate: &Name) -> Option<Standing>;
}

/// What a candidate is to an election, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Leader,
    Follower,
    Observer,
    Unknown,
}

/// The election answer.
#[derive(Clone, Debug)]
pub(super) struct Bounded {
    pub(super) election: Name,
    /// `None` when nothing is known within the time.
    pub(super) view: Option<ElectionView>,
    pub(super) role: Role,
    /// The token that the candidate may act with.
    pub(super) token: Option<FencingToken>,
    /// Zero unless it leads; `None` where validity cannot be told: streams and long-polls.
    pub(super) valid_for: Option<Duration>,
}

impl Bounded {
    /// What a linearizable look at the election says of a candidate: right as of `as_of`, with no
    /// validity of its own.
    pub(super) fn looked_at(view: ElectionView, candidate: Option<&Name>) -> Self {
        let role = match candidate {
            None => Role::Unknown,
            Some(candidate) => role_of(&view, candidate),
        };
        Self {
            election: view.election.clone(),
            token: None,
            view: Some(view),
            role,
            valid_for: Some(Duration::ZERO),
        }
    }

    pub(super) fn unknown(election: Name) -> Self {
        Self {
            election,
            view: None,
            role: Role::Unknown,
            token: None,
            valid_for: Some(Duration::ZERO),
        }
    }

    /// The candidate leads and may act on it.
    pub(super) fn leads(&self) -> bool {
        self.token.is_some()
    }

    pub(super) fn without_validity(self) -> Self {
        Self {
            valid_for: None,
            token: None,
            ..self
        }
    }
}

fn role_of(view: &ElectionView, candidate: &Name) -> Role {
    match &view.leader {
        Some(leader) if leader.candidate == *candidate => match leader.phase {
            Phase::Revoking { .. } => Role::Unknown,
            Phase::Leading | Phase::Draining { .. } => Role::Leader,
        },
        _ if view.candidates.iter().any(|c| c.candidate == *candidate) => Role::Follower,
        _ => Role::Observer,
    }
}

/// How long an answer may be trusted, counted from before its request was sent, when its last renewal
/// was sent `waited` after the request arrived.
fn validity(terms: Terms, waited: Duration) -> Duration {
    let drift = u128::from(terms.drift_permille.min(1_000));
    let micros = waited.as_micros() * (1_000 - drift) / (1_000 + drift);
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)) + terms.trust()
}

impl Api {
    /// How an election stands for a candidate, without a renewal.
    pub(super) async fn look(
        &self,
        caller: &Caller,
        election: Name,
        candidate: Option<Name>,
    ) -> Result<Bounded, Error> {
        let candidate = candidate.or_else(|| self.candidate.clone());
        let Some(local) = &self.local else {
            let view = self.view(caller, election).await?;
            return Ok(Bounded::looked_at(view, candidate.as_ref()));
        };
        let bounded = Caller {
            timeout: caller.timeout.min(LOCAL_ANSWER_MAX),
            ..caller.clone()
        };
        let asked = self.view(&bounded, election.clone());
        let view = tokio::time::timeout(LOCAL_ANSWER_MAX, asked).await;
        let mut answer = match view {
            Ok(Ok(view)) => Bounded::looked_at(view, candidate.as_ref()),
            Ok(Err(error)) if error.code.kind() == Kind::Rejected => return Err(error),
            Ok(Err(_)) | Err(_) => Bounded::unknown(election.clone()),
        };
        // What the ambassador holds is read last: between it and the answer nothing waits.
        let standing = candidate.and_then(|candidate| local.standing(&election, &candidate));
        match standing {
            Some(standing) => {
                answer.role = Role::Leader;
                answer.token = Some(standing.token);
                answer.valid_for = Some(standing.valid_for);
            }
            // It leads as the cluster sees it, but its own deadline has passed or is not known.
            None if answer.role == Role::Leader => answer.role = Role::Unknown,
            None => {}
        }
        Ok(answer)
    }

    /// The answer of the old Kubernetes leader-elector sidecar: bounded in time, and an empty name
    /// whenever it is not known who leads.
    pub(crate) async fn named(&self, election: Name) -> super::rest::Named {
        let answer = self.look(&caller(None), election, None).await;
        let answer = answer.ok();
        let own = |answer: &Bounded| answer.leads().then(|| self.candidate.clone()).flatten();
        let name = answer.as_ref().and_then(|answer| {
            let leader = answer.view.as_ref()?.leader.as_deref();
            let stale = answer.role == Role::Unknown
                && self.candidate.as_ref() == leader.map(|leader| &leader.candidate);
            leader
                .filter(|_| !stale)
                .map(|leader| leader.candidate.clone())
        });
        let name = name.or_else(|| answer.as_ref().and_then(own));
        let token = answer.as_ref().and_then(|answer| {
            let leader = answer.view.as_ref().and_then(|view| view.leader.as_deref());
            answer.token.or(leader.map(|leader| leader.token))
        });
        let valid_for = answer.and_then(|answer| answer.valid_for);
        super::rest::Named {
            fencing_token: token.filter(|_| name.is_some()).map(|token| token.0),
            name: name.map(|name| name.to_string()).unwrap_or_default(),
            valid_for_ms: u64::try_from(valid_for.unwrap_or_default().as_millis())
                .unwrap_or(u64::MAX),
        }
    }

    pub(super) async fn view(
        &self,
        caller: &Caller,
        election: Name,
    ) -> Result<ElectionView, Error> {
        match self.query(caller, Query::Election { election }).await? {
            Answer::Election(view) => Ok(view),
            _ => Err(crate::convert::reply::misfit()),
        }
    }

    /// Renews a session and says how its candidate stands, in one step. `received` is when the caller's
    /// request arrived here.
    pub(super) async fn renewed_answer(
        &self,
        caller: &Caller,
        session: SessionId,
        election: &Name,
        candidate: &Name,
        received: Mono,
    ) -> Result<Bounded, Error> {
        let sent = clock::boottime();
        let renewal = Renewal {
            sessions: vec![session],
            elections: vec![election.clone()],
        };
        let renewed = self.renew(caller, renewal).await?;
        let kept = renewed.live.iter().find(|kept| kept.session == session);
        let kept = *kept.ok_or_else(|| expired(session))?;
        let view = renewed.elections.into_iter().next();
        let view = view.unwrap_or_else(|| {
            ElectionView::absent(election, kept.revision, LogTime(clock::wall_ms()))
        });
        let own = |of: SessionId| of == session && of != NO_SESSION;
        if !view
            .candidates
            .iter()
            .any(|c| c.candidate == *candidate && own(c.session))
        {
            return Err(Error::not_found(format!(
                "session {session} has no candidate {candidate} in the election {election}: campaign with \
                 PUT /v1/elections/{election}/candidates/{candidate} first"
            )));
        }
        let mut answer = Bounded::looked_at(view, Some(candidate));
        let leader = answer.view.as_ref().and_then(|view| view.leader.as_deref());
        let held = leader.filter(|leader| own(leader.session));
        if answer.role == Role::Leader
            && let Some(token) = held.map(|leader| leader.token)
        {
            answer.token = Some(token);
            answer.valid_for = Some(validity(kept.terms, sent.since(received)));
        }
        Ok(answer)
    }
}

pub(super) fn expired(session: SessionId) -> Error {
    Error::new(
        Code::SessionExpired,
        format!(
            "session {session} has ended: trust nothing it held, open a new one and campaign again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn validity_ends_before_the_lease_at_any_two_clocks_within_the_bound(
            ttl_ms in 500_u64..3_600_000,
            waited_ms in 0_u64..60_000,
            here in -10_i64..=10,
            there in -10_i64..=10,
        ) {
            // Proves: a caller whose clock runs at 1+there‰ and that counts from before it sent believes no
            // longer than d of true time after the last renewal was sent, whatever the rate of the clock
            // that measured the wait.
            let terms = Terms::new(ttl_ms);
            let waited_true_us = waited_ms as f64 * 1_000.0;
            let waited_here = Duration::from_micros((waited_true_us * (1_000 + here) as f64 / 1_000.0) as u64);
            let believed_there = validity(terms, waited_here).as_micros() as f64;
            let believed_true = believed_there * 1_000.0 / (1_000 + there) as f64;
            proptest::prop_assert!(believed_true <= waited_true_us + ttl_ms as f64 * 1_000.0 + 1.0);
            // And it is of use: nearly the whole lease is left.
            proptest::prop_assert!(validity(terms, waited_here) >= terms.trust());
        }
    }
}
