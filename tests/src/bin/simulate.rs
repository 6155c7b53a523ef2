//! Runs simulated clusters: one seed in detail, many for a soak, or each planted bug until it is caught.
#![allow(clippy::print_stdout, reason = "a command")]

use clap::Parser;
use quorate_tests::sim::{Options, run};
use std::process::ExitCode;

/// Runs seeds of the cluster simulation and reports broken promises. Exits 1 if there are any.
#[derive(Parser)]
struct Arguments {
    /// Run this seed only, twice, and compare the traces.
    #[arg(long)]
    seed: Option<u64>,
    /// First seed of a range.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Number of seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Milliseconds of simulated time with faults.
    #[arg(long, default_value_t = Options::default().faulty_ms)]
    faulty_ms: u64,
    /// Plant each known bug in turn, and exit 1 unless it is caught within the seeds.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    planted: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        faulty_ms: arguments.faulty_ms,
        ..Options::default()
    };
    #[cfg(feature = "planted-bugs")]
    if arguments.planted {
        return planted(&arguments, options);
    }
    match arguments.seed {
        Some(seed) => once(seed, options),
        None => many(&arguments, options),
    }
}

fn once(seed: u64, options: Options) -> ExitCode {
    let (first, second) = (run(seed, options), run(seed, options));
    println!("{first}");
    if first.trace != second.trace {
        println!(
            "not deterministic: the second run has trace {:016x}",
            second.trace
        );
        return ExitCode::FAILURE;
    }
    if first.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn many(arguments: &Arguments, options: Options) -> ExitCode {
    let (mut broken, mut steps, mut completed) = (0, 0, 0);
    let mut counts = std::collections::BTreeMap::new();
    for seed in arguments.from..arguments.from.saturating_add(arguments.seeds) {
        let report = run(seed, options);
        steps += report.steps;
        completed += report.completed;
        for (what, count) in &report.counts {
            *counts.entry(*what).or_insert(0) += count;
        }
        if !report.violations.is_empty() {
            println!("{report}");
            broken += 1;
        }
    }
    println!("struck: {counts:?}");
    println!(
        "{} seeds, {steps} steps, {completed} completions: {broken} broken",
        arguments.seeds
    );
    if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(feature = "planted-bugs")]
fn planted(arguments: &Arguments, options: Options) -> ExitCode {
    use quorate_work_queue::machine::planted::{Bug, plant};
    let mut missed = 0;
    for bug in Bug::ALL {
        plant(Some(*bug));
        let caught = (arguments.from..arguments.from.saturating_add(arguments.seeds))
            .map(|seed| run(seed, options))
            .find(|report| !report.violations.is_empty());
        plant(None);
        match caught
            .as_ref()
            .and_then(|report| report.violations.first().map(|first| (report, first)))
        {
            Some((report, first)) => println!(
                "{bug:?}: caught by seed {} as {}",
                report.seed, first.promise
            ),
            None => {
                println!("{bug:?}: NOT caught in {} seeds", arguments.seeds);
                missed += 1;
            }
        }
    }
    println!("{} planted bugs, {missed} not caught", Bug::ALL.len());
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
