//! Standing for an election until it is won.

use super::Election;
use super::guard::Guard;
use super::keeper::Session;
use super::lease::{HandOver, Lease, Standing};
use crate::convert::reply::misfit;
use crate::machine::{
    Campaign as Candidacy, Campaigned, Command, Leadership, LeaveCause, Liveness, Phase, Reply,
    What,
};
use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use quorate_core::error::{Code, Error};
use quorate_core::retry::idempotent;
use quorate_core::types::{FencingToken, Name};
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A campaign that begins when it is awaited, and ends with leadership.
#[derive(Clone, Debug)]
#[must_use = "a campaign begins when it is awaited"]
pub struct Campaign {
    handle: Election,
    election: String,
    priority: u32,
    metadata: Arc<str>,
    margin: Option<Duration>,
}

impl Campaign {
    pub(super) fn new(handle: Election, election: &str) -> Self {
        Self {
            handle,
            election: election.to_owned(),
            priority: 0,
            metadata: Arc::from(""),
            margin: None,
        }
    }

    /// Higher is elected first; among equals who came first. 0 by default, up to 1000.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Text shown with the candidate, an address for example; up to 1 KiB.
    pub fn metadata(mut self, metadata: &str) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// How long before the lease ends [`Guard::run`] stops what it runs; a twentieth of the lease by
    /// default. Give it what the work needs to come to a standstill once it is dropped.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    async fn run(self) -> Result<Guard, Error> {
        let election = Name::new(&self.election)?;
        let candidate = self.handle.candidate.clone();
        // A guard that was just dropped leaves the election; that must not end this candidacy.
        self.handle.keeper.left(&election, &candidate).await;
        loop {
            let timeout = self.handle.timeout;
            let session = idempotent(timeout, || self.handle.keeper.session(timeout)).await?;
            let campaigned = match self.stand(&session, &election, &candidate).await {
                Ok(campaigned) => campaigned,
                Err(error) if error.code == Code::SessionExpired => {
                    session.end();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut leaving = Leaving {
                handle: &self.handle,
                session: &session,
                election: &election,
                candidate: &candidate,
                stays: false,
            };
            let observation = self
                .handle
                .observe_after(election.clone(), Some(campaigned.revision))
                .await?;
            let waiting = Waiting {
                session: &session,
                observation,
                election: &election,
                candidate: &candidate,
            };
            if let Some((lease, observation)) = waiting.leadership(&campaigned).await? {
                leaving.stays = true;
                drop(leaving);
                // What is observed of it stands for its lease from here on.
                self.handle.contact.look();
                let guard = Guard::new(
                    self.handle.clone(),
                    session,
                    lease,
                    observation,
                    self.margin,
                );
                return Ok(guard);
            }
        }
    }

    async fn stand(
        &self,
        session: &Session,
        election: &Name,
        candidate: &Name,
    ) -> Result<Campaigned, Error> {
        let command = Command::Campaign(Candidacy {
            election: election.clone(),
            candidate: candidate.clone(),
            liveness: Liveness::Session(session.id),
            priority: self.priority,
            metadata: Arc::clone(&self.metadata),
        });
        match self.handle.execute(command).await? {
            Reply::Campaigned(campaigned) => Ok(campaigned),
            _ => Err(misfit()),
        }
    }
}

impl IntoFuture for Campaign {
    type Output = Result<Guard, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

/// A campaign that is given up (its future is dropped) leaves the election.
struct Leaving<'a> {
    handle: &'a Election,
    session: &'a Session,
    election: &'a Name,
    candidate: &'a Name,
    stays: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.stays && !self.session.has_ended() {
            let (session, election, candidate) = (self.session.id, self.election, self.candidate);
            self.handle.keeper.leave(session, election, candidate);
        }
    }
}

struct Waiting<'a> {
    session: &'a Arc<Session>,
    observation: Observation,
    election: &'a Name,
    candidate: &'a Name,
}

impl Waiting<'_> {
    /// Waits for leadership that a renewal has covered. `None` when the candidacy is lost.
    async fn leadership(
        mut self,
        campaigned: &Campaigned,
    ) -> Result<Option<(Arc<Lease>, Observation)>, Error> {
        let mut elected = campaigned
            .token
            .map(|token| (token, campaigned.revision, None));
        loop {
            let (token, revision, asked) = match elected.take() {
                Some(elected) => elected,
                None => {
                    let observed = tokio::select! {
                        observed = self.observation.next() => observed,
                        () = self.session.ended() => return Ok(None),
                    };
                    let Some(observed) = observed.transpose()? else {
                        return Ok(None);
                    };
                    match self.tells(&observed) {
                        Told::Elected(token, revision, asked) => (token, revision, asked),
                        Told::Gone => return Ok(None),
                        Told::Nothing => continue,
                    }
                }
            };
            let lease = Arc::new(Lease::new(
                self.election.clone(),
                self.candidate.clone(),
                token,
                revision,
                self.session.terms,
            ));
            lease.drain(asked);
            self.session.add(&lease);
            self.session.nudge();
            if covered(&lease, self.session).await {
                return Ok(Some((lease, self.observation)));
            }
            self.session.remove(token);
            if self.session.has_ended() {
                return Ok(None);
            }
        }
    }

    fn tells(&self, observed: &Observed) -> Told {
        match observed {
            // The session tells when it is lost.
            Observed::Unknown => Told::Nothing,
            Observed::State(view) => {
                let standing = view
                    .candidates
                    .iter()
                    .any(|c| c.candidate == *self.candidate);
                match view.leader.as_deref().and_then(|leader| self.own(leader)) {
                    Some((token, asked)) => Told::Elected(token, view.revision, asked),
                    None if standing => Told::Nothing,
                    None => Told::Gone,
                }
            }
            Observed::Change(change) => match &change.what {
                What::Left {
                    candidate,
                    cause: LeaveCause::Left | LeaveCause::Closed | LeaveCause::Expired,
                } if candidate == self.candidate => Told::Gone,
                What::Removed => Told::Gone,
                _ => match change.leader.as_deref().and_then(|leader| self.own(leader)) {
                    Some((token, asked)) => Told::Elected(token, change.revision, asked),
                    None => Told::Nothing,
                },
            },
        }
    }

    fn own(&self, leader: &Leadership) -> Option<(FencingToken, Option<HandOver>)> {
        if leader.candidate != *self.candidate {
            return None;
        }
        match &leader.phase {
            Phase::Leading => Some((leader.token, None)),
            Phase::Draining { to, until } => {
                let asked = HandOver {
                    to: to.clone(),
                    until: *until,
                };
                Some((leader.token, Some(asked)))
            }
            Phase::Revoking { .. } => None,
        }
    }
}

enum Told {
    Nothing,
    Elected(FencingToken, u64, Option<HandOver>),
    Gone,
}

/// Waits for the first renewal that covers a lease. False when it ended before.
async fn covered(lease: &Lease, session: &Session) -> bool {
    let mut standing = lease.standing();
    loop {
        let over = matches!(
            *standing.borrow_and_update(),
            Standing::Revoked | Standing::Over
        );
        if over || lease.is_valid() {
            return !over;
        }
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return false },
            () = session.ended() => return false,
        }
    }
}
