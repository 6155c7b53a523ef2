//! `quorate run`: an application and its sidecar, where no orchestrator keeps them together.
//!
//! ```text
//! start:  sidecar binds → is ready → application starts
//! stop:   signal → application → has ended → sidecar drains → exit with the application's code
//! ```

use crate::errors::{Exit, Failure, Outcome};
use clap::{Args, ValueEnum};
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{self, Pattern, Service, Settings, Shutdown, Spec, Starting, Status};
use quorate_leader_election::server as election;
use quorate_scatter_gather::server as scatter;
use quorate_work_queue::server as queue;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// What the application finds in its environment: where its sidecar listens.
const SERVERS: &str = "QUORATE_SERVERS";

/// Run an application together with its sidecar: start in order, stop in order, end with the application
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate run work-queue --servers http://queue-1:7072,http://queue-2:7072 -- ./application --its-own flags
  quorate run scatter-gather --upstream http://127.0.0.1:8080 -- ./leaf --port 8080

The sidecar listens first; the application starts when the cluster can be used (or after --wait, whatever the cluster
does). It finds the sidecar's address in QUORATE_SERVERS and no other QUORATE_ variable: credentials stay with the
sidecar. The sidecar of scatter-gather is a gate in front of the application, which then is a leaf and needs no address.
SIGTERM, SIGINT and SIGHUP are passed on to it. When it ends the sidecar drains, and this command exits with its
code, or with 128 and the number of the signal that ended it. For two patterns put one command into the other.")]
pub(crate) struct Run {
    /// The pattern whose sidecar it is
    #[arg(value_enum)]
    pattern: Fronted,
    /// The application and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// How long the application waits for the cluster at most
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    flags: ServeFlags,
}

/// A pattern that has a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fronted {
    LeaderElection,
    WorkQueue,
    ScatterGather,
}

impl Fronted {
    fn pattern(self) -> Pattern {
        match self {
            Self::LeaderElection => Pattern::LeaderElection,
            Self::WorkQueue => Pattern::WorkQueue,
            Self::ScatterGather => Pattern::ScatterGather,
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::LeaderElection => election::VERSION,
            Self::WorkQueue => queue::VERSION,
            Self::ScatterGather => scatter::VERSION,
        }
    }

    async fn sidecar(self, starting: Starting) -> Result<Service, runtime::Failure> {
        match self {
            Self::LeaderElection => election::sidecar(starting).await,
            Self::WorkQueue => queue::sidecar(starting).await,
            Self::ScatterGather => scatter::gate(starting).await,
        }
    }

    /// Whether the application calls its sidecar. A leaf is called by it.
    fn serves(self) -> bool {
        self != Self::ScatterGather
    }
}

/// The sidecar in this process.
struct Sidecar {
    shutdown: Shutdown,
    running: JoinHandle<runtime::Exit>,
    ended: Option<runtime::Exit>,
    /// Where it listens and how it is; told when it has started.
    started: oneshot::Receiver<(SocketAddr, watch::Receiver<Status>)>,
}

