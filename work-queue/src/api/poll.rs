//! Waiting for work: the same for REST and gRPC.
//!
//! A long-poll is several short ones. The queue parks a request for at most [`SLICE`], so that a
//! container that is told to stop has answered all its long-polls soon, and none of them has to be
//! broken off at a moment when its grant may be on the way. Nothing is logged for a slice that finds
//! nothing.

use super::{Api, OPERATION_TIMEOUT};
use crate::check;
use crate::convert::reply::misfit;
use crate::machine::{Command, LeaseRequest, Reply, SessionId};
use crate::service::Caller;
use quorate_core::error::Error;
use quorate_core::machine::OpKey;
use std::time::Duration;
use tokio::time::Instant;

/// The longest time a request is parked in one go.
pub(super) const SLICE: Duration = Duration::from_secs(2);

impl Api {
    /// Executes a command that may find nothing now, and waits up to `wait_ms` for something.
    pub(super) async fn execute_waiting(
        &self,
        caller: &Caller,
        command: Command,
        wait_ms: u64,
    ) -> Result<Reply, Error> {
        check::wait_ms(wait_ms)?;
        let until = Instant::now() + Duration::from_millis(wait_ms);
        match command {
            Command::Lease(request) => self.lease(caller, request, until).await,
            Command::Settle { settle, then } => {
                let next = then.clone().filter(|_| wait_ms > 0);
                let command = Command::Settle { settle, then };
                let reply = self.execute(caller, command).await?;
                match (reply, next) {
                    (Reply::Settled { outcomes, leased }, Some(next)) => {
                        let leased = self.lease_after(caller, leased, next, until).await;
                        Ok(Reply::Settled {
                            outcomes,
                            leased: Some(leased),
                        })
                    }
                    (reply, _) => Ok(reply),
                }
            }
            command => self.execute(caller, command).await,
        }
    }

    /// Asks for work until there is some or the time is up.
    async fn lease(
        &self,
        caller: &Caller,
        request: LeaseRequest,
        until: Instant,
    ) -> Result<Reply, Error> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = if self.drain.is_cancelled() {
                Duration::ZERO
            } else {
                left.min(SLICE)
            };
            let slice = Caller {
                wait,
                timeout: OPERATION_TIMEOUT + wait,
                ..caller.clone()
            };
            let reply = self
                .execute(&slice, Command::Lease(request.clone()))
                .await?;
            let Reply::Leased { session, leases } = reply else {
                return Err(misfit());
            };
            if !leases.is_empty() || wait == left || self.drain.is_cancelled() {
                return Ok(Reply::Leased { session, leases });
            }
        }
    }

    /// Goes on waiting after a settlement whose `then` found nothing. The settlement stands: when the
    /// wait fails, the answer is that there was no work.
    async fn lease_after(
        &self,
        caller: &Caller,
        leased: Option<(SessionId, Vec<crate::machine::Lease>)>,
        mut next: LeaseRequest,
        until: Instant,
    ) -> (SessionId, Vec<crate::machine::Lease>) {
        let (session, leases) = leased.unwrap_or((SessionId::NONE, Vec::new()));
        if !leases.is_empty() {
            return (session, leases);
        }
        if session != SessionId::NONE {
            next.session = Some(session);
        }
        let caller = Caller {
            key: caller.key.as_ref().and_then(second_step),
            ..caller.clone()
        };
        match self.lease(&caller, next, until).await {
            Ok(Reply::Leased { session, leases }) => (session, leases),
            Ok(_) => (session, Vec::new()),
            Err(error) => {
                tracing::debug!(%error, "no work after a settlement");
                (session, Vec::new())
            }
        }
    }
}

/// The key of the second operation of one request. A number of a stream stands for one operation
/// only, so the second goes without.
fn second_step(key: &OpKey) -> Option<OpKey> {
    match key {
        OpKey::Idempotency { key, body } => Some(OpKey::Idempotency {
            key: key.rotate_left(1) ^ 1,
            body: *body,
        }),
        OpKey::Stream { .. } => None,
    }
}
