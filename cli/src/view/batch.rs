//! Batches and their children.

use super::common::{
    BlobDocument, CountsDocument, blobs, duration, excerpt, instant, json_or_base64,
};
use super::job;
use crate::output::Render;
use crate::table::Table;
use quorate_work_queue::machine::{BatchState, BatchView, ChildView, OnDead};
use serde::Serialize;
use serde_json::Value;
use std::fmt::Display;

/// One batch.
#[derive(Debug, Serialize)]
pub(crate) struct BatchDocument {
    id: String,
    key: Option<String>,
    queue: String,
    state: &'static str,
    on_dead: &'static str,
    expected: Option<u32>,
    counts: CountsDocument,
    skipped: u64,
    join_job_id: Option<String>,
    created_at: String,
    finished_at: Option<String>,
    eta_ms: Option<u64>,
}

impl From<BatchView> for BatchDocument {
    fn from(view: BatchView) -> Self {
        Self {
            id: view.id.to_string(),
            key: view.key.as_deref().map(ToOwned::to_owned),
            queue: view.queue.to_string(),
            state: state(view.state),
            on_dead: match view.on_dead {
                OnDead::Hold => "hold",
                OnDead::Join => "join",
                OnDead::Cancel => "cancel",
            },
            expected: view.expected,
            counts: view.counts.into(),
            skipped: view.skipped,
            join_job_id: view.join.map(|job| job.to_string()),
            created_at: instant(view.created),
            finished_at: view.finished.map(instant),
            eta_ms: view.eta_ms,
        }
    }
}

fn state(state: BatchState) -> &'static str {
    match state {
        BatchState::Open => "open",
        BatchState::Running => "running",
        BatchState::Held => "held",
        BatchState::Joining => "joining",
        BatchState::Completed => "completed",
        BatchState::Dead => "dead",
        BatchState::Cancelled => "cancelled",
    }
}

/// What a progress bar says about a batch besides its counts: state and trouble.
pub(crate) fn bar_line(view: &BatchView) -> String {
    let mut line = state(view.state).to_owned();
    let counts = view.counts;
    for (count, word) in [
        (counts.leased, "running"),
        (counts.dead, "dead"),
        (counts.cancelled, "cancelled"),
    ] {
        if count > 0 {
            line = format!("{line}, {count} {word}");
        }
    }
    match view.eta_ms {
        Some(eta) if view.state == BatchState::Running => format!("{line}, {} left", duration(eta)),
        _ => line,
    }
}

impl BatchDocument {
    fn total(&self) -> u64 {
        let c = self.counts;
        self.expected.map_or(
            c.ready + c.delayed + c.leased + c.completed + c.dead + c.cancelled,
            u64::from,
        )
    }
}

impl Render for BatchDocument {
    fn table(&self) -> Table {
        let counts = self.counts;
        let mut table = Table::fields();
        table
            .field("batch", &self.id)
            .field_if("key", self.key.as_ref().map(|key| key as &dyn Display))
            .field("queue", &self.queue)
            .field("state", &self.state)
            .field(
                "completed",
                &format!("{} of {}", counts.completed, self.total()),
            )
            .field("ready", &counts.ready)
            .field("delayed", &counts.delayed)
            .field("leased", &counts.leased)
            .field(
                "dead",
                &format!(
                    "{} ({} skipped; then: {})",
                    counts.dead, self.skipped, self.on_dead
                ),
            )
            .field("cancelled", &counts.cancelled)
            .field_if(
                "join job",
                self.join_job_id.as_ref().map(|job| job as &dyn Display),
            )
            .field("created", &self.created_at)
            .field_if(
                "finished",
                self.finished_at.as_ref().map(|at| at as &dyn Display),
            );
        if let Some(eta) = self.eta_ms {
            table.field("time left", &duration(eta));
        }
        table
    }
}

/// A list of batches.
#[derive(Debug, Serialize)]
pub(crate) struct Batches {
    pub(crate) items: Vec<BatchDocument>,
}

impl Render for Batches {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "BATCH",
            "QUEUE",
            "STATE",
            ">COMPLETED",
            ">OF",
            ">DEAD",
            "CREATED",
            "KEY",
        ]);
        for batch in &self.items {
            table.row([
                &batch.id,
                &batch.queue,
                &batch.state,
                &batch.counts.completed,
                &batch.total(),
                &batch.counts.dead,
                &batch.created_at,
                &batch.key.as_deref().unwrap_or("-"),
            ]);
        }
        table
    }
}

/// The manifest of a batch.
#[derive(Debug, Serialize)]
pub(crate) struct Children {
    items: Vec<ChildDocument>,
}

#[derive(Debug, Serialize)]
struct ChildDocument {
    index: u32,
    job_id: String,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    outputs: Vec<BlobDocument>,
    #[serde(skip)]
    excerpt: String,
}

impl Children {
    /// Of these children, in their order.
    pub(crate) fn new(children: Vec<ChildView>) -> Self {
        Self {
            items: children.into_iter().map(ChildDocument::from).collect(),
        }
    }
}

impl From<ChildView> for ChildDocument {
    fn from(view: ChildView) -> Self {
        let (result, result_base64) = match &view.result {
            Some(result) => json_or_base64(result, view.result_is_json),
            None => (None, None),
        };
        Self {
            index: view.index,
            job_id: view.job.to_string(),
            state: job::state(view.state),
            attempts: view.attempts,
            result,
            result_base64,
            outputs: blobs(&view.outputs),
            excerpt: view.result.as_deref().map(excerpt).unwrap_or_default(),
        }
    }
}

impl Render for Children {
    fn table(&self) -> Table {
        let mut table = Table::new(&[">INDEX", "JOB", "STATE", ">ATTEMPTS", "RESULT", "OUTPUTS"]);
        for child in &self.items {
            let outputs: Vec<String> = child.outputs.iter().map(BlobDocument::line).collect();
            table.row([
                &child.index,
                &child.job_id,
                &child.state,
                &child.attempts,
                &child.excerpt,
                &outputs.join(" "),
            ]);
        }
        table
    }
}
