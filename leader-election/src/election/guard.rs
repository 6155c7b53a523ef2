//! Leadership that this process holds.

use super::Election;
use super::keeper::Session;
use super::lease::{HandOver, Lease, Standing};
use crate::machine::{Command, Phase};
use crate::service::{Caller, Observation};
use futures::StreamExt as _;
use quorate_core::clock;
use quorate_core::error::Error;
use quorate_core::types::{FencingToken, Mono, Name};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The margin before the end of a lease is this part of its trust, within the bounds below.
const MARGIN_PART: u32 = 20;
const MARGIN_MIN: Duration = Duration::from_millis(10);
const MARGIN_MAX: Duration = Duration::from_millis(500);

/// Leadership of one election, from a covered grant to its end.
///
/// What depends on leadership runs within [`Guard::run`], which stops it before anybody else can be
/// elected, and takes the fencing token along to what it writes to. Dropping the guard gives leadership
/// up; the process is no candidate any more then.
pub struct Guard {
    /// Keeps the session renewed.
    handle: Election,
    session: Arc<Session>,
    lease: Arc<Lease>,
    margin: Duration,
    watcher: JoinHandle<()>,
    given_up: bool,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// Leadership is lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leadership of {election} under token {token} is over: {why}")]
pub struct Lost {
    /// The election.
    pub election: Name,
    /// The token that is void.
    pub token: FencingToken,
    /// Why.
    pub why: Why,
}

/// Why leadership was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// It could not be renewed in time: the cluster is out of reach, or this process stood still.
    #[error("it was not renewed in time")]
    Expired,
    /// It was handed over as ordered.
    #[error("it was handed over")]
    HandedOver,
    /// It was revoked.
    #[error("it was revoked")]
    Revoked,
    /// It ended: given up here, taken by force, or the session was lost.
    #[error("it has ended")]
    Ended,
}

impl Guard {
    pub(super) fn new(
        handle: Election,
        session: Arc<Session>,
        lease: Arc<Lease>,
        observation: Observation,
        margin: Option<Duration>,
    ) -> Self {
        let trust = session.terms.trust();
        let margin = margin.unwrap_or((trust / MARGIN_PART).clamp(MARGIN_MIN, MARGIN_MAX));
        Self {
            handle,
            watcher: tokio::spawn(watch(Arc::clone(&lease), observation)),
            session,
            lease,
            margin: margin.min(trust / 2),
            given_up: false,
        }
    }

    /// The election.
    pub fn election(&self) -> &Name {
        &self.lease.election
    }

    /// This process as a candidate.
    pub fn candidate(&self) -> &Name {
        &self.lease.candidate
    }

    /// The fencing token: goes with everything that is written as leader.
    pub fn token(&self) -> FencingToken {
        self.lease.token
    }

    /// Whether this process leads at this instant: one atomic load and one reading of the clock. It says
    /// nothing of the next instant; prefer [`Guard::run`].
    pub fn is_leader(&self) -> bool {
        self.lease.is_valid()
    }

    /// How much longer it leads if no renewal comes any more; zero when it does not.
    pub fn valid_for(&self) -> Duration {
        self.lease.valid_for()
    }

    /// When it ends if no renewal comes any more: a reading of CLOCK_BOOTTIME, which is the same for all
    /// processes of this machine; 0 when it has ended.
    pub fn valid_until(&self) -> Mono {
        self.lease.until()
    }

    /// Runs `work` for as long as this process leads, and gives what it gives.
    ///
    /// `work` is polled no more, and dropped, at the latest the margin before the lease ends, also when
    /// the whole process stood still meanwhile: the clock is looked at before each poll. When a hand-over
    /// is ordered it is dropped at once, and the hand-over acknowledged. What `work` has spawned or
    /// computes without awaiting is not stopped by that: let it look at [`Guard::is_leader`], and let the
    /// fencing token protect what it writes to.
    ///
    /// # Errors
    /// Leadership was lost before `work` ended.
    pub async fn run<T, F>(&self, work: impl FnOnce(FencingToken) -> F) -> Result<T, Lost>
    where
        F: Future<Output = T>,
    {
        self.run_inner(work(self.token()), None).await
    }

    /// As [`Guard::run`], for work that wants to finish properly: when a hand-over is ordered the token
    /// `drain` is cancelled, and `work` goes on until it ends or its time is over. Its end is the
    /// acknowledgement: the process leads no longer then, also when `work` gives `Ok`.
    ///
    /// # Errors
    /// Leadership was lost before `work` ended.
    pub async fn run_draining<T, F>(
        &self,
        work: impl FnOnce(FencingToken, CancellationToken) -> F,
    ) -> Result<T, Lost>
    where
        F: Future<Output = T>,
    {
        let drain = CancellationToken::new();
        let work = work(self.token(), drain.clone());
        self.run_inner(work, Some(drain)).await
    }

