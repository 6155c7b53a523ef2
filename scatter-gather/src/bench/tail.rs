//! The Tail at Scale over real sockets: the experiments that `sim` runs in simulated time, with real leaves,
//! real timers and the machine's own noise.

use super::leaves::{Leaves, Manner};
use super::lengths::Lengths;
use crate::definition::HedgeSpec;
use crate::gather::Trigger;
use crate::pool::Protocol;
use crate::scatter::{Answer, Scatter};
use crate::sim::{Latency, Line, Policy, Row, Table, quantile};
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

/// Requests of so many seconds are sent before any counts, until every replica's quantiles are known.
const WARM_UP_SECONDS: u64 = 10;

impl Load {
    /// How long it takes to offer it once.
    pub fn takes(&self) -> Duration {
        Duration::from_secs(WARM_UP_SECONDS + self.requests.div_ceil(u64::from(self.rate)))
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
struct Found {
    /// Times in milliseconds, from when a request was due, sorted.
    times_ms: Vec<f64>,
    sends: u64,
    hedges: u64,
    failed: u64,
}

impl Found {
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn row(&self) -> Row {
        let extra = self.hedges as f64 / (self.sends - self.hedges).max(1) as f64;
        Row::of(|q| quantile(&self.times_ms, q), extra)
    }
}

/// Replica r of shard s lies on server (s + r times a share of them): a server hangs for few shards.
fn scatter(
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

/// Sends requests at their times, the first seconds' uncounted.
async fn offer(scatter: &Scatter, load: Load) -> Result<Found, Error> {
    let warm_up = u64::from(load.rate) * WARM_UP_SECONDS;
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

/// The definition's form of a policy.
fn hedge(policy: &Policy) -> Option<HedgeSpec> {
    let hedge = policy.hedge?;
    let spec = match hedge.trigger {
        Trigger::Quantile(quantile) => HedgeSpec::quantile(quantile.fraction()),
        Trigger::Delay(delay) => {
            HedgeSpec::delay_ms(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
        }
    };
    Some(HedgeSpec {
        budget: policy.budget.fraction(),
        burst: policy.burst,
        hedges_max: hedge.hedges_max,
        ..spec
    })
}

/// Each policy in turn over leaves of its own; `done` hears of each.
async fn compare(
    policies: Vec<Policy>,
    latency: Latency,
    (servers, replicas): (usize, usize),
    load: Load,
    done: &mut impl FnMut(&Line),
) -> Result<Vec<Line>, Error> {
    let mut lines = Vec::with_capacity(policies.len());
    for policy in policies {
        let leaves = delayed(servers, &latency, load.seed, 0)?;
        // Nothing is cut off: the whole tail is to be seen.
        let within = Duration::from_secs(3_600);
        let scatter = scatter(&leaves, load.shards, replicas, hedge(&policy), within)?;
        let found = offer(&scatter, load).await?;
        let shards = u32::try_from(load.shards).unwrap_or(u32::MAX);
        lines.push(policy.line(&latency, shards, found.row()));
        lines.last().into_iter().for_each(&mut *done);
    }
    Ok(lines)
}

/// Experiment A over real sockets: all of the shards, each with two replicas, on twenty servers at most.
///
/// # Errors
/// Leaves that cannot be started, or do not answer.
pub async fn tail_at_scale(load: Load, done: &mut impl FnMut(&Line)) -> Result<Table, Error> {
    let shards = u32::try_from(load.shards).unwrap_or(u32::MAX);
    let (policies, latency) = (Policy::of_the_paper(shards), Latency::paper());
    let servers = 20.min(2 * load.shards);
    Ok(Table {
        title: format!(
            "The Tail at Scale over sockets: all of {} shards, {} requests at {} a second",
            load.shards, load.requests, load.rate
        ),
        lines: compare(policies, latency, (servers, 2), load, done).await?,
    })
}

/// Experiment C over real sockets: single calls with 5 % stragglers, three replicas, up to two hedges.
///
/// # Errors
/// As above.
pub async fn head_to_head(load: Load, done: &mut impl FnMut(&Line)) -> Result<Table, Error> {
    let load = Load { shards: 1, ..load };
    let (policies, latency) = (Policy::of_stragglers(), Latency::stragglers());
    Ok(Table {
        title: format!(
            "Stragglers over sockets, against bhope/hedge: {} single calls at {} a second",
            load.requests, load.rate
        ),
        lines: compare(policies, latency, (3, 3), load, done).await?,
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

/// Measures it, with hedges by the 95th percentile; `done` hears of the run without those that hang, then of
/// the one with them.
///
/// # Errors
/// As above.
pub async fn hung(load: Load, done: &mut impl FnMut(&Row)) -> Result<Hung, Error> {
    const SERVERS: usize = 20;
    const HUNG: usize = SERVERS / 10;
    let latency = Latency::paper();
    // What hangs is there from the beginning; what is usual has to be learnt first in both runs.
    let run = async |hung| {
        let leaves = delayed(SERVERS, &latency, load.seed, hung)?;
        let hedge = Some(HedgeSpec::quantile(0.95));
        let scatter = scatter(&leaves, load.shards, 2, hedge, Duration::from_secs(10))?;
        offer(&scatter, load).await
    };
    let healthy = run(0).await?.row();
    done(&healthy);
    let found = run(HUNG).await?;
    let with_hung = found.row();
    done(&with_hung);
    Ok(Hung {
        shards: load.shards,
        servers: SERVERS,
        hung: HUNG,
        healthy,
        with_hung,
        failed: found.failed,
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
