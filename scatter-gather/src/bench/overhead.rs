//! One fan-out, and the same calls joined by hand, in turn: same process, same thread, same
//! connections.
//!
//! By hand there are two ways. The bare one sends nothing but the calls. The other tells each leaf how much time
//! it has, as the scatter does and as one would who wants leaves to stop in time, and gives up then: a header
//! costs the connection more than anything else does that is done for a call.

use super::leaves::{Leaves, Manner, REPLY_BYTES};
use super::lengths::Lengths;
use crate::definition::{HedgeSpec, LimitsSpec};
use crate::pool::{Call, CallError, Host, LeafUrl, Protocol, Reply};
use crate::scatter::Scatter;
use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, HeaderValue, Method};
use quorate_core::error::{Code, Error};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Servers that the shards lie on.
const SERVERS: usize = 10;
/// Rounds before any is counted: connections are made, and branches learnt.
const WARM_UP: u32 = 20;
/// Within which all is to be answered.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Three ways of asking the same.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Ways {
    /// By a scatter with all of its policy, hedging armed.
    pub scatter: f64,
    /// By `join_all` and nothing else.
    pub by_hand: f64,
    /// By `join_all` within a time that leaves are told.
    pub by_hand_told: f64,
}

impl Ways {
    /// How many times as much the scatter takes as the bare join.
    pub fn ratio(self) -> f64 {
        self.scatter / self.by_hand
    }

    /// How many times as much it takes as the join that tells leaves their time.
    pub fn ratio_told(self) -> f64 {
        self.scatter / self.by_hand_told
    }
}

/// What one number of leaves costs.
#[derive(Clone, Debug, Serialize)]
pub struct Overhead {
    /// Leaves of a request.
    pub leaves: usize,
    /// Requests in each way.
    pub requests: u32,
    /// Median time of a request, in milliseconds.
    pub p50_ms: Ways,
    /// Time of the processor for a request, in microseconds: everything on the root's thread, its
    /// connections included.
    pub cpu_us: Ways,
}

/// Measures, on a runtime of this thread alone.
///
/// # Errors
/// When the leaves cannot be started or do not answer.
pub fn overhead(leaves: usize, requests: u32) -> Result<Overhead, Error> {
    let internal = |error: std::io::Error| Error::new(Code::Internal, error.to_string());
    let servers = Leaves::start(SERVERS.min(leaves), Manner::AtOnce).map_err(internal)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(internal)?;
    runtime.block_on(measure(&servers, leaves, requests))
}

async fn measure(servers: &Leaves, leaves: usize, requests: u32) -> Result<Overhead, Error> {
    let urls: Vec<String> = (0..leaves)
        .map(|leaf| format!("{}/{leaf}", servers.urls()[leaf % servers.urls().len()]))
        .collect();
    let mut builder = Scatter::builder()
        .protocol(Protocol::Http2)
        .timeout(TIMEOUT)
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
    let mut found = [const { (Vec::new(), Duration::ZERO) }; 3];
    for round in 0..requests + WARM_UP {
        // Each comes first as often as the others.
        for turn in 0..3 {
            let way = (turn + round) % 3;
            let (begin, cpu_begin) = (Instant::now(), thread_cpu());
            let bytes = match way {
                0 => {
                    let answer = scatter.query(Bytes::new()).await?;
                    let text = std::str::from_utf8(&answer.merged.body).unwrap_or_default();
                    text.parse().unwrap_or_default()
                }
                1 => joined(&calls).await?,
                _ => joined_in_time(&calls).await?,
            };
            let (took, busy) = (begin.elapsed(), thread_cpu().saturating_sub(cpu_begin));
            if bytes != leaves * REPLY_BYTES {
                return Err(Error::new(
                    Code::Internal,
                    format!("{bytes} bytes came back"),
                ));
            }
            if round >= WARM_UP {
                let (times, cpu) = &mut found[way as usize];
                times.push(took);
                *cpu += busy;
            }
        }
    }
    let p50_ms = found.each_mut().map(|(times, _)| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e3
    });
    let cpu_us = found.map(|(_, cpu)| cpu.as_secs_f64() * 1e6 / f64::from(requests));
    let ways = |[scatter, by_hand, by_hand_told]: [f64; 3]| Ways {
        scatter,
        by_hand,
        by_hand_told,
    };
    Ok(Overhead {
        leaves,
        requests,
        p50_ms: ways(p50_ms),
        cpu_us: ways(cpu_us),
    })
}

/// The loop one would write by hand: everything at once, and all or nothing.
async fn joined(calls: &[(Arc<Host>, Call)]) -> Result<usize, Error> {
    let all = join_all(calls.iter().map(|(host, call)| host.call(call))).await;
    bytes(all)
}

/// The same with a time that it keeps and that leaves are told.
async fn joined_in_time(calls: &[(Arc<Host>, Call)]) -> Result<usize, Error> {
    let mut headers = HeaderMap::new();
    let ms = u64::try_from(TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    headers.insert("quorate-deadline-ms", HeaderValue::from(ms));
    let headers = Arc::new(headers);
    let told = calls.iter().map(async |(host, call)| {
        let call = Call {
            headers: Arc::clone(&headers),
            ..call.clone()
        };
        host.call(&call).await
    });
    match tokio::time::timeout(TIMEOUT, join_all(told)).await {
        Ok(all) => bytes(all),
        Err(_) => Err(Error::new(Code::DeadlineExceeded, "not all answered")),
    }
}

fn bytes(all: Vec<Result<Reply, CallError>>) -> Result<usize, Error> {
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

    /// The measurement runs, and all ways get every answer. How fast is not a matter of a test.
    #[test]
    fn all_ways_get_every_answer() {
        let requests = std::env::var("REQUESTS").ok().and_then(|n| n.parse().ok());
        for leaves in [10, 100] {
            let found = overhead(leaves, requests.unwrap_or(5)).unwrap();
            println!(
                "{found:?}: p50 {:.3}, CPU {:.3}; told: {:.3}, {:.3}",
                found.p50_ms.ratio(),
                found.cpu_us.ratio(),
                found.p50_ms.ratio_told(),
                found.cpu_us.ratio_told()
            );
            assert!(found.p50_ms.by_hand > 0.0 && found.p50_ms.scatter > 0.0);
        }
    }
}
