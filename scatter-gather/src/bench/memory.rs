//! How much memory a merge takes: many large answers, of which a page is kept.

use crate::definition::LimitsSpec;
use crate::merge::MergeSpec;
use crate::pool::Protocol;
use crate::scatter::Scatter;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use serde::Serialize;
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

/// What it comes to.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Shards of the request.
    pub shards: usize,
    /// Calls at once (`limits.calls`).
    pub calls: u32,
    /// Bytes of all answers.
    pub answered: u64,
    /// Bytes of the result.
    pub result: usize,
    /// Resident memory before, and its peak above that.
    pub before: u64,
    /// The peak above that.
    pub growth: u64,
    /// How long it took.
    pub seconds: f64,
}

/// Merges the answers of so many shards on these servers, which are in another process, into their 100 best
/// hits.
///
/// # Errors
/// Leaves that do not answer, or a system that does not tell of its memory.
pub async fn memory(
    servers: &[String],
    shards: usize,
    bytes: u64,
    calls: u32,
) -> Result<Memory, Error> {
    let merge = json!({"top_k": {"pointer": "/hits", "score": "/score", "key": "/id", "k": 100}});
    let merge: MergeSpec =
        serde_json::from_value(merge).map_err(|error| Error::invalid(error.to_string()))?;
    let scatter = |shards: usize| {
        let mut builder = Scatter::builder()
            .protocol(Protocol::Http2)
            .timeout(Duration::from_secs(600))
            .limits(LimitsSpec {
                calls,
                reply_bytes: 2 * bytes,
                ..LimitsSpec::default()
            })
            .merge(merge.clone());
        for shard in 0..shards {
            let server = &servers[shard % servers.len()];
            builder = builder.shard(shard.to_string(), [format!("{server}/{shard}/0")]);
        }
        builder.build()
    };
    // Connections, and what the allocator keeps, are there before anything counts.
    scatter(servers.len())?.query(Bytes::new()).await?;
    let scatter = scatter(shards)?;
    // Sets the peak to what is used now (proc(5)).
    fs::write("/proc/self/clear_refs", "5").map_err(|error| unknown(&error))?;
    let before = status("VmRSS:")?;
    let begin = Instant::now();
    let answer = scatter.query(Bytes::new()).await?;
    let seconds = begin.elapsed().as_secs_f64();
    if !answer.complete {
        return Err(Error::new(Code::Internal, answer.shards_header()));
    }
    Ok(Memory {
        shards,
        calls,
        answered: bytes * shards as u64,
        result: answer.merged.body.len(),
        before,
        growth: status("VmHWM:")?.saturating_sub(before),
        seconds,
    })
}

fn unknown(error: &std::io::Error) -> Error {
    Error::new(Code::Internal, format!("/proc/self does not tell: {error}"))
}

/// Bytes, by a line of `/proc/self/status`.
fn status(name: &str) -> Result<u64, Error> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| unknown(&error))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10)
        .ok_or_else(|| Error::new(Code::Internal, format!("/proc/self/status has no {name}")))
}
