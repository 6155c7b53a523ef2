//! Twice as much as the leaves can do, each behind a gate.

use super::leaves::{Leaves, Manner};
use super::lengths::Lengths;
use crate::api::gate_router;
use crate::gate::Gate;
use crate::pool::{LeafUrl, Protocol};
use crate::scatter::Scatter;
use crate::sim::quantile;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests that a leaf works on at once, and how long each takes.
const WORKERS: usize = 2;
const TAKES: Duration = Duration::from_millis(10);
/// What leaves can do, a second.
const CAPACITY: u32 = 200;
const DEADLINE: Duration = Duration::from_secs(1);

/// Seconds of the phases before twice the load, and after.
const LEARN: u32 = 5;
const PEAK: u32 = 10;
const AFTER: u32 = 15;

/// How long [`overload`] takes with so many seconds of twice the load.
pub fn overload_takes(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(LEARN + PEAK + seconds + AFTER))
}

/// What it comes to.
#[derive(Clone, Debug, Serialize)]
pub struct UnderLoad {
    /// Shards of a request, one replica each.
    pub shards: usize,
    /// Whole answers a second at the most that the leaves can do.
    pub peak: f64,
    /// The same at twice the load.
    pub goodput: f64,
    /// 99th percentile of the whole answers' times at twice the load, in milliseconds.
    pub accepted_p99_ms: f64,
    /// Requests refused or failed at twice the load, of all.
    pub refused: f64,
    /// Their median time, in milliseconds: how long it takes to be sent away.
    pub refused_p50_ms: f64,
    /// Seconds after the load has gone down to half until a whole second goes by without a failure.
    pub recovery_seconds: f64,
}

struct Phase {
    good_ms: Vec<f64>,
    bad_ms: Vec<f64>,
    /// When the last failure's request was sent, from the phase's begin.
    last_bad: Duration,
}

/// Offers what the leaves can do, then twice as much for so many seconds, then half.
///
/// # Errors
/// Leaves or gates that cannot be started.
pub async fn overload(shards: usize, seconds: u32) -> Result<UnderLoad, Error> {
    let internal = |error: std::io::Error| Error::new(Code::Internal, error.to_string());
    let manner = Manner::Working {
        workers: WORKERS,
        takes: TAKES,
    };
    let leaves = Leaves::start(shards, manner).map_err(internal)?;
    let mut gates = JoinSet::new();
    let mut builder = Scatter::builder()
        .protocol(Protocol::Http2)
        .timeout(DEADLINE)
        .merger(Lengths);
    for (shard, url) in leaves.urls().iter().enumerate() {
        let url = LeafUrl::parse(url).map_err(|error| Error::invalid(error.to_string()))?;
        let router = gate_router(Arc::new(Gate::new(url)), false, None)?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(internal)?;
        let address = listener.local_addr().map_err(internal)?;
        gates.spawn(async move { axum::serve(listener, router).await });
        builder = builder.shard(shard.to_string(), [format!("http://{address}")]);
    }
    let scatter = builder.build()?;
    // The gates learn what their leaves can do.
    phase(&scatter, CAPACITY / 2, LEARN).await;
    let peak = phase(&scatter, CAPACITY, PEAK).await;
    let double = phase(&scatter, 2 * CAPACITY, seconds).await;
    let half = phase(&scatter, CAPACITY / 2, AFTER).await;
    let total = double.good_ms.len() + double.bad_ms.len();
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    Ok(UnderLoad {
        shards,
        peak: peak.good_ms.len() as f64 / f64::from(PEAK),
        goodput: double.good_ms.len() as f64 / f64::from(seconds),
        accepted_p99_ms: quantile(&double.good_ms, 0.99),
        refused: double.bad_ms.len() as f64 / total.max(1) as f64,
        refused_p50_ms: quantile(&double.bad_ms, 0.5),
        recovery_seconds: half.last_bad.as_secs_f64(),
    })
}

async fn phase(scatter: &Scatter, rate: u32, seconds: u32) -> Phase {
    let begin = Instant::now();
    let mut under_way = JoinSet::new();
    for number in 0..rate * seconds {
        let due = Duration::from_secs(1).mul_f64(f64::from(number) / f64::from(rate));
        tokio::time::sleep_until(begin + due).await;
        let scatter = scatter.clone();
        under_way.spawn(async move {
            let sent = Instant::now();
            let good = scatter
                .query(Bytes::new())
                .await
                .is_ok_and(|answer| answer.complete);
            (good, sent - begin, sent.elapsed())
        });
    }
    let mut phase = Phase {
        good_ms: Vec::new(),
        bad_ms: Vec::new(),
        last_bad: Duration::ZERO,
    };
    while let Some(done) = under_way.join_next().await {
        let Ok((good, sent, took)) = done else {
            continue;
        };
        let ms = took.as_secs_f64() * 1e3;
        if good {
            phase.good_ms.push(ms);
        } else {
            phase.bad_ms.push(ms);
            phase.last_bad = phase.last_bad.max(sent);
        }
    }
    phase.good_ms.sort_by(f64::total_cmp);
    phase.bad_ms.sort_by(f64::total_cmp);
    phase
}
