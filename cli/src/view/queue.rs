//! Queues.

use super::common::{CountsDocument, duration, size};
use crate::output::Render;
use crate::table::Table;
use quorate_work_queue::machine::QueueView;
use serde::Serialize;

/// One queue.
#[derive(Debug, Serialize)]
pub(crate) struct QueueDocument {
    name: String,
    paused: bool,
    lease_ms: u64,
    stall_ms: u64,
    max_attempts: u32,
    backoff: Backoff,
    max_jobs: u64,
    max_bytes: u64,
    retention_ms: u64,
    counts: CountsDocument,
    bytes: u64,
    oldest_age_ms: u64,
}

#[derive(Debug, Serialize)]
struct Backoff {
    initial_ms: u64,
    max_ms: u64,
}

impl From<QueueView> for QueueDocument {
    fn from(view: QueueView) -> Self {
        let settings = view.settings;
        Self {
            name: view.name.to_string(),
            paused: view.paused,
            counts: view.counts.into(),
            bytes: view.bytes,
            oldest_age_ms: view.oldest_age_ms,
            lease_ms: settings.lease_ms,
            stall_ms: settings.stall_ms,
            max_attempts: settings.max_attempts,
            backoff: Backoff {
                initial_ms: settings.backoff_initial_ms,
                max_ms: settings.backoff_max_ms,
            },
            max_jobs: settings.max_jobs,
            max_bytes: settings.max_bytes,
            retention_ms: settings.retention_ms,
        }
    }
}

impl Render for QueueDocument {
    fn table(&self) -> Table {
        let counts = self.counts;
        let off_or = |ms: u64| {
            if ms == 0 {
                "off".to_owned()
            } else {
                duration(ms)
            }
        };
        let mut table = Table::fields();
        table
            .field("queue", &self.name)
            .field("paused", &self.paused)
            .field("ready", &counts.ready)
            .field("delayed", &counts.delayed)
            .field("leased", &counts.leased)
            .field("completed", &counts.completed)
            .field("dead", &counts.dead)
            .field("cancelled", &counts.cancelled)
            .field(
                "payloads",
                &format!("{} of {}", size(self.bytes), size(self.max_bytes)),
            )
            .field("oldest ready", &duration(self.oldest_age_ms))
            .field("lease", &duration(self.lease_ms))
            .field("stall", &off_or(self.stall_ms))
            .field("attempts", &self.max_attempts)
            .field(
                "backoff",
                &format!(
                    "{} to {}",
                    duration(self.backoff.initial_ms),
                    duration(self.backoff.max_ms)
                ),
            )
            .field("jobs at most", &self.max_jobs)
            .field("kept for", &duration(self.retention_ms));
        table
    }
}

/// A list of queues.
#[derive(Debug, Serialize)]
pub(crate) struct Queues {
    pub(crate) items: Vec<QueueDocument>,
}

impl Render for Queues {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "QUEUE",
            ">READY",
            ">DELAYED",
            ">LEASED",
            ">COMPLETED",
            ">DEAD",
            ">OLDEST",
            "STATE",
        ]);
        for queue in &self.items {
            let counts = queue.counts;
            let oldest = if counts.ready == 0 {
                "-".to_owned()
            } else {
                duration(queue.oldest_age_ms)
            };
            table.row([
                &queue.name,
                &counts.ready,
                &counts.delayed,
                &counts.leased,
                &counts.completed,
                &counts.dead,
                &oldest,
                &if queue.paused { "paused" } else { "running" },
            ]);
        }
        table
    }
}
