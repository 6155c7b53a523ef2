//! The same load on NATS JetStream and on Quorate, alternating in one run on one machine, and the
//! ratios.
//!
//! The peer is Debian's `nats-server` as three processes with a stream of three replicas in the file
//! store. JetStream as shipped acknowledges **before** it has synced (its `sync_interval` is two
//! minutes); Quorate acknowledges after a majority has synced. The peer keeps that advantage here.

mod compare;
mod load;
mod servers;

use anyhow::{Context, Result, bail};
use clap::Parser;
use quorate_cli::measure::{Report, told_to_stop};
use std::io::Write;
use std::path::PathBuf;

/// Jobs of a run, at the most: the acknowledgements of all are kept for the accounting.
const JOBS_MAX: u64 = 10_000_000;

/// Load on three nats-server processes (JetStream, R3, file store), and on Quorate beside it.
#[derive(Clone, Debug, Parser)]
#[command(after_help = "Example:\n  bench_nats --quorate target/release/quorate --rounds 3")]
struct Args {
    /// Jobs of a round.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=JOBS_MAX))]
    jobs: u64,
    /// Client connections.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=512))]
    connections: u32,
    /// Jobs in flight on each connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    inflight: u32,
    /// Bytes of a payload.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    payload: u32,
    /// Requests of the measurement with one job in flight.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    singles: u64,
    /// Also run this `quorate bench work-queue` with the same load, by the Rust client and by HTTP.
    #[arg(long, value_name = "PROGRAM")]
    quorate: Option<PathBuf>,
    /// Alternating rounds; medians are compared.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The peer's server.
    #[arg(long, value_name = "PROGRAM", default_value = "nats-server")]
    nats_server: PathBuf,
    /// Where the servers keep their data; the system's directory for temporary files by default.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print every report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut reports: Vec<Report> = Vec::new();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}: nats", args.rounds);
        reports.extend(nats(&args)?);
        if let Some(program) = &args.quorate {
            for http in [false, true] {
                eprintln!(
                    "round {round} of {}: quorate{}",
                    args.rounds,
                    if http { " --http" } else { "" }
                );
                reports.push(compare::quorate(program, &args, http)?);
            }
        }
    }
    let text = if args.json {
        serde_json::to_string_pretty(&reports)? + "\n"
    } else {
        compare::table(&reports)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Two reports of one run on three fresh nats-server processes.
fn nats(args: &Args) -> Result<Vec<Report>> {
    // The driver gets one thread, as Quorate's does: with two cores, more would take from the servers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let cluster = servers::Cluster::start(&args.nats_server, args.data_dir.as_deref())
            .context(
                "nats-server is in Debian's package of that name: apt-get install nats-server",
            )?;
        tokio::select! {
            reports = load::run(&cluster, args) => reports,
            _ = told_to_stop() => bail!("interrupted"),
        }
    })
}
