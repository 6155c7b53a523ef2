//! Jobs and their attempts.

use super::common::{BlobDocument, blobs, duration, excerpt, instant, json_or_base64};
use crate::output::Render;
use crate::table::Table;
use quorate_work_queue::machine::{Attempt, AttemptOutcome, JobView, State};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Display;

/// One job.
#[derive(Debug, Serialize)]
pub(crate) struct JobDocument {
    id: String,
    queue: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    inputs: Vec<BlobDocument>,
    priority: u8,
    not_before: Option<String>,
    dedupe_key: Option<String>,
    max_attempts: Option<u32>,
    labels: BTreeMap<String, String>,
    batch: Option<String>,
    index: Option<u32>,
    traceparent: Option<String>,
    enqueued_at: String,
    finished_at: Option<String>,
    ready_at: Option<String>,
    failures: u32,
    losses: u32,
    releases: u32,
    attempts: Vec<AttemptDocument>,
    progress: Option<ProgressDocument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
    outputs: Vec<BlobDocument>,
    waiting: String,
    dead_reason: String,
    cancel_requested: bool,
    #[serde(skip)]
    payload_excerpt: String,
    #[serde(skip)]
    result_excerpt: Option<String>,
}

#[derive(Debug, Serialize)]
struct AttemptDocument {
    number: u32,
    lease_id: String,
    fencing_token: u64,
    worker: String,
    started_at: String,
    ended_at: Option<String>,
    /// Null while it runs.
    outcome: Option<&'static str>,
    error: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log_tail: String,
    #[serde(skip)]
    took: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ProgressDocument {
    done: f64,
    total: f64,
    unit: String,
    message: String,
}

impl ProgressDocument {
    fn line(&self) -> String {
        let mut line = if self.total > 0.0 {
            format!(
                "{:.0} % ({:.0} of {:.0} {})",
                100.0 * self.done / self.total,
                self.done,
                self.total,
                self.unit
            )
        } else {
            format!("{:.0} {}", self.done, self.unit)
        };
        if !self.message.is_empty() {
            line = format!("{line}: {}", self.message);
        }
        line
    }
}

impl From<JobView> for JobDocument {
    fn from(view: JobView) -> Self {
        let (payload, payload_base64) = json_or_base64(&view.job.payload, view.job.payload_is_json);
        let (result, result_base64) = match &view.result {
            Some(result) => json_or_base64(result, view.result_is_json),
            None => (None, None),
        };
        Self {
            id: view.id.to_string(),
            queue: view.queue.to_string(),
            state: state(view.state),
            payload,
            payload_base64,
            inputs: blobs(&view.job.inputs),
            priority: view.job.priority,
            not_before: view.job.not_before.map(instant),
            max_attempts: view.job.max_attempts,
            traceparent: view.job.traceparent.map(|text| text.to_string()),
            dedupe_key: view.job.dedupe_key.map(|key| key.to_string()),
            labels: view
                .job
                .labels
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            batch: view.job.batch.map(|(batch, _)| batch.to_string()),
            index: view.job.batch.map(|(_, index)| index),
            enqueued_at: instant(view.enqueued),
            finished_at: view.finished.map(instant),
            ready_at: view.ready_at.map(instant),
            failures: view.failures,
            losses: view.losses,
            releases: view.releases,
            attempts: view.attempts.iter().map(AttemptDocument::from).collect(),
            progress: view.progress.map(|progress| ProgressDocument {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.to_string(),
                message: progress.message.to_string(),
            }),
            result,
            result_base64,
            outputs: blobs(&view.outputs),
            waiting: view.waiting,
            dead_reason: view.dead_reason.to_string(),
            cancel_requested: view.cancel_requested,
            payload_excerpt: excerpt(&view.job.payload),
            result_excerpt: view
                .result
                .as_deref()
                .filter(|result| !result.is_empty())
                .map(excerpt),
        }
    }
}

impl From<&Attempt> for AttemptDocument {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            lease_id: attempt.lease.to_string(),
            fencing_token: attempt.lease.token().0,
            worker: attempt.worker.to_string(),
            started_at: instant(attempt.started),
            ended_at: attempt.ended.map(instant),
            outcome: attempt.outcome.map(outcome),
            error: attempt.error.to_string(),
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            log_tail: attempt.log_tail.to_string(),
            took: attempt.ended.map(|ended| ended.since_ms(attempt.started)),
        }
    }
}

