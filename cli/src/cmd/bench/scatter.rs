//! `quorate bench scatter`: what scattering costs, and what its policy does to the tail.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::{Render, write_out};
use crate::table::Table;
use clap::{Args, ValueEnum};
use quorate_scatter_gather::bench::{self, Leaves, Load, Manner, Overhead};
use quorate_scatter_gather::sim::{self, Overload, Policy};
use serde::Serialize;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::Duration;

/// Leaf calls in each way of asking, so that every number of leaves gets a like share of the time.
const CALLS: usize = 100_000;
/// Fewest and most requests in each way for one number of leaves.
const REQUESTS_MIN: usize = 100;
const REQUESTS_MAX: usize = 3_000;
/// Large answers, and the servers they come from.
const BYTES: u64 = 1 << 20;
const SERVERS: usize = 10;

/// Measure scatter/gather on this machine: what it costs, and what its policies do
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate bench scatter                                     beside a hand-written join of the same calls
  quorate bench scatter --leaves 10,100
  quorate bench scatter simulated                           The Tail at Scale, in simulated time
  quorate bench scatter tail --shards 20 --requests 20000   the same over real sockets
  quorate bench scatter hung | overload | cancels | memory

Simulated figures follow from the seed alone and are the same on every machine.")]
pub(super) struct Scatter {
    /// What to measure
    #[arg(value_enum, default_value_t = Experiment::Overhead)]
    experiment: Experiment,
    /// Leaves of a request, several in turn (overhead)
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,100,1000", value_parser = clap::value_parser!(u32).range(1..=4_000))]
    leaves: Vec<u32>,
    /// Shards of a request; 1000 in simulated time and for memory, 20 over sockets, 1 for overload
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_000))]
    shards: Option<u32>,
    /// Requests for each policy; 100000 in simulated time, 10000 over sockets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    requests: Option<u32>,
    /// Requests a second (tail, hung)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Seconds of twice the load (overload)
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(5..=600))]
    seconds: u32,
    /// Calls that are cancelled (cancels)
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=100_000_000))]
    calls: u32,
    /// Calls of a request at once (memory)
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    at_once: u32,
    /// What the times of leaves follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Be the leaves of another process, until stdin ends
    #[arg(long, hide = true)]
    serve_leaves: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Experiment {
    /// Time and processor beside a hand-written join over the same connections
    Overhead,
    /// The Tail at Scale in simulated time
    Simulated,
    /// The Tail at Scale over real sockets
    Tail,
    /// A tenth of the replicas take requests and never answer
    Hung,
    /// Twice what the leaves can do
    Overload,
    /// Calls cancelled by the million
    Cancels,
    /// Memory of a merge of large answers
    Memory,
}

#[derive(Debug, Serialize)]
struct Simulated {
    tables: Vec<sim::Table>,
    all_slower: Overload,
}

#[derive(Debug, Serialize)]
struct Tail {
    tables: Vec<sim::Table>,
}

#[derive(Debug, Serialize)]
struct Measured {
    overhead: Vec<Overhead>,
}

/// Figures with their names.
#[derive(Debug, Serialize)]
struct Figures<T> {
    #[serde(flatten)]
    found: T,
    #[serde(skip)]
    rows: Vec<(&'static str, String)>,
}

impl Scatter {
    pub(super) fn run(self, context: Context) -> Outcome {
        if self.serve_leaves {
            return serve_leaves();
        }
        match self.experiment {
            Experiment::Overhead => self.overhead(context),
            Experiment::Simulated => self.simulated(context),
            Experiment::Tail => self.tail(context),
            Experiment::Hung => self.hung(context),
            Experiment::Overload => self.overload(context),
            Experiment::Cancels => self.cancels(context),
            Experiment::Memory => self.memory(context),
        }
    }

    fn shards(&self, usual: usize) -> usize {
        self.shards.map_or(usual, |shards| shards as usize)
    }

    fn load(&self, requests: u32) -> Load {
        Load {
            shards: self.shards(20),
            requests: self.requests.unwrap_or(requests).into(),
            rate: self.rate,
            seed: self.seed,
        }
    }

    fn overhead(self, context: Context) -> Outcome {
        let mut measured = Vec::with_capacity(self.leaves.len());
        for &leaves in &self.leaves {
            let leaves = leaves as usize;
            let requests = (CALLS / leaves).clamp(REQUESTS_MIN, REQUESTS_MAX);
            context
                .output
                .note(format!("{leaves} leaves, {requests} requests in each way"));
            let requests = count(requests);
            measured.push(bench::overhead(leaves, requests)?);
        }
        context.output.print(&Measured { overhead: measured })
    }

    fn simulated(self, context: Context) -> Outcome {
        let shards = self.shards.unwrap_or(1_000);
        let requests = self.requests.unwrap_or(100_000);
        let note = |part: &str| context.output.note(part);
        note("The Tail at Scale: four policies; with the usual sizes some minutes");
        let tail = sim::tail_at_scale(shards, requests, self.seed);
        note("stragglers: two policies");
        let stragglers = sim::head_to_head(requests, self.seed);
        note("all leaves slower at once");
        context.output.print(&Simulated {
            tables: vec![tail, stragglers],
            all_slower: sim::all_slower(self.seed),
        })
    }

