//! A container from start to end: bind, start, serve, drain.
//!
//! ```text
//! run(spec, settings, shutdown, start):
//!     bind API and ops           a port in use or an open door ends it here
//!     answer 503 and probes      never connection refused during start
//!     start(…)                   the pattern opens its disk, finds its peers
//!     ready → open the API
//!     order to stop              readiness off, accept nothing more, finish what is in flight
//!     service.stop               hand leadership over, sync, close
//! ```

use super::container::Container;
use super::exit::{Exit, Failure};
use super::info::Status;
use super::listen::{self, Strictness};
use super::settings::{Pattern, Settings};
use super::shutdown::Shutdown;
use axum::Router;
use futures::future::BoxFuture;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What kind of container this is.
#[derive(Debug)]
pub struct Spec {
    /// The pattern.
    pub pattern: Pattern,
    /// `serve`, `sidecar`, `work`, `dev`.
    pub role: &'static str,
    /// Version of the build.
    pub version: &'static str,
    /// Whether a breach of the bind rules stops the start.
    pub strictness: Strictness,
    /// A listener for the API that is bound already, for tests and socket activation.
    pub api: Option<TcpListener>,
    /// The same for ops.
    pub ops: Option<TcpListener>,
}

impl Spec {
    /// The usual container: binds as the settings say, refuses open doors.
    pub fn new(pattern: Pattern, role: &'static str, version: &'static str) -> Self {
        Self {
            pattern,
            role,
            version,
            strictness: Strictness::Refuse,
            api: None,
            ops: None,
        }
    }
}

/// What a service gets to start with.
#[derive(Clone, Debug)]
pub struct Starting {
    /// The settings.
    pub settings: Arc<Settings>,
    /// Where the API listens.
    pub api: SocketAddr,
    /// Where ops listens.
    pub ops: SocketAddr,
    /// Whether a breach of the bind rules stops the start.
    pub strictness: Strictness,
    /// Cancelled when the drain begins: long-polls answer, streams end.
    pub drain: CancellationToken,
}

impl Starting {
    /// Who this replica is and where it meets the others, with the bind rule for peers checked.
    pub fn peering(&self) -> Result<listen::Peering, Failure> {
        listen::peering(&self.settings, self.strictness)
    }
}

/// A started service.
pub struct Service {
    /// REST and gRPC routes (`tonic::service::Routes::into_axum_router`, merged). `/v1/info`,
    /// `/v1/wait`, `grpc.health.v1` and the fallbacks are the runtime's.
    pub api: Router,
    /// Full names of the gRPC services, for `grpc.health.v1`.
    pub grpc_services: Vec<String>,
    /// Its state. When the sender is dropped, the service has died and the container stops.
    pub status: watch::Receiver<Status>,
    /// Stops it, after the last request was answered.
    pub stop: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("grpc_services", &self.grpc_services)
            .finish_non_exhaustive()
    }
}

/// Runs a container until it is told to stop or cannot go on. Everything worth telling is logged.
pub async fn run<S, F>(spec: Spec, settings: Settings, shutdown: Shutdown, start: S) -> Exit
where
    S: FnOnce(Starting) -> F,
    F: Future<Output = Result<Service, Failure>>,
{
    let settings = Arc::new(settings);
    let outcome = match Container::listen(spec, &settings, &shutdown).await {
        Ok(container) => container.live(start).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => Exit::Ok,
        Err(failure) => {
            tracing::error!(exit = failure.exit.code(), "{failure}");
            failure.exit
        }
    }
}