    async fn run_inner<T>(
        &self,
        work: impl Future<Output = T>,
        drain: Option<CancellationToken>,
    ) -> Result<T, Lost> {
        let mut standing = self.lease.standing();
        let outcome = {
            let mut work = pin!(work);
            loop {
                let now = standing.borrow_and_update().clone();
                match (now, &drain) {
                    (Standing::Revoked, _) => break Err(Why::Revoked),
                    (Standing::Over, _) => break Err(Why::Ended),
                    (Standing::Draining(_), None) => break Err(Why::HandedOver),
                    (Standing::Draining(_), Some(drain)) => drain.cancel(),
                    (Standing::Pending | Standing::Leading, _) => {}
                }
                let left = self.left();
                if left.is_zero() {
                    break Err(Why::Expired);
                }
                let checked = Checked {
                    guard: self,
                    work: work.as_mut(),
                };
                tokio::select! {
                    biased;
                    changed = standing.changed() => if changed.is_err() { break Err(Why::Ended) },
                    () = tokio::time::sleep(left) => {}
                    done = checked => match done {
                        Some(done) => break Ok(done),
                        None => break Err(Why::Expired),
                    },
                }
            }
            // The work is dropped here, before anybody is told that it has come to a standstill.
        };
        let why = match outcome {
            Ok(done) => {
                if drain.is_some_and(|drain| drain.is_cancelled()) {
                    self.lease.release();
                    self.acknowledge().await;
                }
                return Ok(done);
            }
            Err(why) => why,
        };
        self.lease.release();
        match why {
            Why::HandedOver | Why::Revoked => self.acknowledge().await,
            Why::Expired | Why::Ended => {}
        }
        Err(Lost {
            election: self.lease.election.clone(),
            token: self.lease.token,
            why,
        })
    }

    /// What is left until the margin before the end.
    fn left(&self) -> Duration {
        self.lease.valid_for().saturating_sub(self.margin)
    }

    fn stop_at(&self) -> Mono {
        let margin = u64::try_from(self.margin.as_nanos()).unwrap_or(u64::MAX);
        Mono(self.lease.until().0.saturating_sub(margin))
    }

    /// Waits until a hand-over is ordered, for programs that do not use [`Guard::run`]: finish, then
    /// [`Guard::hand_over`]. `None` when leadership ends otherwise.
    pub async fn draining(&self) -> Option<HandOver> {
        let mut standing = self.lease.standing();
        loop {
            match &*standing.borrow_and_update() {
                Standing::Draining(asked) => return Some(asked.clone()),
                Standing::Revoked | Standing::Over => return None,
                Standing::Pending | Standing::Leading => {}
            }
            if standing.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Waits until leadership is lost.
    pub async fn lost(&self) {
        let mut standing = self.lease.standing();
        loop {
            let left = self.lease.valid_for();
            if left.is_zero()
                || matches!(
                    *standing.borrow_and_update(),
                    Standing::Revoked | Standing::Over
                )
            {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = standing.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Acknowledges a hand-over or a revocation: everything that depended on leadership has stopped.
    pub async fn hand_over(self) {
        self.lease.release();
        self.acknowledge().await;
    }

    /// Gives leadership up, and is no candidate any more.
    ///
    /// # Errors
    /// It is not known whether it was heard; it ends with the lease in any case.
    pub async fn resign(mut self) -> Result<(), Error> {
        self.given_up = true;
        // Trust ends before the word is sent.
        self.lease.end(Standing::Over);
        self.session.remove(self.lease.token);
        let command = self.leave();
        let caller = self.caller();
        match self.handle.service.execute(&caller, command).await {
            Ok(_) => Ok(()),
            // It was over before.
            Err(error) if error.code.kind() == quorate_core::error::Kind::Rejected => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn acknowledge(&self) {
        let command = Command::Drained {
            election: self.lease.election.clone(),
            session: self.session.id,
            token: self.lease.token,
        };
        let caller = self.caller();
        if let Err(error) = self.handle.service.execute(&caller, command).await {
            tracing::debug!(%error, "an end was not acknowledged; the lease runs out");
        }
    }

    fn leave(&self) -> Command {
        Command::Leave {
            election: self.lease.election.clone(),
            candidate: self.lease.candidate.clone(),
            session: self.session.id,
        }
    }

    fn caller(&self) -> Caller {
        Caller {
            // Beyond it the lease has run out anyway.
            timeout: self.session.terms.patience(),
            ..Caller::default()
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watcher.abort();
        self.lease.end(Standing::Over);
        self.session.remove(self.lease.token);
        if !self.given_up && !self.session.has_ended() {
            let (election, candidate) = (&self.lease.election, &self.lease.candidate);
            self.handle
                .keeper
                .leave(self.session.id, election, candidate);
        }
    }
}

/// Follows what happens to the leadership.
async fn watch(lease: Arc<Lease>, mut observation: Observation) {
    while let Some(Ok(observed)) = observation.next().await {
        // A doubt says nothing of a lease, which has its own deadline.
        let Some(revision) = observed.revision() else {
            continue;
        };
        let leader = observed.leader();
        match leader.filter(|leader| leader.token == lease.token) {
            // An older word than the one that elected it.
            None if revision < lease.confirmed() => {}
            None => {
                lease.end(Standing::Over);
                return;
            }
            Some(leader) => match &leader.phase {
                Phase::Leading => lease.drain(None),
                Phase::Draining { to, until } => lease.drain(Some(HandOver {
                    to: to.clone(),
                    until: *until,
                })),
                Phase::Revoking { .. } => lease.end(Standing::Revoked),
            },
        }
    }
}

/// Looks at the clock before each poll, so that a process that stood still polls its work no more.
struct Checked<'a, F> {
    guard: &'a Guard,
    work: Pin<&'a mut F>,
}

impl<F: Future> Future for Checked<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if clock::boottime() >= self.guard.stop_at() {
            return Poll::Ready(None);
        }
        self.work.as_mut().poll(context).map(Some)
    }
}
