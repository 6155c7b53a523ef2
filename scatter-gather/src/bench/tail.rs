//! The Tail at Scale over real sockets: the experiments that `sim` runs in simulated time, with real leaves,
//! real timers and the machine's own noise.

use super::leaves::{Leaves, Manner};
use super::lengths::Lengths;
use crate::definition::HedgeSpec;
use crate::pool::Protocol;
use crate::scatter::{Answer, Scatter};
use crate::sim::{Latency, Line, Row, Table};
use quorate_core::error::{Code, Error};
use serde::Serialize;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A load of requests that do not wait for each other.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Shards of a request.
    pub shards: usize,
    /// Requests that count.
    pub requests: u64,
    /// Requests a second.
    pub rate: u32,
    /// What the leaves' times follow from.
    pub seed: u64,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Times in milliseconds, from when a request was due, sorted.
    pub(super) times_ms: Vec<f64>,
    sends: u64,
    hedges: u64,
    pub(super) failed: u64,
}

impl Found {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a place in a list that is far shorter than 2^52"
    )]
    pub(super) fn quantile_ms(&self, q: f64) -> f64 {
        let place = (q * self.times_ms.len() as f64).ceil() as usize;
        let last = self.times_ms.len().saturating_sub(1);
        let place = place.saturating_sub(1).min(last);
        self.times_ms.get(place).copied().unwrap_or(0.0)
    }

    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub(super) fn row(&self) -> Row {
        Row {
            p50: self.quantile_ms(0.5),
            p95: self.quantile_ms(0.95),
            p99: self.quantile_ms(0.99),
            p999: self.quantile_ms(0.999),
            extra: self.hedges as f64 / (self.sends - self.hedges).max(1) as f64,
        }
    }
}

/// Replica r of shard s lies on server (s + r times a share of them): a server hangs for few shards.
pub(super) fn scatter(
    leaves: &Leaves,
    shards: usize,
    replicas: usize,
    hedge: Option<HedgeSpec>,
    timeout: Duration,
) -> Result<Scatter, Error> {
    let mut builder = Scatter::builder()
        .protocol(Protocol::Http2)
        .timeout(timeout)
        .merger(Lengths);
    if let Some(hedge) = hedge {
        builder = builder.hedge(hedge);
    }
    let servers = leaves.urls();
    let apart = (servers.len() / replicas).max(1);
    for shard in 0..shards {
        let urls = (0..replicas).map(|replica| {
            let server = (shard + replica * apart) % servers.len();
            format!("{}/{shard}/{replica}", servers[server])
        });
        builder = builder.shard(shard.to_string(), urls);
    }
    builder.build()
}

/// Sends requests at their times, the first `warm_up` uncounted.
pub(super) async fn offer(scatter: &Scatter, load: Load, warm_up: u64) -> Result<Found, Error> {
    let begin = Instant::now() + Duration::from_millis(50);
    let gap = Duration::from_secs(1) / load.rate;
    let mut under_way = JoinSet::new();
    let mut found = Found::default();
    let mut take = |done: Result<(u64, Duration, Option<Answer>), tokio::task::JoinError>| {
        let (number, took, answer) =
            done.map_err(|error| Error::new(Code::Internal, error.to_string()))?;
        if number < warm_up {
            return Ok::<_, Error>(());
        }
        match answer.filter(|answer| answer.complete) {
            None => found.failed += 1,
            Some(answer) => {
                found.times_ms.push(took.as_secs_f64() * 1e3);
                found.hedges += u64::from(answer.hedges);
                let sends = answer.shards.iter().map(|shard| u64::from(shard.attempts));
                found.sends += sends.sum::<u64>();
            }
        }
        Ok(())
    };
    for number in 0..warm_up + load.requests {
        let due = begin + gap.mul_f64(f64::from(u32::try_from(number).unwrap_or(u32::MAX)));
        tokio::time::sleep_until(due).await;
        let scatter = scatter.clone();
        // A request begins when it is sent. That the sender was late is the sender's, unless it could not keep up.
        let begin = Instant::now().max(due);
        under_way.spawn(async move {
            let body = number.to_le_bytes().to_vec();
            let answer = scatter.query(body).await.ok();
            (number, begin.elapsed(), answer)
        });
        while let Some(done) = under_way.try_join_next() {
            take(done)?;
        }
    }
    while let Some(done) = under_way.join_next().await {
        take(done)?;
    }
    found.times_ms.sort_by(f64::total_cmp);
    Ok(found)
}

fn closed(latency: &Latency, shards: usize, hedges_ms: &[f64]) -> Row {
    let shards = u32::try_from(shards).unwrap_or(u32::MAX);
    let at = |q| latency.all_quantile(shards, hedges_ms, q);
    Row {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        extra: latency.extra(hedges_ms),
    }
}

/// Hedges that a run of these experiments may send: above any policy's need, so that the budget does not
/// distort what the policy does.
fn ample(hedge: &HedgeSpec) -> HedgeSpec {
    HedgeSpec {
        budget: 0.15,
        burst: 10_000,
        ..hedge.clone()
    }
}

