//! REST and gRPC over one [`ElectionService`], for one port.
//!
//! Both are thin: they read a request into a [`Command`], a [`Query`] or a [`Renewal`], check its bounds
//! ([`crate::check`]), ask the service and write the answer. The service is a replica in this process
//! (`serve`) or the client of a cluster (`sidecar`); nothing here knows which. What a candidate is told
//! of itself, bounded in time, is computed in one place for both protocols: `answer`.

pub mod grpc;
pub mod rest;

mod answer;
mod campaign;

pub use answer::{Local, Standing};

use crate::check;
use crate::machine::{Answer, Command, Query, Renewal, Renewed};
use crate::service::{Caller, ElectionService, Executed};
use quorate_core::error::Error;
use quorate_core::types::{Name, Principal};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time for an operation on top of what its caller is willing to wait for.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Everything the handlers need.
#[derive(Clone)]
pub struct Api {
    service: Arc<dyn ElectionService>,
    local: Option<Arc<dyn Local>>,
    candidate: Option<Name>,
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
    /// The API of a service. `role` is `serve`, `sidecar` or `dev`; once `drain` is cancelled,
    /// long-polls answer and streams end.
    pub fn new(
        service: Arc<dyn ElectionService>,
        role: &'static str,
        version: &'static str,
        drain: CancellationToken,
    ) -> Self {
        Self {
            service,
            local: None,
            candidate: None,
            version,
            role,
            drain,
        }
    }

    /// With what an ambassador knows of the candidates it speaks for: their answers come from there,
    /// bounded in time, also while the cluster cannot be reached.
    #[must_use]
    pub fn with_local(mut self, local: Arc<dyn Local>) -> Self {
        self.local = Some(local);
        self
    }

    /// The candidate that is meant when a request names none.
    #[must_use]
    pub fn with_candidate(mut self, candidate: Option<Name>) -> Self {
        self.candidate = candidate;
        self
    }

    /// REST with `/openapi.json`, and gRPC with reflection, on one router. `/v1/info`, `/v1/wait`,
    /// `grpc.health.v1` and the fallbacks are the container runtime's.
    ///
    /// # Errors
    /// A bug: the descriptions of the API do not encode.
    pub fn router(&self) -> Result<axum::Router, Error> {
        Ok(rest::router(self.clone())?.merge(grpc::router(self)?))
    }

    async fn execute(&self, caller: &Caller, mut command: Command) -> Result<Executed, Error> {
        check::command(&mut command)?;
        self.service.execute(caller, command).await
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        check::query(&query)?;
        self.service.query(caller, query).await
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        check::renewal(&renewal)?;
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
