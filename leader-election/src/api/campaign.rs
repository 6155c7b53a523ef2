//! Campaigning and waiting for leadership: the same for REST and gRPC.
//!
//! The campaign itself is answered at once; waiting is observing the election after the answer's
//! revision. While a request waits it keeps the candidate's session alive: its open connection stands
//! for the application, for as long as the request may last. What ends the wait is leadership that a
//! renewal has covered, never an event alone.

use super::Api;
use super::answer::Bounded;
use crate::check;
use crate::convert::reply::misfit;
use crate::machine::{Campaign, Campaigned, Command, Reply};
use crate::service::{Caller, Executed, Observation};
use futures::StreamExt as _;
use quorate_core::error::{Error, Kind};
use quorate_core::types::{Mono, Name};
use std::time::Duration;
use tokio::time::Instant;

/// Renewals within the trust of one: two may get lost.
const RENEWALS_PER_TRUST: u32 = 3;
/// Before an observation that broke is tried again.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a campaign.
#[derive(Debug)]
pub(super) struct Waited {
    pub(super) campaigned: Campaigned,
    pub(super) replayed: bool,
    pub(super) answer: Bounded,
}

impl Api {
    /// Campaigns and waits up to `wait_ms` for leadership. `received` is when the request arrived.
    pub(super) async fn campaign_waiting(
        &self,
        caller: &Caller,
        campaign: Campaign,
        wait_ms: u64,
        received: Mono,
    ) -> Result<Waited, Error> {
        check::wait_ms(wait_ms)?;
        let until = Instant::now() + Duration::from_millis(wait_ms);
        let (election, candidate) = (campaign.election.clone(), campaign.candidate.clone());
        let executed = self.execute(caller, Command::Campaign(campaign)).await?;
        let Executed {
            reply: Reply::Campaigned(campaigned),
            replayed,
        } = executed
        else {
            return Err(misfit());
        };
        let mut waiting = Waiting {
            api: self,
            caller: Caller {
                key: None,
                ..caller.clone()
            },
            campaigned: &campaigned,
            election,
            candidate,
            received,
        };
        let answer = waiting.until(until).await?;
        Ok(Waited {
            campaigned,
            replayed,
            answer,
        })
    }
}

struct Waiting<'a> {
    api: &'a Api,
    caller: Caller,
    campaigned: &'a Campaigned,
    election: Name,
    candidate: Name,
    received: Mono,
}

impl Waiting<'_> {
    async fn until(&mut self, until: Instant) -> Result<Bounded, Error> {
        let mut answer = self.renew().await?;
        let beat = self.campaigned.terms.trust() / RENEWALS_PER_TRUST;
        let mut after = self.campaigned.revision;
        let mut observation: Option<Observation> = None;
        while !answer.leads() && Instant::now() < until && !self.api.drain.is_cancelled() {
            if observation.is_none() {
                observation = self.observe(after, until).await?;
            }
            let next_beat = Instant::now() + beat;
            let elected = loop {
                let Some(stream) = &mut observation else {
                    break false;
                };
                tokio::select! {
                    observed = stream.next() => match observed {
                        Some(Ok(observed)) => {
                            after = observed.revision().map_or(after, |told| after.max(told));
                            let leader = observed.leader();
                            if leader.is_some_and(|leader| leader.candidate == self.candidate) {
                                break true;
                            }
                        }
                        Some(Err(error)) if error.code.kind() == Kind::Rejected => return Err(error),
                        Some(Err(_)) | None => observation = None,
                    },
                    () = tokio::time::sleep_until(next_beat.min(until)) => break false,
                    () = self.api.drain.cancelled() => break false,
                }
            };
            match self.renew().await {
                Ok(renewed) => answer = renewed,
                // A change of leader in the cluster: the session outlives it.
                Err(error) if error.code.kind() == Kind::Rejected => return Err(error),
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
            if elected && !answer.leads() {
                // Elected and revoked or resigned at once; the next word of the election tells.
                tokio::task::yield_now().await;
            }
        }
        Ok(answer)
    }

    async fn renew(&self) -> Result<Bounded, Error> {
        let session = self.campaigned.session;
        self.api
            .renewed_answer(
                &self.caller,
                session,
                &self.election,
                &self.candidate,
                self.received,
            )
            .await
    }

    /// `None` when it cannot be done just now; then there is a pause.
    async fn observe(&self, after: u64, until: Instant) -> Result<Option<Observation>, Error> {
        let election = self.election.clone();
        let asked = self
            .api
            .service
            .observe(&self.caller, election, Some(after));
        match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(observation)) => Ok(Some(observation)),
            Ok(Err(error)) if error.code.kind() == Kind::Rejected => Err(error),
            Ok(Err(_)) => {
                tokio::time::sleep(PAUSE).await;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}
