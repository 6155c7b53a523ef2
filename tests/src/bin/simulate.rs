//! Runs simulated clusters: one seed in detail, many for a soak, or each planted bug until it is caught.
#![allow(clippy::print_stdout, reason = "a command")]

use clap::Parser;
use quorate_tests::sim::{Options, Report, run};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

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
    /// Seeds that run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
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

#[derive(Default)]
struct Sum {
    broken: u64,
    steps: u64,
    completed: u64,
    struck: BTreeMap<&'static str, u64>,
}

/// Runs all seeds, every `jobs`-th on the same thread, and prints the runs that broke a promise.
fn many(arguments: &Arguments, options: Options) -> ExitCode {
    let (from, jobs) = (arguments.from, arguments.jobs.max(1));
    let until = from.saturating_add(arguments.seeds);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let sum = &sum;
            scope.spawn(move || {
                for seed in (from..until).filter(|seed| seed % jobs == job) {
                    let report = run(seed, options);
                    add(
                        &mut sum.lock().unwrap_or_else(PoisonError::into_inner),
                        &report,
                    );
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("struck: {:?}", sum.struck);
    println!(
        "{} seeds, {} steps, {} completions: {} broken",
        arguments.seeds, sum.steps, sum.completed, sum.broken
    );
    if sum.broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn add(sum: &mut Sum, report: &Report) {
    sum.steps += report.steps;
    sum.completed += report.completed;
    for (what, count) in &report.counts {
        *sum.struck.entry(what).or_default() += count;
    }
    if !report.violations.is_empty() {
        println!("{report}");
        sum.broken += 1;
    }
}

#[cfg(feature = "planted-bugs")]
fn planted(arguments: &Arguments, options: Options) -> ExitCode {
    use quorate_work_queue::machine::planted::{Bug, plant};
    let mut missed = 0;
    // Needs an extension and an expiry of the same lease in one entry, which the machine's own tests
    // make on purpose; here it would take tens of thousands of seeds.
    let reached = Bug::ALL
        .iter()
        .filter(|bug| **bug != Bug::ExpiryIgnoresExtension);
    for bug in reached {
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
    println!("{} planted bugs, {missed} not caught", Bug::ALL.len() - 1);
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