    fn tail(self, context: Context) -> Outcome {
        let load = self.load(10_000);
        let one = Load {
            rate: load.rate.saturating_mul(5),
            ..load
        };
        let policies = [Policy::of_the_paper(1).len(), Policy::of_stragglers().len()];
        let all = policies[0] + policies[1];
        let takes = load.takes() * count(policies[0]) + one.takes() * count(policies[1]);
        context.output.note(format!(
            "{all} policies, {} requests each: {}",
            load.requests,
            about(takes)
        ));
        let mut through = 0;
        let mut done = |line: &sim::Line| {
            through += 1;
            let found = shown(&line.measured);
            context
                .output
                .note(format!("{through} of {all}, {}: {found}", line.policy));
        };
        let tables = context.block_on(async {
            Ok::<_, Failure>(vec![
                bench::tail_at_scale(load, &mut done).await?,
                bench::head_to_head(one, &mut done).await?,
            ])
        })?;
        context.output.print(&Tail { tables })
    }

    fn hung(self, context: Context) -> Outcome {
        let load = self.load(10_000);
        context.output.note(format!(
            "{} requests with all well, then with servers that hang: {}",
            load.requests,
            about(load.takes() * 2)
        ));
        let mut runs = ["1 of 2, all well", "2 of 2, with those that hang"].into_iter();
        let mut done = |row: &sim::Row| {
            let run = runs.next().unwrap_or_default();
            context.output.note(format!("{run}: {}", shown(row)));
        };
        let found =
            context.block_on(async { Ok::<_, Failure>(bench::hung(load, &mut done).await?) })?;
        let rows = vec![
            ("shards, two replicas each", found.shards.to_string()),
            (
                "servers that hang",
                format!("{} of {}", found.hung, found.servers),
            ),
            ("all well", shown(&found.healthy)),
            ("with those that hang", shown(&found.with_hung)),
            (
                "p99, times",
                format!("{:.2}", found.with_hung.p99 / found.healthy.p99),
            ),
            ("requests without a whole answer", found.failed.to_string()),
        ];
        context.output.print(&Figures { found, rows })
    }

    fn overload(self, context: Context) -> Outcome {
        let (shards, seconds) = (self.shards(1), self.seconds);
        context.output.note(format!(
            "what the leaves can do, then {seconds} s of twice as much, then half: {}",
            about(bench::overload_takes(seconds))
        ));
        let found = context
            .block_on(async { Ok::<_, Failure>(bench::overload(shards, seconds).await?) })?;
        let rows = vec![
            ("shards behind gates", found.shards.to_string()),
            (
                "whole answers a second, at capacity",
                format!("{:.1}", found.peak),
            ),
            (
                "the same at twice the load",
                format!("{:.1}", found.goodput),
            ),
            (
                "of the peak",
                format!("{:.1} %", 100.0 * found.goodput / found.peak),
            ),
            (
                "p99 of those answered",
                format!("{:.0} ms", found.accepted_p99_ms),
            ),
            ("refused", format!("{:.1} %", 100.0 * found.refused)),
            (
                "p50 of those refused",
                format!("{:.1} ms", found.refused_p50_ms),
            ),
            (
                "recovered after",
                format!("{:.1} s", found.recovery_seconds),
            ),
        ];
        context.output.print(&Figures { found, rows })
    }

    fn cancels(self, context: Context) -> Outcome {
        let calls = u64::from(self.calls);
        context.output.note(format!(
            "{calls} calls to cancel: a million takes a minute or so"
        ));
        let found = context.block_on(async { Ok::<_, Failure>(bench::cancels(calls).await?) })?;
        let rows = vec![
            ("calls cancelled", found.cancelled.to_string()),
            ("requests", found.requests.to_string()),
            ("requests without an answer", found.failed.to_string()),
            ("connections opened", found.connections.to_string()),
            (
                "connections lost to GOAWAY or otherwise",
                found.lost.to_string(),
            ),
            ("time", format!("{:.1} s", found.seconds)),
        ];
        context.output.print(&Figures { found, rows })
    }

    fn memory(self, context: Context) -> Outcome {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Exit::Temporary, format!("no program: {error}")))?;
        let mut leaves = Child::start(&program)?;
        let (shards, at_once) = (self.shards(1_000), self.at_once);
        context.output.note(format!(
            "{shards} answers of 1 MiB, {at_once} at once: some seconds"
        ));
        let servers = leaves.urls()?;
        let found = context.block_on(async {
            Ok::<_, Failure>(bench::memory(&servers, shards, BYTES, at_once).await?)
        })?;
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        let rows = vec![
            ("shards", found.shards.to_string()),
            ("calls at once", found.calls.to_string()),
            ("answers", mib(found.answered)),
            ("result", format!("{} bytes, 100 hits", found.result)),
            ("resident before", mib(found.before)),
            ("peak above that", mib(found.growth)),
            ("time", format!("{:.2} s", found.seconds)),
        ];
        context.output.print(&Figures { found, rows })
    }
}

