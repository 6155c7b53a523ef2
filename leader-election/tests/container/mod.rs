//! What the tests of the API share: containers with the real runtime over a real replica in memory, and
//! one way of asking for each protocol.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a test's module, of which each test file uses a part"
)]

pub mod door;
pub mod events;
#[path = "../../../tests/support/http.rs"]
pub mod http;
pub mod link;

use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{
    Exit, Failure, Pattern, Service, Settings, Shutdown, Spec, Starting, run,
};
use quorate_leader_election::client::{Client, Config};
use quorate_leader_election::server;
use std::net::{SocketAddr, TcpListener};
use tokio::task::JoinHandle;

/// A running container.
pub struct Container {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub ended: JoinHandle<Exit>,
}

impl Container {
    /// A server of its own, in memory.
    pub async fn start() -> Self {
        Self::run("dev", &[], server::replica_in_memory).await
    }

    /// A sidecar in front of this container.
    pub async fn sidecar(&self, variables: &[(&str, &str)]) -> Self {
        Self::sidecar_of(self.address, variables).await
    }

    /// A sidecar in front of a container at this address, perhaps over a link.
    pub async fn sidecar_of(server: SocketAddr, variables: &[(&str, &str)]) -> Self {
        let servers = server.to_string();
        let mut all = vec![("QUORATE_SERVERS", servers.as_str())];
        all.extend_from_slice(variables);
        Self::run("sidecar", &all, server::sidecar).await
    }

    async fn run<F>(
        role: &'static str,
        variables: &[(&str, &str)],
        service: impl FnOnce(Starting) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Service, Failure>> + Send + 'static,
    {
        let environment = Environment::of(variables.iter().copied());
        let flags = FlagValues::none();
        let settings = Settings::load_from(Pattern::LeaderElection, &flags, &environment).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let api = bind();
        let address = api.local_addr().unwrap();
        let spec = Spec {
            api: Some(api),
            ops: Some(bind()),
            ..Spec::new(Pattern::LeaderElection, role, "test")
        };
        let shutdown = Shutdown::manual();
        let ended = tokio::spawn(run(spec, settings, shutdown.clone(), service));
        let container = Self {
            address,
            shutdown,
            ended,
        };
        let ready = container.http().get("/v1/wait?timeout_ms=30000").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        container
    }

    /// A client for REST.
    pub fn http(&self) -> http::Http {
        http::Http::new(self.address)
    }

    /// The service over gRPC.
    pub fn client(&self) -> Client {
        Client::new(&Config::servers(&self.address.to_string())).unwrap()
    }

    /// A client for gRPC, as generated.
    pub fn grpc(&self) -> door::Grpc {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy();
        door::Grpc::new(channel)
    }
}
