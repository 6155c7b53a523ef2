//! Standing for one election by itself: `--election`, for applications that only ask who leads.
//!
//! While there is proof that the application lives the candidate stands; what it leads with is told by the
//! ambassador. When a hand-over is ordered the application is asked to drain; the acknowledgement goes out
//! when it says that it has stopped, when it is gone, or when everything it was told has passed.

use super::ambassador::Ambassador;
use super::hook::Hook;
use super::proof::Life;
use crate::machine::{
    Campaign, Command, EndCause, Leadership, Liveness, Phase, Reply, SessionId, What,
};
use crate::service::{Caller, Observed};
use futures::StreamExt as _;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::retry::Backoff;
use quorate_core::types::{FencingToken, LogTime, Name};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// For one operation.
const OPERATION_MAX: Duration = Duration::from_secs(5);
/// The application gets at least so long to answer when it is asked to drain.
const DRAIN_MIN: Duration = Duration::from_millis(100);

pub(super) struct Own {
    pub(super) ambassador: Arc<Ambassador>,
    pub(super) hook: Hook,
    pub(super) election: Name,
    pub(super) candidate: Name,
    pub(super) ttl_ms: u64,
}

impl Own {
    /// Stands whenever there is proof, until the drain begins.
    pub(super) async fn stand(self, drain: CancellationToken) {
        let mut backoff = Backoff::default();
        let standing = async {
            let mut life = self.ambassador.proof().life();
            loop {
                if life.wait_for(|life| *life == Life::Proven).await.is_err() {
                    return;
                }
                match self.campaign().await {
                    Ok(()) => backoff.reset(),
                    Err(error) => self.pause(&mut backoff, &error).await,
                }
            }
        };
        drain.run_until_cancelled(standing).await;
    }

    fn caller() -> Caller {
        Caller {
            timeout: OPERATION_MAX,
            ..Caller::default()
        }
    }

    /// One candidacy, until its session has ended or the cluster refuses it. What fails is tried again under
    /// the same session: it may lead, whatever became of the attempt.
    async fn campaign(&self) -> Result<(), Error> {
        let open = Command::OpenSession {
            ttl_ms: self.ttl_ms,
            label: format!("sidecar of {}", self.candidate).into(),
        };
        let Reply::Session(opened) = self.execute(open).await? else {
            return Err(crate::convert::reply::misfit());
        };
        let session = opened.session;
        let mut life = self.ambassador.proof().life();
        let mut backoff = Backoff::default();
        let mut was_failing = false;
        while self.ambassador.holds(session) {
            if life.wait_for(|life| *life != Life::Failing).await.is_err()
                || *life.borrow() == Life::Gone
            {
                return Ok(());
            }
            let revision = match self.join(session).await {
                Ok(revision) => revision,
                Err(error) if error.code == Code::SessionExpired => return Ok(()),
                Err(error) if error.code.kind() == Kind::Rejected => {
                    // The id is another one's, say: this session stands for nothing any more.
                    self.ambassador.retire(session).await;
                    return Err(error);
                }
                Err(error) => {
                    self.pause(&mut backoff, &error).await;
                    continue;
                }
            };
            backoff.reset();
            tokio::select! {
                () = self.follow(session, revision, was_failing) => was_failing = false,
                // It failed its health check, and stands again once it is well.
                lost = life.wait_for(|life| *life == Life::Failing) => {
                    if lost.is_err() {
                        return Ok(());
                    }
                    was_failing = true;
                }
            }
        }
        Ok(())
    }

    async fn pause(&self, backoff: &mut Backoff, error: &Error) {
        tracing::warn!(%error, election = %self.election, "cannot stand for election; trying again");
        tokio::time::sleep(backoff.next(error.retry_after_ms)).await;
    }

    /// Becomes a candidate, or stands again; gives the revision to follow the election from.
    async fn join(&self, session: SessionId) -> Result<u64, Error> {
        let command = Command::Campaign(Campaign {
            election: self.election.clone(),
            candidate: self.candidate.clone(),
            liveness: Liveness::Session(session),
            priority: 0,
            metadata: "".into(),
        });
        match self.execute(command).await? {
            Reply::Campaigned(campaigned) => Ok(campaigned.revision),
            _ => Err(crate::convert::reply::misfit()),
        }
    }

