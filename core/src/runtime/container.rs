//! The inside of [`super::app::run`]: what is held while a container lives, and the order in which it
//! is let go.

use super::app::{Service, Spec, Starting};
use super::exit::Failure;
use super::front::Front;
use super::guard::Guard;
use super::info::{self, Common, Condition, Identity, Phase, Status};
use super::listen::{self, Strictness};
use super::metrics::{Metrics, UPKEEP_EVERY};
use super::serve::{Limits, Server};
use super::settings::Settings;
use super::shutdown::Shutdown;
use super::{health, problem, process, token};
use crate::tls::listener::ListenerTls;
use axum::Router;
use futures::future::BoxFuture;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of the ops listener: probes, a scraper, a few browsers.
const OPS_CONNECTIONS_MAX: usize = 64;

/// Of the grace, this share is kept for the service's own stop when requests in flight use up theirs.
const STOP_SHARE: u32 = 4;

/// A container that listens.
pub(super) struct Container {
    settings: Arc<Settings>,
    identity: Identity,
    strictness: Strictness,
    shutdown: Shutdown,
    condition: watch::Sender<Condition>,
    front: Arc<Front>,
    health: tonic_health::server::HealthReporter,
    api: SocketAddr,
    ops: SocketAddr,
    drain: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    /// Ended by dropping this.
    _background: tokio_util::sync::DropGuard,
    background: CancellationToken,
}

impl Container {
    /// Binds both listeners and answers on them: probes, and 503 for the rest.
    pub(super) async fn listen(
        spec: Spec,
        settings: &Arc<Settings>,
        shutdown: &Shutdown,
    ) -> Result<Self, Failure> {
        process::raise_descriptors();
        let metrics = Metrics::install()
            .inspect_err(|error| tracing::warn!(%error, "no metrics on this process's ops port"))
            .ok();
        let identity = Identity {
            pattern: spec.pattern,
            role: spec.role,
            version: spec.version,
        };
        metrics::gauge!(
            "quorate_build_info",
            "version" => spec.version, "pattern" => spec.pattern.as_str(), "role" => spec.role
        )
        .set(1.0);
        let api_listener = match spec.api {
            Some(listener) => listener,
            None => {
                let address = listen::resolve("listen", &settings.listen)?;
                listen::check_api(address, settings, spec.strictness)?;
                listen::bind("listen", address)?
            }
        };
        let ops_listener = match spec.ops {
            Some(listener) => listener,
            None => listen::bind(
                "ops_listen",
                listen::resolve("ops_listen", &settings.ops_listen)?,
            )?,
        };
        let (api, api_listener) = adopt("listen", api_listener)?;
        let (ops, ops_listener) = adopt("ops_listen", ops_listener)?;
        listen::check_api(api, settings, spec.strictness)?;
        let guard = Guard::api(api, settings)?;
        let tls = match settings.listener_tls() {
            None => None,
            Some(files) => {
                let opened = ListenerTls::open(&files.cert, &files.key, files.ca.as_deref());
                Some(Arc::new(
                    opened.map_err(|error| Failure::config(error.to_string()))?,
                ))
            }
        };

        let (condition, watching) = watch::channel(Condition::default());
        let common = Common {
            identity,
            condition: watching,
        };
        let (reporter, health_routes) = health::grpc().await;
        let always = problem::complete(info::router(common.clone()).merge(health_routes));
        let front = Arc::new(Front::closed(guard, always, ALWAYS));
        let ops_front = Arc::new(Front::opened(
            Guard::ops(ops, settings),
            problem::complete(health::router(health::Ops {
                common,
                metrics: metrics.clone(),
            })),
        ));

        let background = CancellationToken::new();
        let container = Self {
            settings: Arc::clone(settings),
            identity,
            strictness: spec.strictness,
            shutdown: shutdown.clone(),
            condition,
            front,
            health: reporter,
            api,
            ops,
            drain: CancellationToken::new(),
            cut: CancellationToken::new(),
            connections: TaskTracker::new(),
            _background: background.clone().drop_guard(),
            background,
        };
        container.serve(api_listener, tls, ops_listener, ops_front);
        container.keep_house(metrics);
        tracing::info!(pattern = %spec.pattern, role = spec.role, version = spec.version, %api, %ops, "listening");
        Ok(container)
    }

    fn serve(
        &self,
        api: tokio::net::TcpListener,
        tls: Option<Arc<ListenerTls>>,
        ops: tokio::net::TcpListener,
        ops_front: Arc<Front>,
    ) {
        let connections = usize::try_from(self.settings.max_connections).unwrap_or(usize::MAX);
        let api_server = Server {
            front: Arc::clone(&self.front),
            limits: Limits {
                connections,
                ..Limits::default()
            },
            tls,
            drain: self.drain.clone(),
            cut: self.cut.clone(),
            connections: self.connections.clone(),
            name: "api",
        };
        tokio::spawn(api_server.run(api));
        // Probes must be answered during the drain, so ops ends with the process.
        let ops_server = Server {
            front: ops_front,
            limits: Limits {
                connections: OPS_CONNECTIONS_MAX,
                ..Limits::default()
            },
            tls: None,
            drain: self.background.clone(),
            cut: self.background.clone(),
            connections: TaskTracker::new(),
            name: "ops",
        };
        tokio::spawn(ops_server.run(ops));
    }