/// The word for a state, as in the REST API.
pub(super) fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Leased => "leased",
        State::Completed => "completed",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}

fn outcome(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Unclaimed => "unclaimed",
        AttemptOutcome::Stalled => "stalled",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

impl Render for JobDocument {
    fn table(&self) -> Table {
        let optional = |value: &'_ Option<String>| value.clone();
        let mut table = Table::fields();
        table
            .field("job", &self.id)
            .field("queue", &self.queue)
            .field("state", &self.state)
            .field("payload", &self.payload_excerpt)
            .field("priority", &self.priority)
            .field("enqueued", &self.enqueued_at);
        let mut more = |name: &str, value: Option<String>| {
            table.field_if(name, value.as_ref().map(|value| value as &dyn Display));
        };
        more("ready at", optional(&self.ready_at));
        more("finished", optional(&self.finished_at));
        more(
            "waits",
            Some(self.waiting.clone()).filter(|text| !text.is_empty()),
        );
        more(
            "dead because",
            Some(self.dead_reason.clone()).filter(|text| !text.is_empty()),
        );
        more(
            "cancel",
            self.cancel_requested.then(|| "asked for".to_owned()),
        );
        more("dedupe key", optional(&self.dedupe_key));
        more(
            "batch",
            self.batch
                .as_ref()
                .zip(self.index)
                .map(|(batch, index)| format!("{batch} at {index}")),
        );
        for (key, value) in &self.labels {
            more("label", Some(format!("{key}={value}")));
        }
        for input in &self.inputs {
            more("input", Some(input.line()));
        }
        for output in &self.outputs {
            more("output", Some(output.line()));
        }
        more(
            "progress",
            self.progress.as_ref().map(ProgressDocument::line),
        );
        more("result", optional(&self.result_excerpt));
        if !self.attempts.is_empty() {
            table.then(&self.attempts_table());
        }
        if let Some(last) = self
            .attempts
            .last()
            .filter(|attempt| !attempt.log_tail.is_empty())
        {
            table.below("").below("last output:").below(&last.log_tail);
        }
        table
    }
}

impl JobDocument {
    fn attempts_table(&self) -> Table {
        let mut table = Table::new(&[
            ">ATTEMPT", "WORKER", "STARTED", ">TOOK", "OUTCOME", "REASON",
        ]);
        for attempt in &self.attempts {
            let reason = match (attempt.error.as_str(), attempt.exit_code, attempt.signal) {
                ("", _, Some(signal)) => format!("signal {signal}"),
                ("", Some(code), _) if code != 0 => format!("exit code {code}"),
                (error, _, _) => error.to_owned(),
            };
            table.row([
                &attempt.number,
                &attempt.worker,
                &attempt.started_at,
                &attempt.took.map_or_else(|| "-".to_owned(), duration),
                &attempt.outcome.unwrap_or("running"),
                &reason,
            ]);
        }
        table
    }
}

/// A list of jobs.
#[derive(Debug, Serialize)]
pub(crate) struct Jobs {
    pub(crate) items: Vec<JobDocument>,
}

impl Render for Jobs {
    fn table(&self) -> Table {
        let mut table = Table::new(&[
            "JOB",
            "STATE",
            ">ATTEMPTS",
            "ENQUEUED",
            "PROGRESS OR REASON",
            "PAYLOAD",
        ]);
        for job in &self.items {
            let last = job.attempts.last();
            let note = match (&job.progress, last) {
                (Some(progress), _) => progress.line(),
                _ if !job.waiting.is_empty() => job.waiting.clone(),
                _ if !job.dead_reason.is_empty() => job.dead_reason.clone(),
                _ => "-".to_owned(),
            };
            table.row([
                &job.id,
                &job.state,
                &last.map_or(0, |attempt| attempt.number),
                &job.enqueued_at,
                &note,
                &job.payload_excerpt,
            ]);
        }
        table
    }
}
