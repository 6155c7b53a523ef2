//! `quorate bench scatter`: what scattering costs, and what its policy does to the tail.

use crate::context::Context;
use crate::errors::Outcome;
use crate::output::Render;
use crate::table::Table;
use clap::Args;
use quorate_scatter_gather::bench::{Overhead, overhead};
use quorate_scatter_gather::sim::{self, Overload};
use serde::Serialize;

/// Leaf calls in each way of asking, so that every number of leaves gets a like share of the time.
const CALLS: usize = 100_000;
/// Fewest and most pairs of requests for one number of leaves.
const PAIRS_MIN: usize = 100;
const PAIRS_MAX: usize = 3_000;

/// Compare a scatter with a hand-written join of the same calls, or replay The Tail at Scale
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  quorate bench scatter
  quorate bench scatter --leaves 10,100
  quorate bench scatter --simulated
  quorate bench scatter --simulated --shards 100 --requests 20000 -o json

Simulated figures follow from the seed alone and are the same on every machine.")]
pub(super) struct Scatter {
    /// In simulated time: the experiments of The Tail at Scale beside their closed form
    #[arg(long)]
    simulated: bool,
    /// Leaves of a request, several in turn
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,100,1000", conflicts_with = "simulated", value_parser = clap::value_parser!(u32).range(1..=4_000))]
    leaves: Vec<u32>,
    /// Shards of a simulated request
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "simulated", value_parser = clap::value_parser!(u32).range(10..=4_000))]
    shards: u32,
    /// Simulated requests for each policy
    #[arg(long, value_name = "N", default_value_t = 100_000, requires = "simulated", value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    requests: u32,
    /// What the simulation follows from
    #[arg(long, value_name = "N", default_value_t = 1, requires = "simulated")]
    seed: u64,
}

#[derive(Debug, Serialize)]
struct Simulated {
    tables: Vec<sim::Table>,
    all_slower: Overload,
}

#[derive(Debug, Serialize)]
struct Measured {
    overhead: Vec<Overhead>,
}

impl Scatter {
    pub(super) fn run(self, context: Context) -> Outcome {
        if self.simulated {
            return context.output.print(&Simulated {
                tables: vec![
                    sim::tail_at_scale(self.shards, self.requests, self.seed),
                    sim::head_to_head(self.requests, self.seed),
                ],
                all_slower: sim::all_slower(self.seed),
            });
        }
        let mut measured = Vec::with_capacity(self.leaves.len());
        for &leaves in &self.leaves {
            context.output.note(format!("{leaves} leaves"));
            let leaves = leaves as usize;
            let pairs = (CALLS / leaves).clamp(PAIRS_MIN, PAIRS_MAX);
            let pairs = u32::try_from(pairs).unwrap_or(u32::MAX);
            measured.push(overhead(leaves, pairs)?);
        }
        context.output.print(&Measured { overhead: measured })
    }
}

impl Render for Measured {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            ">leaves", ">pairs", ">p50 ms", ">by hand", ">ratio", ">CPU µs", ">by hand", ">ratio",
        ]);
        for row in &self.overhead {
            table.row([
                &row.leaves,
                &row.pairs,
                &format!("{:.3}", row.p50_ms.scatter),
                &format!("{:.3}", row.p50_ms.by_hand),
                &format!("{:.2}", row.p50_ms.ratio()),
                &format!("{:.0}", row.cpu_us.scatter),
                &format!("{:.0}", row.cpu_us.by_hand),
                &format!("{:.2}", row.cpu_us.ratio()),
            ]);
        }
        table
    }
}

impl Render for Simulated {
    fn table(&self) -> Table {
        let mut all = Table::new(&[
            "hedge",
            "",
            ">p50 ms",
            ">p95 ms",
            ">p99 ms",
            ">p99.9 ms",
            ">extra",
        ]);
        for experiment in &self.tables {
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