    /// Small things done from time to time, until the container ends.
    fn keep_house(&self, metrics: Option<Metrics>) {
        let tokens = self.front.guard().tokens().cloned();
        let background = self.background.clone();
        tokio::spawn(background.run_until_cancelled_owned(async move {
            let mut reload = tokio::time::interval(token::RELOAD_EVERY);
            let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
            loop {
                tokio::select! {
                    _ = reload.tick(), if tokens.is_some() => {
                        if let Some(tokens) = tokens.clone() {
                            // Files block; a failed task would be our panic, told by its hook.
                            let _ = tokio::task::spawn_blocking(move || tokens.reload()).await;
                        }
                    }
                    _ = upkeep.tick() => {
                        if let Some(metrics) = &metrics {
                            metrics.upkeep();
                        }
                    }
                }
            }
        }));
    }

    /// Starts the service, serves until the order to stop, drains.
    pub(super) async fn live<S, F>(self, start: S) -> Result<(), Failure>
    where
        S: FnOnce(Starting) -> F,
        F: Future<Output = Result<Service, Failure>>,
    {
        let starting = Starting {
            settings: Arc::clone(&self.settings),
            api: self.api,
            ops: self.ops,
            strictness: self.strictness,
            drain: self.drain.clone(),
        };
        let begin = Instant::now();
        let service = tokio::select! {
            started = start(starting) => started?,
            () = self.shutdown.wait() => {
                tracing::info!("stopped before the service was started");
                return Ok(());
            }
        };
        let Service {
            api,
            grpc_services,
            mut status,
            stop,
        } = service;
        self.condition
            .send_modify(|condition| condition.phase = Phase::Running);
        let reporting = health::report(
            self.health.clone(),
            grpc_services,
            self.condition.subscribe(),
        );
        tokio::spawn(self.background.clone().run_until_cancelled_owned(reporting));
        metrics::gauge!("quorate_start_seconds").set(begin.elapsed().as_secs_f64());

        let ended = self.follow(&mut status, api, begin).await;
        self.drain(stop).await;
        ended
    }

    /// Passes the service's status on until the order to stop. Opens the API when it is first ready.
    async fn follow(
        &self,
        status: &mut watch::Receiver<Status>,
        api: Router,
        begin: Instant,
    ) -> Result<(), Failure> {
        let mut api = Some(api);
        let ready = metrics::gauge!("quorate_ready", "pattern" => self.identity.pattern.as_str());
        loop {
            let now = status.borrow_and_update().clone();
            ready.set(if now.ready { 1.0 } else { 0.0 });
            self.front.waiting_for(if now.reason.is_empty() {
                "starting"
            } else {
                &now.reason
            });
            if now.ready
                && let Some(api) = api.take()
            {
                self.front.open(problem::complete(api));
                let ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(api = %self.api, after_ms = ms, "ready");
            }
            self.condition
                .send_modify(|condition| condition.status = now);
            tokio::select! {
                () = self.shutdown.wait() => return Ok(()),
                changed = status.changed() => {
                    if changed.is_err() {
                        return Err(Failure::unavailable("the service has ended; see above why"));
                    }
                }
            }
        }
    }

    async fn drain(&self, stop: BoxFuture<'static, ()>) {
        let grace = self.settings.shutdown_grace_ms.duration();
        let end = Instant::now() + grace;
        self.condition
            .send_modify(|condition| condition.phase = Phase::Draining);
        metrics::gauge!("quorate_ready", "pattern" => self.identity.pattern.as_str()).set(0.0);
        self.drain.cancel();
        self.connections.close();
        let for_requests = end - grace / STOP_SHARE;
        if tokio::time::timeout_at(for_requests, self.connections.wait())
            .await
            .is_err()
        {
            let connections = self.connections.len();
            tracing::warn!(
                connections,
                "the grace is nearly over: cutting connections that still work"
            );
            self.cut.cancel();
        }
        let at_least = Instant::now() + Duration::from_millis(500);
        if tokio::time::timeout_at(end.max(at_least), stop)
            .await
            .is_err()
        {
            tracing::warn!("the service did not stop within the grace; ending without it");
        }
        tracing::info!("stopped");
    }
}

/// Whole paths that are answered from the first moment on.
const ALWAYS: &[&str] = &[
    info::INFO_PATH,
    info::WAIT_PATH,
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
];

fn adopt(
    name: &str,
    listener: TcpListener,
) -> Result<(SocketAddr, tokio::net::TcpListener), Failure> {
    let adopted = || {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((address, tokio::net::TcpListener::from_std(listener)?))
    };
    adopted()
        .map_err(|error| Failure::unavailable(format!("{name}: cannot use the listener: {error}")))
}
