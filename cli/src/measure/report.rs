//! What a run found, as data. The JSON of `quorate bench` and of the peer's driver is this.

use super::latency::Summary;
use serde::{Deserialize, Serialize};

/// How much load was put on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Connections.
    pub connections: u32,
    /// Jobs in flight on each.
    pub inflight: u32,
    /// Bytes of a payload.
    pub payload_bytes: u32,
    /// Jobs that waited in the queue before the first was counted.
    pub backlog: u64,
}

/// One phase of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Jobs.
    pub jobs: u64,
    /// Time from the first request to the last acknowledgement.
    pub seconds: f64,
    /// Jobs a second.
    pub per_second: f64,
    /// Time from a request to its acknowledgement.
    pub latency: Summary,
}

impl Phase {
    /// A phase in which `jobs` jobs took `seconds`.
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of jobs are far below 2^52"
    )]
    pub fn new(jobs: u64, seconds: f64, latency: Summary) -> Self {
        Self {
            jobs,
            seconds,
            per_second: if seconds > 0.0 {
                jobs as f64 / seconds
            } else {
                0.0
            },
            latency,
        }
    }
}

/// One server process over the whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// User and system time.
    pub cpu_seconds: f64,
    /// Memory at the end.
    pub rss_bytes: u64,
    /// Syncs of its disk, where the server counts them.
    pub syncs: Option<u64>,
    /// Log entries it wrote.
    pub entries: Option<u64>,
    /// Client operations in those entries.
    pub operations: Option<u64>,
}

/// Whether every acknowledged job was completed exactly once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// Jobs whose enqueue was acknowledged.
    pub acknowledged: u64,
    /// Jobs whose completion was acknowledged.
    pub completed: u64,
    /// Acknowledged, but never handed out or completed.
    pub lost: u64,
    /// Handed out again after their completion was acknowledged, or completed twice.
    pub doubled: u64,
    /// Handed out more than once before completion, as at-least-once execution allows.
    pub redelivered: u64,
    /// Enqueues whose outcome was never learnt; they may or may not be in the queue.
    pub unknown: u64,
}

/// How the service was away while its leader was killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outage {
    /// How often.
    pub kills: u32,
    /// Longest time without an acknowledgement around each kill.
    pub gap: Summary,
    /// Each, in order.
    pub gaps_ms: Vec<f64>,
}

/// All of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// `quorate` or `nats`.
    pub system: String,
    /// How the load spoke to it.
    pub transport: String,
    /// Servers.
    pub nodes: u32,
    /// The load.
    pub load: Load,
    /// Putting jobs in.
    pub enqueue: Phase,
    /// Taking them out and completing them. The latency is that of the completion.
    pub cycle: Phase,
    /// Enqueueing with a single job in flight.
    pub one_in_flight: Summary,
    /// The servers.
    pub servers: Vec<NodeReport>,
    /// CPU time of the load generator itself.
    pub driver_cpu_seconds: f64,
    /// What became of the jobs.
    pub accounting: Accounting,
    /// Present when the leader was killed.
    pub outage: Option<Outage>,
}
