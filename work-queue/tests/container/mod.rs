//! What the tests of the API share: a container with the real runtime and the real machine, but
//! without replication behind it, and a client for each protocol.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

pub mod backend;
#[path = "../../../tests/support/http.rs"]
pub mod http;
pub mod rest;

use backend::Backend;
use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{
    Exit, Failure, Pattern, Service, Settings, Shutdown, Spec, Starting, Status, run,
};
use quorate_work_queue::client::Client;
use quorate_work_queue::server::{self, compose};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running container.
pub struct Container {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub ended: JoinHandle<Exit>,
    /// What is behind it; a sidecar has a container there.
    pub backend: Option<Arc<Backend>>,
    pub blobs: Option<tempfile::TempDir>,
}

impl Container {
    /// Starts one, with a blob store if asked for, and waits until it is ready.
    pub async fn start(with_blobs: bool) -> Self {
        let blobs = with_blobs.then(|| tempfile::tempdir().unwrap());
        let url = blobs
            .as_ref()
            .map(|dir| format!("file://{}", dir.path().display()));
        let variable = url.as_deref().map(|url| ("QUORATE_BLOBS", url));
        let backend = Arc::new(Backend::default());
        let behind = Arc::clone(&backend);
        let mut container = Self::run("serve", variable, |starting| async move {
            let (sender, status) = watch::channel(Status {
                ready: true,
                ..Status::default()
            });
            // The sender lives until the service is stopped.
            let stop = Box::pin(async move { drop(sender) });
            compose(behind, "serve", &starting, status, stop)
        })
        .await;
        container.blobs = blobs;
        container.backend = Some(backend);
        container
    }

    /// Starts a sidecar in front of this container.
    pub async fn sidecar(&self) -> Self {
        let servers = self.address.to_string();
        let variable = Some(("QUORATE_SERVERS", servers.as_str()));
        Self::run("sidecar", variable, server::sidecar).await
    }

    async fn run<F>(
        role: &'static str,
        variable: Option<(&str, &str)>,
        service: impl FnOnce(Starting) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Service, Failure>> + Send + 'static,
    {
        let environment = Environment::of(variable);
        let settings =
            Settings::load_from(Pattern::WorkQueue, &FlagValues::none(), &environment).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let api = bind();
        let address = api.local_addr().unwrap();
        let spec = Spec {
            api: Some(api),
            ops: Some(bind()),
            ..Spec::new(Pattern::WorkQueue, role, "test")
        };
        let shutdown = Shutdown::manual();
        let ended = tokio::spawn(run(spec, settings, shutdown.clone(), service));
        let container = Self {
            address,
            shutdown,
            ended,
            backend: None,
            blobs: None,
        };
        let ready = container.http().get("/v1/wait?timeout_ms=10000").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        container
    }

    /// The queue behind it.
    pub fn backend(&self) -> Arc<Backend> {
        Arc::clone(self.backend.as_ref().expect("it is no sidecar"))
    }

    /// A client for REST.
    pub fn http(&self) -> http::Http {
        http::Http::new(self.address)
    }

    /// The service over REST.
    pub fn rest(&self) -> rest::Rest {
        rest::Rest(self.http())
    }

    /// The service over gRPC.
    pub fn client(&self) -> Client {
        let config = quorate_work_queue::client::Config::servers(&self.address.to_string());
        Client::new(&config).unwrap()
    }

    /// A client for gRPC, as generated.
    pub fn grpc(
        &self,
    ) -> quorate_proto::queue::queues_client::QueuesClient<tonic::transport::Channel> {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", self.address))
            .unwrap()
            .connect_lazy();
        quorate_proto::queue::queues_client::QueuesClient::new(channel)
    }
}