fn shown(row: &sim::Row) -> String {
    format!(
        "p50 {:.1} ms, p95 {:.1}, p99 {:.1}, p99.9 {:.1}, {:.2} % hedged",
        row.p50,
        row.p95,
        row.p99,
        row.p999,
        row.extra * 100.0
    )
}

fn about(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 {
        format!("about {seconds} s")
    } else {
        format!("about {} min", seconds.div_ceil(60))
    }
}

fn count(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

/// Leaves in a process of their own, so that their memory is not counted as the root's.
struct Child(std::process::Child);

impl Child {
    fn start(program: &std::path::Path) -> Outcome<Self> {
        let child = std::process::Command::new(program)
            .args(["bench", "scatter", "memory", "--serve-leaves"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let child =
            child.map_err(|error| Failure::new(Exit::Temporary, format!("no leaves: {error}")))?;
        Ok(Self(child))
    }

    fn urls(&mut self) -> Outcome<Vec<String>> {
        let mut line = String::new();
        if let Some(stdout) = &mut self.0.stdout {
            BufReader::new(stdout)
                .read_line(&mut line)
                .map_err(|error| Failure::new(Exit::Temporary, format!("no leaves: {error}")))?;
        }
        let urls: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if urls.is_empty() {
            return Err(Failure::new(Exit::Temporary, "the leaves did not start"));
        }
        Ok(urls)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Its stdin ends here, and with it the process.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn serve_leaves() -> Outcome {
    let manner = Manner::Hits {
        bytes: usize::try_from(BYTES).unwrap_or(usize::MAX),
    };
    let leaves = Leaves::start(SERVERS, manner)
        .map_err(|error| Failure::new(Exit::Temporary, format!("no leaves: {error}")))?;
    let mut line = leaves.urls().join(" ");
    line.push('\n');
    write_out(line.as_bytes())?;
    // Until the other end is closed.
    let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
    Ok(())
}

impl<T: Serialize> Render for Figures<T> {
    fn table(&self) -> Table {
        let mut table = Table::fields();
        for (name, value) in &self.rows {
            table.field(name, value);
        }
        table
    }
}

impl Render for Tail {
    fn table(&self) -> Table {
        tails(&self.tables)
    }
}

impl Render for Measured {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            ">leaves",
            "",
            ">scatter",
            ">by hand",
            ">ratio",
            ">by hand, told",
            ">ratio",
        ]);
        for row in &self.overhead {
            let p50 = (
                "p50 ms",
                row.p50_ms,
                [
                    row.p50_ms.scatter,
                    row.p50_ms.by_hand,
                    row.p50_ms.by_hand_told,
                ]
                .map(|ms| format!("{ms:.3}")),
            );
            let cpu = (
                "CPU µs",
                row.cpu_us,
                [
                    row.cpu_us.scatter,
                    row.cpu_us.by_hand,
                    row.cpu_us.by_hand_told,
                ]
                .map(|us| format!("{us:.0}")),
            );
            for (what, ways, [scatter, by_hand, told]) in [p50, cpu] {
                table.row([
                    &row.leaves,
                    &what,
                    &scatter,
                    &by_hand,
                    &format!("{:.2}", ways.ratio()),
                    &told,
                    &format!("{:.2}", ways.ratio_told()),
                ]);
            }
        }
        table
    }
}

/// Published, computed and measured side by side.
fn tails(tables: &[sim::Table]) -> Table {
    let mut all = Table::new(&[
        "hedge",
        "",
        ">p50 ms",
        ">p95 ms",
        ">p99 ms",
        ">p99.9 ms",
        ">extra",
    ]);
    for experiment in tables {
        all.row([&experiment.title, &"", &"", &"", &"", &"", &""]);
        for line in &experiment.lines {
            let rows = [
                ("published", line.published),
                ("closed form", line.closed),
                ("measured", Some(line.measured)),
            ];
            for (kind, row) in rows {
                let Some(row) = row else { continue };
                let ms = |ms: f64| {
                    if ms > 0.0 {
                        format!("{ms:.1}")
                    } else {
                        "–".to_owned()
                    }
                };
                all.row([
                    &format!("  {}", line.policy),
                    &kind,
                    &ms(row.p50),
                    &ms(row.p95),
                    &ms(row.p99),
                    &ms(row.p999),
                    &format!("{:.2} %", row.extra * 100.0),
                ]);
            }
        }
    }
    all
}

impl Render for Simulated {
    fn table(&self) -> Table {
        let mut all = tails(&self.tables);
        let mut slower = Table::new(&["all leaves ten times slower at once", ">extra"]);
        for (when, extra) in [
            ("ten seconds before", self.all_slower.before),
            ("first two seconds", self.all_slower.first_two_seconds),
            ("then, to ten seconds", self.all_slower.until_ten_seconds),
            ("the next ten seconds", self.all_slower.ten_seconds_later),
            (
                "most in any ten seconds",
                self.all_slower.most_in_ten_seconds,
            ),
        ] {
            slower.row([&when, &format!("{:.2} %", extra * 100.0)]);
        }
        all.then(&slower);
        all
    }
}
