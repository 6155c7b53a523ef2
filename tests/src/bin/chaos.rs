//! `make chaos SEED=…`: real processes are killed, stopped and cut off. Under load on a work queue it exits 1
//! on a lost or doubled job; with `--pattern election` if two sidecars said leader for overlapping times.
#![allow(clippy::print_stdout, reason = "a command")]

use clap::Parser;
use quorate_tests::processes::{Chaos, Cluster, ElectionChaos};
use std::process::ExitCode;
use std::time::Duration;

/// Kills, pauses and cuts off the nodes of a three-node queue under load, and accounts for every job; or
/// servers and sidecars of elections, and looks for two leaders.
#[derive(Parser)]
struct Arguments {
    /// What the cluster is for.
    #[arg(long, value_enum, default_value_t = Pattern::Queue)]
    pattern: Pattern,
    /// Seeds victims and times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds of load on the queue.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Kills of nodes of the queue; every other one hits the leader.
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Pauses of nodes of the queue.
    #[arg(long, default_value_t = 0)]
    pauses: u32,
    /// Partitions of nodes of the queue.
    #[arg(long, default_value_t = 0)]
    partitions: u32,
    /// Faults of elections: kills, pauses and partitions of the leader's sidecar and of the coordinator.
    #[arg(long, default_value_t = 14)]
    faults: u32,
}

/// A pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Pattern {
    /// The work queue.
    Queue,
    /// Leader election.
    Election,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let (told, good) = match arguments.pattern {
        Pattern::Queue => {
            let chaos = Chaos {
                seed: arguments.seed,
                duration: Duration::from_secs(arguments.seconds),
                kills: arguments.kills,
                pauses: arguments.pauses,
                partitions: arguments.partitions,
            };
            let mut cluster = Cluster::start("work-queue", 3).await?;
            let outcome = chaos.run(&mut cluster).await?;
            (outcome.to_string(), outcome.is_good())
        }
        Pattern::Election => {
            let chaos = ElectionChaos {
                seed: arguments.seed,
                faults: arguments.faults,
            };
            let seen = chaos.run().await?;
            (seen.to_string(), seen.is_good())
        }
    };
    println!("seed {}: {told}", arguments.seed);
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
