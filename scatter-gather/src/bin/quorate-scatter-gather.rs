//! The container `scatter-gather`: a root or an inner node, or a gate in front of a leaf.

use clap::{Parser, Subcommand};
use quorate_core::runtime::settings::{ConfigErrors, ServeFlags};
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{
    Exit, Failure, Pattern, Service, Settings, Shutdown, Spec, Starting, healthcheck,
};
use quorate_scatter_gather::server;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// A healthcheck answers within this, or the container counts as unhealthy.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Scatter a request to every shard, gather one truthful answer.
#[derive(Debug, Parser)]
#[command(name = "quorate-scatter-gather", version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A root or an inner node, with its API
    Serve(ServeFlags),
    /// A gate in front of the leaf that QUORATE_UPSTREAM names
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
    Settings::load(Pattern::ScatterGather, &flags.values)
}

fn start(role: Role) -> Result<Exit, Failure> {
    match role {
        Role::Serve(flags) => run("serve", settings(&flags)?, server::root),
        Role::Sidecar(flags) => run("sidecar", settings(&flags)?, server::gate),
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
        let spec = Spec::new(Pattern::ScatterGather, role, server::VERSION);
        Ok(quorate_core::runtime::run(spec, settings, shutdown, service).await)
    })
}
