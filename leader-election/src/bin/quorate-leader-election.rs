//! The container `leader-election`: a replica with its API, or the API beside an application.

use clap::{Parser, Subcommand};
use quorate_core::runtime::settings::{ConfigErrors, ServeFlags};
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{
    Exit, Failure, Pattern, Service, Settings, Shutdown, Spec, Starting, healthcheck,
};
use quorate_leader_election::server;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// A healthcheck answers within this, or the container counts as unhealthy.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Replicated leader election.
#[derive(Debug, Parser)]
#[command(name = "quorate-leader-election", version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A replica of the elections, with its API
    Serve(ServeFlags),
    /// The API beside an application, in front of the cluster that QUORATE_SERVERS names
    Sidecar(ServeFlags),
    /// Asks the container on this host whether it is ready, for images without a shell
    Healthcheck(ServeFlags),
}

fn main() -> ExitCode {
    let role = Arguments::parse().role;
    match start(role) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Nowhere else to tell it.
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            failure.exit.into()
        }
    }
}

fn settings(flags: &ServeFlags) -> Result<Settings, ConfigErrors> {
    Settings::load(Pattern::LeaderElection, &flags.values)
}

fn start(role: Role) -> Result<Exit, Failure> {
    match role {
        Role::Serve(flags) => run("serve", settings(&flags)?, server::replica),
        Role::Sidecar(flags) => run("sidecar", settings(&flags)?, server::sidecar),
        Role::Healthcheck(flags) => {
            healthcheck::check(&settings(&flags)?, "/readyz", HEALTHCHECK_TIMEOUT)?;
            Ok(Exit::Ok)
        }
    }
}

fn run<F>(
    role: &'static str,
    settings: Settings,
    service: impl FnOnce(Starting) -> F,
) -> Result<Exit, Failure>
where
    F: Future<Output = Result<Service, Failure>>,
{
    telemetry::init(&settings, Destination::Stdout)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("no threads: {error}")))?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals()
            .map_err(|error| Failure::unavailable(format!("no signals: {error}")))?;
        let spec = Spec::new(Pattern::LeaderElection, role, server::VERSION);
        Ok(quorate_core::runtime::run(spec, settings, shutdown, service).await)
    })
}
