//! The experiments of *The Tail at Scale* as tables: what was published, what the closed form says,
//! what the engine does.

use super::experiment::{Setting, run};
use super::policies::Policy;
use super::tail::Latency;
use crate::gather::HedgePolicy;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Percentiles of a row, in milliseconds, and hedges for each call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// Median.
    pub p50: f64,
    /// 95th.
    pub p95: f64,
    /// 99th.
    pub p99: f64,
    /// 99.9th.
    pub p999: f64,
    /// Hedges for each other call.
    pub extra: f64,
}

/// One policy: measured, computed, published.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The policy.
    pub policy: String,
    /// What the engine did.
    pub measured: Row,
    /// What follows by arithmetic, where it does.
    pub closed: Option<Row>,
    /// What was published, where it was; zero for what was not.
    pub published: Option<Row>,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// Line by line.
    pub lines: Vec<Line>,
}

impl Row {
    /// From the time at each quantile.
    pub fn of(at: impl Fn(f64) -> f64, extra: f64) -> Self {
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            extra,
        }
    }
}

/// The value that this share of sorted ones does not exceed; zero if there is none.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a place in a list that is far shorter than 2^52"
)]
pub fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    let place = (q * sorted.len() as f64).ceil() as usize;
    let place = place.saturating_sub(1).min(last);
    sorted.get(place).copied().unwrap_or(0.0)
}

/// Each policy in the same setting but for what the policy says.
fn compare(policies: Vec<Policy>, setting: &Setting) -> Vec<Line> {
    let measured = |policy: Policy| {
        let found = run(&Setting {
            hedge: policy.hedge,
            budget: policy.budget,
            burst: policy.burst,
            ..setting.clone()
        });
        let row = Row::of(|q| quantile(&found.times_ms, q), found.extra(0..usize::MAX));
        policy.line(&setting.latency, setting.shards, row)
    };
    policies.into_iter().map(measured).collect()
}

/// Experiment A: all of `shards` keys on 100 servers with two replicas, as in the paper's example.
pub fn tail_at_scale(shards: u32, requests: u32, seed: u64) -> Table {
    let setting = Setting {
        shards,
        servers: 100.min(shards),
        replicas: 2,
        gap: Duration::from_millis(20),
        // Until each server has answered a few thousand times.
        warm_up: 500,
        requests,
        ..Setting::new(Latency::paper(), seed)
    };
    Table {
        title: format!("The Tail at Scale: all of {shards} shards, {requests} requests"),
        lines: compare(Policy::of_the_paper(shards), &setting),
    }
}

/// Experiment C: single calls with 5 % stragglers, as in the benchmark of bhope/hedge, and at most two
/// hedges, each to another of three replicas.
pub fn head_to_head(requests: u32, seed: u64) -> Table {
    let setting = Setting {
        servers: 3,
        replicas: 3,
        gap: Duration::from_millis(5),
        warm_up: 2_000,
        requests,
        ..Setting::new(Latency::stragglers(), seed)
    };
    Table {
        title: format!("Stragglers, against bhope/hedge: {requests} single calls"),
        lines: compare(Policy::of_stragglers(), &setting),
    }
}

/// All leaves become ten times slower at once, and stay so.
#[derive(Clone, Debug, Serialize)]
pub struct Overload {
    /// Hedges for each call in the ten seconds before.
    pub before: f64,
    /// In the two seconds after.
    pub first_two_seconds: f64,
    /// From then to ten seconds after.
    pub until_ten_seconds: f64,
    /// In the ten seconds after those: the pause is over, and the new latency is the usual one.
    pub ten_seconds_later: f64,
    /// The most in any ten seconds in a row, hedges saved up included.
    pub most_in_ten_seconds: f64,
}

/// Seconds of simulated time before all become slower.
const CALM_SECONDS: usize = 20;

