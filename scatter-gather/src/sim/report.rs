//! The experiments of *The Tail at Scale* as tables: what was published, what the closed form says,
//! what the engine does.

use super::experiment::{Found, Setting, run};
use super::tail::Latency;
use crate::gather::{HedgePolicy, Share};
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

/// The part of the calls that a run of these experiments may repeat: above any policy's need, so that
/// the budget does not distort what the policy does.
const AMPLE: Share = Share::ppm(150_000);

fn row(found: &Found) -> Row {
    Row {
        p50: found.quantile_ms(0.5),
        p95: found.quantile_ms(0.95),
        p99: found.quantile_ms(0.99),
        p999: found.quantile_ms(0.999),
        extra: found.extra(0..usize::MAX),
    }
}

fn closed(latency: &Latency, shards: u32, hedges_ms: &[f64]) -> Row {
    let at = |q| latency.all_quantile(shards, hedges_ms, q);
    Row {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        extra: latency.extra(hedges_ms),
    }
}

/// Experiment A: all of `shards` keys on 100 servers with two replicas, as in the paper's example.
pub fn tail_at_scale(shards: u32, requests: u32, seed: u64) -> Table {
    let latency = Latency::paper();
    let fixed = |ms: u64| HedgePolicy::delay(Duration::from_millis(ms));
    let at = |ppm| HedgePolicy::quantile(Share::ppm(ppm));
    let (p95, p99) = (latency.quantile(0.95), latency.quantile(0.99));
    let published = |p999, extra| {
        Some(Row {
            p999,
            extra,
            ..Row::default()
        })
        .filter(|_| shards == 1_000)
    };
    let policies = [
        ("none".to_owned(), None, vec![], published(1_800.0, 0.0)),
        (
            "fixed 10 ms".to_owned(),
            Some(fixed(10)),
            vec![10.0],
            published(74.0, 0.02),
        ),
        (
            format!("p95 ({p95:.1} ms)"),
            Some(at(950_000)),
            vec![p95],
            None,
        ),
        (
            format!("p99 ({p99:.1} ms)"),
            Some(at(990_000)),
            vec![p99],
            None,
        ),
    ];
    let lines = policies
        .into_iter()
        .map(|(policy, hedge, hedges_ms, published)| {
            let found = run(&Setting {
                shards,
                servers: 100.min(shards),
                replicas: 2,
                latency: latency.clone(),
                hedge,
                budget: AMPLE,
                burst: 10_000,
                gap: Duration::from_millis(20),
                // Until each server has answered a few thousand times.
                warm_up: 500,
                requests,
                slower: None,
                seed,
            });
            Line {
                policy,
                measured: row(&found),
                closed: Some(closed(&latency, shards, &hedges_ms)),
                published,
            }
        });
    Table {
        title: format!("The Tail at Scale: all of {shards} shards, {requests} requests"),
        lines: lines.collect(),
    }
}

/// Experiment C: single calls with 5 % stragglers, as in the benchmark of bhope/hedge, and at most two
/// hedges, each to another of three replicas.
pub fn head_to_head(requests: u32, seed: u64) -> Table {
    let latency = Latency::stragglers();
    let quantile = 0.93;
    let threshold = latency.quantile(quantile);
    let adaptive = HedgePolicy {
        hedges_max: 2,
        ..HedgePolicy::quantile(Share::ppm(930_000))
    };
    let published = |p50, p95, p99, p999, extra| {
        Some(Row {
            p50,
            p95,
            p99,
            p999,
            extra,
        })
    };
    let policies = [
        (
            "none".to_owned(),
            None,
            vec![],
            published(5.1, 18.8, 65.0, 103.8, 0.0),
        ),
        (
            format!("p93 ({threshold:.1} ms), twice"),
            Some(adaptive),
            vec![threshold, 2.0 * threshold],
            published(5.0, 12.3, 17.3, 63.5, 0.089),
        ),
    ];
    let lines = policies
        .into_iter()
        .map(|(policy, hedge, hedges_ms, published)| {
            let found = run(&Setting {
                shards: 1,
                servers: 3,
                replicas: 3,
                latency: latency.clone(),
                hedge,
                budget: Share::ppm(80_000),
                burst: 10,
                gap: Duration::from_millis(5),
                warm_up: 2_000,
                requests,
                slower: None,
                seed,
            });
            Line {
                policy,
                measured: row(&found),
                closed: Some(closed(&latency, 1, &hedges_ms)),
                published,
            }
        });
    Table {
        title: format!("Stragglers, against bhope/hedge: {requests} single calls"),
        lines: lines.collect(),
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
        latency: Latency::paper(),
        hedge: Some(HedgePolicy::default()),
        budget: Share::ppm(50_000),
        burst: 10,
        gap,
        warm_up: 1_000,
        requests: 2_500,
        slower: Some((Duration::from_secs(CALM_SECONDS as u64), 10.0)),
        seed,
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
