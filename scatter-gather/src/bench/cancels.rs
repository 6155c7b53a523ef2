//! Losers by the million: requests that want the first of many answers and cancel all other calls.

use super::leaves::{Leaves, Manner};
use super::lengths::Lengths;
use crate::definition::{PolicyOptions, PolicySpec};
use crate::pool::{LeafUrl, Protocol};
use crate::scatter::Scatter;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use serde::Serialize;
use std::time::{Duration, Instant};

const SERVERS: usize = 10;
/// Shards of a request, of which one answers.
const SHARDS: usize = 100;

/// What it comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Cancels {
    /// Calls that were cancelled.
    pub cancelled: u64,
    /// Requests.
    pub requests: u64,
    /// Of them without an answer.
    pub failed: u64,
    /// Connections that were opened, in all.
    pub connections: u64,
    /// Connections that ended in an error, such as the peer's GOAWAY.
    pub lost: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Cancels at least so many calls.
///
/// # Errors
/// Leaves that cannot be started.
pub async fn cancels(number: u64) -> Result<Cancels, Error> {
    let leaves = Leaves::start(SERVERS, Manner::OnlyTheFirst)
        .map_err(|error| Error::new(Code::Internal, error.to_string()))?;
    let mut builder = Scatter::builder()
        .protocol(Protocol::Http2)
        .timeout(Duration::from_secs(60))
        .policy(PolicySpec::Options(PolicyOptions {
            first: Some(1),
            ..PolicyOptions::default()
        }))
        .merger(Lengths);
    for shard in 0..SHARDS {
        let server = &leaves.urls()[shard % SERVERS];
        builder = builder.shard(shard.to_string(), [format!("{server}/{shard}/0")]);
    }
    let scatter = builder.build()?;
    let mut hosts = Vec::new();
    for url in leaves.urls() {
        let url = LeafUrl::parse(url).map_err(|error| Error::invalid(error.to_string()))?;
        hosts.push(scatter.hosts().host(&url, Protocol::Http2));
    }
    let begin = Instant::now();
    let (mut requests, mut cancelled, mut failed) = (0, 0, 0);
    while cancelled < number {
        requests += 1;
        match scatter.query(Bytes::new()).await {
            Ok(answer) => cancelled += answer.counts.unneeded,
            Err(_) => failed += 1,
        }
        if failed > 1_000 {
            return Err(Error::new(
                Code::Internal,
                "too many requests have no answer",
            ));
        }
    }
    Ok(Cancels {
        cancelled,
        requests,
        failed,
        connections: hosts.iter().map(|host| host.connected()).sum(),
        lost: hosts.iter().map(|host| host.lost()).sum(),
        seconds: begin.elapsed().as_secs_f64(),
    })
}