impl Run {
    pub(crate) fn run(self) -> Outcome {
        let settings = Settings::load(self.pattern.pattern(), &self.flags.values)?;
        // The application owns stdout.
        telemetry::init(&settings, Destination::Stderr)?;
        let code = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| crate::context::cannot_start(&error))?
            .block_on(self.supervise(settings))?;
        if code == 0 {
            return Ok(());
        }
        // The application's own code, whatever it is.
        std::process::exit(code)
    }

    async fn supervise(self, settings: Settings) -> Outcome<i32> {
        let grace = settings.shutdown_grace_ms.duration();
        let scheme = match settings.listener_tls() {
            Some(_) => "https",
            None => "http",
        };
        let mut signals = Signals::new().map_err(|error| crate::context::cannot_start(&error))?;
        let mut sidecar = start(self.pattern, settings);
        let ready = async {
            let (address, mut status) = (&mut sidecar.started).await.ok()?;
            let wait = status.wait_for(|status| status.ready);
            if tokio::time::timeout(self.wait, wait).await.is_err() {
                tracing::warn!(
                    "the cluster does not answer yet; starting the application without it"
                );
            }
            Some(address)
        };
        let address = tokio::select! {
            address = ready => address,
            _ = signals.next() => None,
        };
        let Some(address) = address else {
            // It could not start and has said why, or nobody wants it any more.
            return match sidecar.stop().await {
                runtime::Exit::Ok => Ok(0),
                exit => Err(Failure::silent(exit.into())),
            };
        };
        let outcome = self
            .application(&url(scheme, address), grace, &mut signals, &mut sidecar)
            .await;
        let exit = sidecar.stop().await;
        let code = outcome?;
        match exit {
            runtime::Exit::Ok => Ok(code),
            exit if code == 0 => Err(Failure::silent(exit.into())),
            _ => Ok(code),
        }
    }

    /// From the application's start to its end.
    async fn application(
        &self,
        url: &str,
        grace: Duration,
        signals: &mut Signals,
        sidecar: &mut Sidecar,
    ) -> Outcome<i32> {
        let mut child = self.spawn(url)?;
        let mut deadline = None;
        loop {
            tokio::select! {
                ended = child.wait() => {
                    return ended.map(code).map_err(|error| {
                        Failure::new(Exit::Temporary, format!("cannot wait for the application: {error}"))
                    });
                }
                number = signals.next() => {
                    tell(&child, number);
                    if number != Signal::HUP {
                        deadline.get_or_insert_with(|| tokio::time::Instant::now() + grace);
                    }
                }
                _ = sidecar.over(), if deadline.is_none() => {
                    tracing::error!("the sidecar has ended; stopping the application");
                    tell(&child, Signal::TERM);
                    deadline = Some(tokio::time::Instant::now() + grace);
                }
                () = until(deadline) => {
                    tracing::warn!("the application did not stop within the grace; killing it");
                    // It may have ended at this moment.
                    let _ = child.start_kill();
                    deadline = None;
                }
            }
        }
    }

    fn spawn(&self, url: &str) -> Outcome<Child> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::usage("no command: put it behind --"));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("QUORATE_"))
            {
                command.env_remove(name);
            }
        }
        if self.pattern.serves() {
            command.env(SERVERS, url);
        }
        command.spawn().map_err(|error| {
            Failure::usage(format!(
                "cannot start {}: {error}",
                program.to_string_lossy()
            ))
        })
    }
}

/// The sidecar as the application reaches it.
fn url(scheme: &str, mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    format!("{scheme}://{address}")
}

fn start(pattern: Fronted, settings: Settings) -> Sidecar {
    let shutdown = Shutdown::manual();
    let (tell, started) = oneshot::channel();
    let order = shutdown.clone();
    let running = tokio::spawn(async move {
        let spec = Spec::new(pattern.pattern(), "sidecar", pattern.version());
        runtime::run(spec, settings, order, |starting: Starting| async move {
            let address = starting.api;
            let service = pattern.sidecar(starting).await?;
            // Nobody listens when it was told to stop meanwhile.
            let _ = tell.send((address, service.status.clone()));
            Ok(service)
        })
        .await
    });
    Sidecar {
        shutdown,
        running,
        ended: None,
        started,
    }
}

impl Sidecar {
    /// Waits for its end.
    async fn over(&mut self) -> runtime::Exit {
        if let Some(exit) = self.ended {
            return exit;
        }
        let exit = (&mut self.running)
            .await
            .unwrap_or(runtime::Exit::Unavailable);
        *self.ended.insert(exit)
    }

    async fn stop(mut self) -> runtime::Exit {
        self.shutdown.order();
        self.over().await
    }
}

/// The signals that are passed on.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
        }
    }
}

fn tell(child: &Child, number: Signal) {
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    if let Some(pid) = pid {
        // It may have ended at this moment.
        let _ = kill_process(pid, number);
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The code that a shell would give.
fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}
