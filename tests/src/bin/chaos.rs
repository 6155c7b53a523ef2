//! `make chaos SEED=…`: load on three real processes while they are killed; exits 1 on a lost or doubled
//! job.
#![allow(clippy::print_stdout, reason = "a command")]

use clap::Parser;
use quorate_tests::processes::{Chaos, Cluster};
use std::process::ExitCode;
use std::time::Duration;

/// Kills, pauses and cuts off the nodes of a three-node queue under load, and accounts for every job.
#[derive(Parser)]
struct Arguments {
    /// Seeds victims and times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of load.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Kills; every other one hits the leader.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Pauses.
    #[arg(long, default_value_t = 0)]
    pauses: u32,
    /// Partitions.
    #[arg(long, default_value_t = 0)]
    partitions: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let chaos = Chaos {
        seed: arguments.seed,
        duration: Duration::from_secs(arguments.seconds),
        kills: arguments.kills,
        pauses: arguments.pauses,
        partitions: arguments.partitions,
    };
    let mut cluster = Cluster::start(3).await?;
    let outcome = chaos.run(&mut cluster).await?;
    println!("seed {}: {outcome}", arguments.seed);
    Ok(if outcome.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
