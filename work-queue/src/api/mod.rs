//! REST and gRPC over one [`QueueService`], for one port.
//!
//! Both are thin: they read a request into a [`Command`], a [`Query`] or a renewal, check its bounds
//! ([`crate::check`]), ask the service and write the answer. The service is a replica in this process
//! (`serve`) or the client of a cluster (`sidecar`); nothing here knows which. Who asks was decided
//! before the request was routed, by the container's guard, which leaves a [`Principal`] in the
//! request's extensions.

pub mod grpc;
pub mod rest;

mod poll;

use crate::check;
use crate::machine::{Answer, Command, Query, Renewal, Renewed, Reply};
use crate::service::{Caller, QueueService};
use quorate_core::error::Error;
use quorate_core::types::Principal;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time for an operation on top of what its caller is willing to wait for work.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything the handlers need.
#[derive(Clone)]
pub struct Api {
    service: Arc<dyn QueueService>,
    blobs: Option<rest::BlobStore>,
    version: &'static str,
    role: &'static str,
    drain: CancellationToken,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Api {
    /// The API of a service. `role` is `serve` or `sidecar`; once `drain` is cancelled, long-polls
    /// answer and streams end.
    pub fn new(
        service: Arc<dyn QueueService>,
        role: &'static str,
        version: &'static str,
        drain: CancellationToken,
    ) -> Self {
        Self {
            service,
            blobs: None,
            version,
            role,
            drain,
        }
    }

    /// With a store behind `/v1/blobs`.
    #[must_use]
    pub fn with_blobs(mut self, blobs: Option<rest::BlobStore>) -> Self {
        self.blobs = blobs;
        self
    }

    /// REST with `/openapi.json`, and gRPC with reflection, on one router. `/v1/info`, `/v1/wait`,
    /// `grpc.health.v1` and the fallbacks are the container runtime's.
    pub fn router(&self) -> Result<axum::Router, Error> {
        Ok(rest::router(self.clone())?.merge(grpc::router(self)?))
    }

    async fn execute(&self, caller: &Caller, mut command: Command) -> Result<Reply, Error> {
        let Command::Settle { settle, then } = &mut command else {
            check::command(&mut command)?;
            return self.service.execute(caller, command).await;
        };
        let refused = check::sift(settle);
        let nothing_left = !refused.is_empty() && settle.is_empty() && then.is_none();
        let mut reply = if nothing_left {
            Reply::Settled {
                outcomes: Vec::new(),
                leased: None,
            }
        } else {
            check::command(&mut command)?;
            self.service.execute(caller, command).await?
        };
        if let Reply::Settled { outcomes, .. } = &mut reply {
            for (place, error) in refused {
                outcomes.insert(place.min(outcomes.len()), Err(error));
            }
        }
        Ok(reply)
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        check::query(&query)?;
        self.service.query(caller, query).await
    }

    async fn renew(&self, caller: &Caller, mut renewal: Renewal) -> Result<Renewed, Error> {
        check::renewal(&mut renewal)?;
        self.service.renew(caller, renewal).await
    }
}

/// A caller with this principal and the time an operation may take.
fn caller(principal: Option<&Principal>) -> Caller {
    Caller {
        principal: principal.cloned().unwrap_or_else(Principal::anonymous),
        key: None,
        timeout: OPERATION_TIMEOUT,
        wait: Duration::ZERO,
    }
}