/// Experiment A over real sockets: all of the shards, each with two replicas, on twenty servers at most.
///
/// # Errors
/// Leaves that cannot be started, or do not answer.
pub async fn tail_at_scale(load: Load) -> Result<Table, Error> {
    let latency = Latency::paper();
    let (p95, p99) = (latency.quantile(0.95), latency.quantile(0.99));
    let policies = [
        ("none".to_owned(), None, vec![]),
        (
            "fixed 10 ms".to_owned(),
            Some(HedgeSpec::delay_ms(10)),
            vec![10.0],
        ),
        (
            format!("p95 ({p95:.1} ms)"),
            Some(HedgeSpec::quantile(0.95)),
            vec![p95],
        ),
        (
            format!("p99 ({p99:.1} ms)"),
            Some(HedgeSpec::quantile(0.99)),
            vec![p99],
        ),
    ];
    let mut lines = Vec::new();
    for (policy, hedge, hedges_ms) in policies {
        let leaves = delayed(20.min(2 * load.shards), &latency, load.seed, 0)?;
        let scatter = scatter(
            &leaves,
            load.shards,
            2,
            hedge.as_ref().map(ample),
            Duration::from_secs(3_600),
        )?;
        // Until every replica's quantiles are known.
        let found = offer(&scatter, load, u64::from(load.rate) * 10).await?;
        lines.push(Line {
            policy,
            measured: found.row(),
            closed: Some(closed(&latency, load.shards, &hedges_ms)),
            published: None,
        });
    }
    Ok(Table {
        title: format!(
            "The Tail at Scale over sockets: all of {} shards, {} requests at {} a second",
            load.shards, load.requests, load.rate
        ),
        lines,
    })
}

/// Experiment C over real sockets: single calls with 5 % stragglers, three replicas, up to two hedges.
///
/// # Errors
/// As above.
pub async fn head_to_head(load: Load) -> Result<Table, Error> {
    let latency = Latency::stragglers();
    let threshold = latency.quantile(0.93);
    let published = |p50, p95, p99, p999, extra| {
        Some(Row {
            p50,
            p95,
            p99,
            p999,
            extra,
        })
    };
    let adaptive = HedgeSpec {
        hedges_max: 2,
        budget: 0.08,
        ..HedgeSpec::quantile(0.93)
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
    let mut lines = Vec::new();
    for (policy, hedge, hedges_ms, published) in policies {
        let leaves = delayed(3, &latency, load.seed, 0)?;
        let scatter = scatter(&leaves, 1, 3, hedge, Duration::from_secs(3_600))?;
        let found = offer(&scatter, load, u64::from(load.rate) * 5).await?;
        lines.push(Line {
            policy,
            measured: found.row(),
            closed: Some(closed(&latency, 1, &hedges_ms)),
            published,
        });
    }
    Ok(Table {
        title: format!(
            "Stragglers over sockets, against bhope/hedge: {} single calls at {} a second",
            load.requests, load.rate
        ),
        lines,
    })
}

/// A tenth of the replicas take requests and never answer.
#[derive(Clone, Debug, Serialize)]
pub struct Hung {
    /// Shards of a request, each with two replicas.
    pub shards: usize,
    /// Servers, and how many of them hang.
    pub servers: usize,
    /// How many of them hang.
    pub hung: usize,
    /// All well.
    pub healthy: Row,
    /// With those that hang, from the first request on.
    pub with_hung: Row,
    /// Requests that had no whole answer.
    pub failed: u64,
}

/// Measures it, with hedges by the 95th percentile.
///
/// # Errors
/// As above.
pub async fn hung(load: Load) -> Result<Hung, Error> {
    const SERVERS: usize = 20;
    let latency = Latency::paper();
    let mut rows = Vec::new();
    let mut failed = 0;
    for hung in [0, SERVERS / 10] {
        let leaves = delayed(SERVERS, &latency, load.seed, hung)?;
        let hedge = HedgeSpec::quantile(0.95);
        let scatter = scatter(
            &leaves,
            load.shards,
            2,
            Some(hedge),
            Duration::from_secs(10),
        )?;
        // What hangs is there from the beginning; what is usual has to be learnt first in both runs.
        let warm_up = u64::from(load.rate) * 10;
        let found = offer(&scatter, load, warm_up).await?;
        failed = found.failed;
        rows.push(found.row());
    }
    Ok(Hung {
        shards: load.shards,
        servers: SERVERS,
        hung: SERVERS / 10,
        healthy: rows[0],
        with_hung: rows[1],
        failed,
    })
}

fn delayed(servers: usize, latency: &Latency, seed: u64, hung: usize) -> Result<Leaves, Error> {
    let manner = Manner::Delayed {
        latency: latency.clone(),
        seed,
        hung,
    };
    Leaves::start(servers, manner).map_err(|error| Error::new(Code::Internal, error.to_string()))
}