    /// Follows the election while the session is held. Whose leadership is revoked is passed over until it
    /// stands anew, so after a failure (`was_failing`) that is over, the end of what was revoked ends this.
    async fn follow(&self, session: SessionId, mut after: u64, was_failing: bool) {
        let mut backoff = Backoff::default();
        while self.ambassador.holds(session) {
            let before = after;
            let Err(error) = self.observe(session, &mut after, was_failing).await else {
                return;
            };
            if after > before {
                backoff.reset();
            }
            self.pause(&mut backoff, &error).await;
        }
    }

    /// The same until the observation fails; then `after` is the last revision that was told.
    async fn observe(
        &self,
        session: SessionId,
        after: &mut u64,
        was_failing: bool,
    ) -> Result<(), Error> {
        let mut observed = self
            .ambassador
            .observe_unproven(&Self::caller(), self.election.clone(), Some(*after))
            .await?;
        let mut look = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                next = observed.next() => match next {
                    Some(told) => {
                        let told = told?;
                        *after = told.revision().unwrap_or(*after);
                        self.told(session, &told).await;
                        if was_failing && self.is_own_revoked_end(&told) {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                _ = look.tick() => {}
            }
            if !self.ambassador.holds(session) {
                return Ok(());
            }
        }
    }

    fn is_own_revoked_end(&self, observed: &Observed) -> bool {
        matches!(observed, Observed::Change(change) if matches!(
            &change.what,
            What::Ended { candidate, cause: EndCause::Revoked, .. } if *candidate == self.candidate
        ))
    }

    async fn told(&self, session: SessionId, observed: &Observed) {
        let now = match observed {
            Observed::State(view) => view.as_of,
            Observed::Change(change) => change.time,
            Observed::Unknown => return,
        };
        let own = |leader: &&Leadership| leader.candidate == self.candidate;
        let Some(leader) = observed.leader().filter(own) else {
            // Whoever leads, it is not this candidate: the next renewal says so too.
            self.ambassador.nudge();
            return;
        };
        match &leader.phase {
            Phase::Leading => self.ambassador.nudge(),
            Phase::Draining { until, .. } => self.drain(session, leader, now, *until).await,
            Phase::Revoking { .. } => {
                let until = self
                    .ambassador
                    .withdraw(session, &self.election, leader.token);
                self.ambassador.told_has_passed(until).await;
                self.drained(session, leader.token).await;
            }
        }
    }

    async fn drain(&self, session: SessionId, leader: &Leadership, now: LogTime, until: LogTime) {
        let token = leader.token;
        let within = Duration::from_millis(until.since_ms(now)).max(DRAIN_MIN);
        // It leads while it drains, so what it is told meanwhile is true.
        let stopped = self
            .hook
            .drain(self.ambassador.proof(), &self.election, token, within)
            .await;
        if stopped {
            self.ambassador.stopped(session, &self.election, token);
        }
        let until = self.ambassador.withdraw(session, &self.election, token);
        self.ambassador.told_has_passed(until).await;
        self.drained(session, token).await;
    }

    /// Acknowledges. What was given up here is given up there, also when the hand-over was called off
    /// meanwhile: nobody may lead whom nobody believes.
    async fn drained(&self, session: SessionId, token: FencingToken) {
        let drained = Command::Drained {
            election: self.election.clone(),
            session,
            token,
        };
        let resign = Command::Resign {
            election: self.election.clone(),
            session,
            token,
        };
        let ended = match self.execute(drained).await {
            Ok(Reply::Ended {
                leadership: false, ..
            }) => self.execute(resign).await,
            answer => answer,
        };
        if let Err(error) = ended {
            tracing::warn!(%error, election = %self.election, "a hand-over was not acknowledged; the lease runs out");
        }
    }

    async fn execute(&self, command: Command) -> Result<Reply, Error> {
        let executed = self.ambassador.pass_on(&Self::caller(), command).await?;
        Ok(executed.reply)
    }
}
