//! One fan-out, and the same calls joined by hand, in turn: same process, same thread, same
//! connections.

use super::leaves::{Leaves, Manner, REPLY_BYTES};
use super::lengths::Lengths;
use crate::definition::{HedgeSpec, LimitsSpec};
use crate::pool::{Call, Host, LeafUrl, Protocol};
use crate::scatter::Scatter;
use bytes::Bytes;
use futures::future::join_all;
use http::Method;
use quorate_core::error::{Code, Error};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Servers that the shards lie on.
const SERVERS: usize = 10;
/// Pairs before any is counted: connections are made, and branches learnt.
const WARM_UP: u32 = 20;

/// Two ways of asking the same.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pair {
    /// By a scatter with all of its policy, hedging armed.
    pub scatter: f64,
    /// By `join_all`.
    pub by_hand: f64,
}

impl Pair {
    /// How many times as much the scatter takes.
    pub fn ratio(self) -> f64 {
        self.scatter / self.by_hand
    }
}

/// What one number of leaves costs.
#[derive(Clone, Debug, Serialize)]
pub struct Overhead {
    /// Leaves of a request.
    pub leaves: usize,
    /// Pairs of requests.
    pub pairs: u32,
    /// Median time of a request, in milliseconds.
    pub p50_ms: Pair,
    /// Time of the processor for a request, in microseconds: everything on the root's thread, its
    /// connections included.
    pub cpu_us: Pair,
}

/// Measures, on a runtime of this thread alone.
///
/// # Errors
/// When the leaves cannot be started or do not answer.
pub fn overhead(leaves: usize, pairs: u32) -> Result<Overhead, Error> {
    let internal = |error: std::io::Error| Error::new(Code::Internal, error.to_string());
    let servers = Leaves::start(SERVERS.min(leaves), Manner::AtOnce).map_err(internal)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(measure(&servers, leaves, pairs))
}

async fn measure(servers: &Leaves, leaves: usize, pairs: u32) -> Result<Overhead, Error> {
    let urls: Vec<String> = (0..leaves)
        .map(|leaf| format!("{}/{leaf}", servers.urls()[leaf % servers.urls().len()]))
        .collect();
    let mut builder = Scatter::builder()
        .protocol(Protocol::Http2)
        .timeout(Duration::from_secs(60))
        .hedge(HedgeSpec::delay_ms(30_000))
        .limits(LimitsSpec::default())
        .merger(Lengths);
    for (leaf, url) in urls.iter().enumerate() {
        // A second replica, so that there is something to hedge to.
        let other = &servers.urls()[(leaf + 1) % servers.urls().len()];
        builder = builder.shard(leaf.to_string(), [url.clone(), format!("{other}/{leaf}")]);
    }
    let scatter = builder.build()?;
    let mut calls = Vec::with_capacity(leaves);
    for url in &urls {
        let url = LeafUrl::parse(url).map_err(|error| Error::invalid(error.to_string()))?;
        let call = Call::new(Method::POST, url.path(), 1 << 20);
        // The connections are those of the scatter.
        calls.push((scatter.hosts().host(&url, Protocol::Http2), call));
    }
    let mut times = (Vec::new(), Vec::new());
    let mut cpu = (Duration::ZERO, Duration::ZERO);
    for pair in 0..pairs + WARM_UP {
        // Each goes first as often as the other.
        for turn in 0..2 {
            let (begin, cpu_begin) = (Instant::now(), thread_cpu());
            let by_hand = (turn + pair) % 2 == 0;
            let bytes = if by_hand {
                joined(&calls).await?
            } else {
                let answer = scatter.query(Bytes::new()).await?;
                let text = std::str::from_utf8(&answer.merged.body).unwrap_or_default();
                text.parse().unwrap_or_default()
            };
            let (took, busy) = (begin.elapsed(), thread_cpu().saturating_sub(cpu_begin));
            if bytes != leaves * REPLY_BYTES {
                return Err(Error::new(
                    Code::Internal,
                    format!("{bytes} bytes came back"),
                ));
            }
            if pair < WARM_UP {
                continue;
            }
            let (times, cpu) = if by_hand {
                (&mut times.1, &mut cpu.1)
            } else {
                (&mut times.0, &mut cpu.0)
            };
            times.push(took);
            *cpu += busy;
        }
    }
    let p50 = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    };
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / f64::from(pairs);
    Ok(Overhead {
        leaves,
        pairs,
        p50_ms: Pair {
            scatter: p50(&mut times.0),
            by_hand: p50(&mut times.1),
        },
        cpu_us: Pair {
            scatter: each(cpu.0),
            by_hand: each(cpu.1),
        },
    })
}

/// The loop one would write by hand: everything at once, and all or nothing.
async fn joined(calls: &[(Arc<Host>, Call)]) -> Result<usize, Error> {
    let all = join_all(calls.iter().map(|(host, call)| host.call(call))).await;
    let mut bytes = 0;
    for reply in all {
        let reply =
            reply.map_err(|error| Error::new(Code::InsufficientShards, error.to_string()))?;
        bytes += reply.body.len();
    }
    Ok(bytes)
}

/// What this thread has used of a processor.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The measurement runs, and both ways get every answer. How fast is not a matter of a test.
    #[test]
    fn both_ways_get_every_answer() {
        let pairs = std::env::var("PAIRS").ok().and_then(|n| n.parse().ok());
        for leaves in [10, 100] {
            let found = overhead(leaves, pairs.unwrap_or(5)).unwrap();
            println!(
                "{found:?}: p50 {:.3}, CPU {:.3}",
                found.p50_ms.ratio(),
                found.cpu_us.ratio()
            );
            assert!(found.p50_ms.by_hand > 0.0 && found.p50_ms.scatter > 0.0);
        }
    }
}
