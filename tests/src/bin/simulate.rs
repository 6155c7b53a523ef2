//! Runs simulated clusters: one seed in detail, many for a soak, or each planted bug until it is caught.
#![allow(clippy::print_stdout, reason = "a command")]

use clap::Parser;
use quorate_tests::sim::{Options, Report, Run, run, run_election};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

/// Runs seeds of the cluster simulation and reports broken promises. Exits 1 if there are any.
#[derive(Parser)]
struct Arguments {
    /// What the simulated cluster is for.
    #[arg(long, value_enum, default_value_t = Pattern::Queue)]
    pattern: Pattern,
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

/// A pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Pattern {
    /// The work queue.
    Queue,
    /// Leader election.
    Election,
}

impl Pattern {
    fn run(self) -> Run {
        match self {
            Self::Queue => run,
            Self::Election => run_election,
        }
    }
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
        Some(seed) => once(arguments.pattern.run(), seed, options),
        None => many(&arguments, options),
    }
}

fn once(run: Run, seed: u64, options: Options) -> ExitCode {
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
    done: BTreeMap<&'static str, u64>,
    struck: BTreeMap<&'static str, u64>,
}

/// Runs all seeds, every `jobs`-th on the same thread, and prints the runs that broke a promise.
fn many(arguments: &Arguments, options: Options) -> ExitCode {
    let (from, jobs) = (arguments.from, arguments.jobs.max(1));
    let until = from.saturating_add(arguments.seeds);
    let sum = Mutex::new(Sum::default());
    let run = arguments.pattern.run();
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
    println!("done: {:?}", sum.done);
    println!(
        "{:?}: {} seeds, {} steps: {} broken",
        arguments.pattern, arguments.seeds, sum.steps, sum.broken
    );
    if sum.broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn add(sum: &mut Sum, report: &Report) {
    sum.steps += report.steps;
    for (what, count) in &report.summary {
        *sum.done.entry(what).or_default() += count;
    }
    for (what, count) in &report.counts {
        *sum.struck.entry(what).or_default() += count;
    }
    if !report.violations.is_empty() {
        println!("{report}");
        sum.broken += 1;
    }
}

/// A known bug: its name, and how it is turned on.
#[cfg(feature = "planted-bugs")]
type Known = (String, Box<dyn Fn(bool) + Sync>);

#[cfg(feature = "planted-bugs")]
fn known(pattern: Pattern) -> Vec<Known> {
    use quorate_leader_election::machine::planted as election;
    use quorate_tests::sim::election::planted as client;
    use quorate_work_queue::machine::planted as queue;
    fn all<B: Copy + std::fmt::Debug + Sync + 'static>(
        bugs: &[B],
        plant: fn(Option<B>),
    ) -> Vec<Known> {
        bugs.iter()
            .map(|bug| {
                let bug = *bug;
                let turn: Box<dyn Fn(bool) + Sync> = Box::new(move |on| plant(on.then_some(bug)));
                (format!("{bug:?}"), turn)
            })
            .collect()
    }
    match pattern {
        // Needs an extension and an expiry of the same lease in one entry, which the machine's own
        // tests make on purpose; here it would take tens of thousands of seeds.
        Pattern::Queue => {
            let mut reached = queue::Bug::ALL.to_vec();
            reached.retain(|bug| *bug != queue::Bug::ExpiryIgnoresExtension);
            all(&reached, queue::plant)
        }
        Pattern::Election => {
            let mut known = all(
                quorate_core::planted::Bug::ALL,
                quorate_core::planted::plant,
            );
            known.extend(all(election::Bug::ALL, election::plant));
            known.extend(all(client::Bug::ALL, client::plant));
            known
        }
    }
}

/// Runs seeds with each bug until a promise is broken; bugs are turned on for a thread, so `jobs` of them
/// are tried at a time.
#[cfg(feature = "planted-bugs")]
fn planted(arguments: &Arguments, options: Options) -> ExitCode {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let known = known(arguments.pattern);
    let run = arguments.pattern.run();
    let (next, missed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let hunt = || {
        while let Some((bug, turn)) = known.get(next.fetch_add(1, Ordering::Relaxed)) {
            turn(true);
            let caught = (arguments.from..arguments.from.saturating_add(arguments.seeds))
                .map(|seed| run(seed, options))
                .find_map(|report| Some((report.seed, report.violations.first()?.promise)));
            turn(false);
            if let Some((seed, promise)) = caught {
                println!("{bug}: caught by seed {seed} as {promise}");
            } else {
                println!("{bug}: NOT caught in {} seeds", arguments.seeds);
                missed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(hunt);
        }
    });
    let missed = missed.into_inner();
    println!("{} planted bugs, {missed} not caught", known.len());
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