/// 100 shards, 50 requests a second, the default policy and budget.
pub fn all_slower(seed: u64) -> Overload {
    let gap = Duration::from_millis(20);
    let found = run(&Setting {
        shards: 100,
        servers: 100,
        replicas: 2,
        hedge: Some(HedgePolicy::default()),
        gap,
        warm_up: 1_000,
        requests: 2_500,
        slower: Some((Duration::from_secs(CALM_SECONDS as u64), 10.0)),
        ..Setting::new(Latency::paper(), seed)
    });
    let extra = |from: usize, to: usize| found.extra(CALM_SECONDS + from..CALM_SECONDS + to);
    let windows = 0..found.seconds.len().saturating_sub(9);
    Overload {
        before: found.extra(CALM_SECONDS - 10..CALM_SECONDS),
        first_two_seconds: extra(0, 2),
        until_ten_seconds: extra(2, 10),
        ten_seconds_later: extra(10, 20),
        most_in_ten_seconds: windows.map(|s| found.extra(s..s + 10)).fold(0.0, f64::max),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(
            f,
            "{:<24}{:<12}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "hedge", "", "p50 ms", "p95 ms", "p99 ms", "p99.9 ms", "extra"
        )?;
        for line in &self.lines {
            let rows = [
                ("published", line.published),
                ("closed form", line.closed),
                ("measured", Some(line.measured)),
            ];
            let mut policy = line.policy.as_str();
            for (kind, row) in rows {
                let Some(row) = row else { continue };
                write!(f, "{policy:<24}{kind:<12}")?;
                for ms in [row.p50, row.p95, row.p99, row.p999] {
                    if ms > 0.0 {
                        write!(f, "{ms:>9.1}")?;
                    } else {
                        write!(f, "{:>9}", "–")?;
                    }
                }
                writeln!(f, "{:>7.2} %", row.extra * 100.0)?;
                policy = "";
            }
        }
        Ok(())
    }
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "All leaves ten times slower at once: hedges for each call (budget 5 %)"
        )?;
        for (when, extra) in [
            ("ten seconds before", self.before),
            ("first two seconds", self.first_two_seconds),
            ("then, to ten seconds", self.until_ten_seconds),
            ("the next ten seconds", self.ten_seconds_later),
            ("most in any ten seconds", self.most_in_ten_seconds),
        ] {
            writeln!(f, "{when:<24}{:>7.2} %", extra * 100.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(what: &str, a: f64, b: f64, within: f64) {
        assert!((a / b - 1.0).abs() <= within, "{what}: {a} should be {b}");
    }

    /// The engine does what arithmetic says of its policies, within the noise of a short run.
    #[test]
    fn the_tail_at_scale_in_small() {
        let table = tail_at_scale(100, 10_000, 1);
        println!("{table}");
        // A server answers once a request here: too few answers are beyond the 99th percentile for its
        // threshold to be more than roughly right, so that the last policy is judged by its load only.
        for line in &table.lines[..3] {
            let closed = line.closed.unwrap();
            near(&line.policy, line.measured.p50, closed.p50, 0.05);
            near(&line.policy, line.measured.p95, closed.p95, 0.05);
            near(&line.policy, line.measured.p99, closed.p99, 0.15);
            assert!(
                (line.measured.extra - closed.extra).abs() < 0.003,
                "{line:?}"
            );
        }
        assert!(table.lines[3].measured.extra < 0.02, "{table}");
    }

    /// Two hedges within 8 % bring the tail of the stragglers down to what is aimed at.
    #[test]
    fn stragglers_are_beaten_within_the_budget() {
        let table = head_to_head(50_000, 1);
        println!("{table}");
        let hedged = table.lines[1].measured;
        assert!(hedged.extra <= 0.08, "{hedged:?}");
        assert!(hedged.p99 <= 17.5 && hedged.p999 <= 45.0, "{hedged:?}");
    }

    /// When everything is slow, hedges stay within the budget and nearly stop until the new latency
    /// has become the usual one.
    #[test]
    fn common_slowness_adds_no_load() {
        let found = all_slower(1);
        println!("{found}");
        assert!(found.most_in_ten_seconds <= 0.052, "{found:?}");
        assert!(found.until_ten_seconds <= 0.005, "{found:?}");
        assert!(
            found.ten_seconds_later > 0.02,
            "hedging comes back: {found:?}"
        );
    }
}
