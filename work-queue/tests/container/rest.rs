//! The queue service over REST, with nothing but the documented JSON: what a client in another language
//! would do. It reads every field, so that the contract test sees one that is missing or misnamed.

use super::http::{Answer as HttpAnswer, Http};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use quorate_work_queue::machine::*;
use quorate_work_queue::service::{Caller, ClusterInfo, QueueService};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

pub struct Rest(pub Http);

/// An object whose members keep their text.
type Object = BTreeMap<&'static str, Box<RawValue>>;

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn object(value: Value) -> Object {
    let Value::Object(map) = value else {
        panic!("not an object")
    };
    let leak = |key: String| -> &'static str { key.leak() };
    map.into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| (leak(key), raw(&value)))
        .collect()
}

/// Bytes under `name` as JSON, or under `name_base64`.
fn put_bytes(
    into: &mut Object,
    name: &'static str,
    base64: &'static str,
    bytes: &Bytes,
    json: bool,
) {
    if json {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        into.insert(name, RawValue::from_string(text).unwrap());
    } else {
        into.insert(base64, raw(&json!(STANDARD.encode(bytes))));
    }
}

fn take_bytes(text: Option<Box<RawValue>>, base64: Option<String>) -> Option<(Bytes, bool)> {
    assert!(text.is_none() || base64.is_none(), "both forms");
    match (text, base64) {
        (Some(text), _) => Some((Bytes::copy_from_slice(text.get().as_bytes()), true)),
        (None, Some(base64)) => Some((STANDARD.decode(base64).unwrap().into(), false)),
        (None, None) => None,
    }
}

fn rfc_3339(time: LogTime) -> String {
    let time = UNIX_EPOCH + std::time::Duration::from_millis(time.0);
    humantime::format_rfc3339_millis(time).to_string()
}

fn instant(text: &str) -> LogTime {
    let time = humantime::parse_rfc3339(text).unwrap();
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    LogTime(u64::try_from(since.as_millis()).unwrap())
}

fn blobs_json(blobs: &[Blob]) -> Value {
    blobs
        .iter()
        .map(|blob| json!({ "uri": &*blob.uri, "sha256": &*blob.sha256, "size": blob.size }))
        .collect()
}

fn job_json(job: &NewJob) -> Object {
    let labels: BTreeMap<&str, &str> = job.labels.iter().map(|(k, v)| (&**k, &**v)).collect();
    let mut into = object(json!({
        "inputs": blobs_json(&job.inputs),
        "priority": job.priority,
        "not_before": job.not_before.map(rfc_3339),
        "dedupe_key": job.dedupe_key.as_deref(),
        "max_attempts": job.max_attempts,
        "batch": job.batch.map(|(batch, _)| batch.to_string()),
        "index": job.batch.map(|(_, index)| index),
        "labels": labels,
    }));
    put_bytes(
        &mut into,
        "payload",
        "payload_base64",
        &job.payload,
        job.payload_is_json,
    );
    into
}

fn settle_json(settle: &Settle, named: bool) -> (&'static str, Object) {
    let (kind, mut into) = match &settle.settlement {
        Settlement::Complete {
            result,
            result_is_json,
            outputs,
        } => {
            let mut into = object(json!({ "outputs": blobs_json(outputs) }));
            put_bytes(
                &mut into,
                "result",
                "result_base64",
                result,
                *result_is_json,
            );
            ("complete", into)
        }
        Settlement::Fail {
            error,
            retry,
            delay_ms,
            exit_code,
            signal,
            log_tail,
        } => {
            let into = json!({
                "error": &**error, "retry": retry, "delay_ms": delay_ms, "exit_code": exit_code,
                "signal": signal, "log_tail": &**log_tail,
            });
            ("fail", object(into))
        }
        Settlement::Release => ("release", Object::new()),
    };
    if let Some(session) = settle.session {
        into.insert("session", raw(&json!(session.to_string())));
    }
    if named {
        into.insert("lease_id", raw(&json!(settle.lease.to_string())));
    }
    (kind, into)
}

/// A request for work, with settlements in front of it.
fn lease_json(request: &LeaseRequest, wait_ms: u64, settle: &[Settle]) -> Object {
    let mut into = object(json!({
        "worker": &*request.worker,
        "session": request.session.map(|session| session.to_string()),
        "max": request.max,
        "lease_ms": request.lease_ms,
        "wait_ms": wait_ms,
    }));
    into.append(&mut settle_lists(settle));
    into
}

/// By kind; the scenarios give them in the order complete, fail, release, in which they are answered.
fn settle_lists(settle: &[Settle]) -> Object {
    let mut lists: BTreeMap<&'static str, Vec<Object>> = BTreeMap::new();
    for one in settle {
        let (kind, item) = settle_json(one, true);
        lists.entry(kind).or_default().push(item);
    }
    lists
        .into_iter()
        .map(|(kind, items)| (kind, to_raw_value(&items).unwrap()))
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl Problem {
    fn error(self) -> Error {
        let code = Code::parse(&self.code).unwrap();
        assert_eq!(self.status, code.http_status());
        assert_eq!(self.retryable, code.retryable());
        assert!(self.kind.ends_with(&self.code) && !self.title.is_empty());
        Error {
            code,
            detail: self.detail,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobIn {
    uri: String,
    sha256: String,
    size: u64,
}

fn blobs_in(blobs: Vec<BlobIn>) -> Vec<Blob> {
    blobs
        .into_iter()
        .map(|blob| Blob {
            uri: blob.uri.into(),
            sha256: blob.sha256.into(),
            size: blob.size,
        })
        .collect()
}

fn labels_in(labels: BTreeMap<String, String>) -> Vec<(Arc<str>, Arc<str>)> {
    labels
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnqueuedIn {
    jobs: Vec<EnqueuedJob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnqueuedJob {
    id: String,
    duplicate: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeasedIn {
    session: String,
    leases: Vec<LeaseIn>,
    settled: Option<Vec<SettledIn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseIn {
    lease_id: String,
    job_id: String,
    queue: Name,
    attempt: u32,
    fencing_token: u64,
    payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
    inputs: Vec<BlobIn>,
    deadline_ms: u64,
    labels: BTreeMap<String, String>,
    checkpoint: Option<Box<RawValue>>,
    checkpoint_base64: Option<String>,
    traceparent: Option<String>,
    batch: Option<String>,
    index: Option<u32>,
    joins: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettledIn {
    lease_id: String,
    settled: bool,
    error: Option<Problem>,
}

impl LeaseIn {
    fn lease(self) -> Lease {
        let id: LeaseId = self.lease_id.parse().unwrap();
        assert_eq!(self.fencing_token, id.token().0);
        let (payload, payload_is_json) = take_bytes(self.payload, self.payload_base64).unwrap();
        let batch = self.batch.map(|batch| batch.parse().unwrap());
        Lease {
            id,
            job: self.job_id.parse().unwrap(),
            queue: self.queue,
            attempt: self.attempt,
            lease_ms: self.deadline_ms,
            payload,
            payload_is_json,
            inputs: blobs_in(self.inputs),
            labels: labels_in(self.labels),
            checkpoint: take_bytes(self.checkpoint, self.checkpoint_base64).map(|(data, _)| data),
            traceparent: self.traceparent.map(Arc::from),
            joins: self.joins.map(|batch| batch.parse().unwrap()),
            batch: batch.zip(self.index),
        }
    }
}

fn outcomes(settle: &[Settle], items: Vec<SettledIn>) -> Vec<Settled> {
    assert_eq!(settle.len(), items.len());
    items
        .into_iter()
        .zip(settle)
        .map(|(item, settle)| {
            assert_eq!(item.lease_id, settle.lease.to_string());
            assert_eq!(item.settled, item.error.is_none());
            item.error.map_or(Ok(()), |problem| Err(problem.error()))
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptIn {
    cancel_requested: bool,
    deadline_ms: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountIn {
    count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenewedIn {
    live: Vec<String>,
    ended: Vec<String>,
    cancelled: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageIn<T> {
    items: Vec<T>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountsIn {
    ready: u64,
    delayed: u64,
    leased: u64,
    completed: u64,
    dead: u64,
    cancelled: u64,
}

impl From<CountsIn> for Counts {
    fn from(counts: CountsIn) -> Self {
        Self {
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffIn {
    initial_ms: u64,
    max_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueIn {
    name: Name,
    paused: bool,
    lease_ms: u64,
    stall_ms: u64,
    max_attempts: u32,
    backoff: BackoffIn,
    max_jobs: u64,
    max_bytes: u64,
    retention_ms: u64,
    counts: CountsIn,
    bytes: u64,
    oldest_age_ms: u64,
}

impl From<QueueIn> for QueueView {
    fn from(queue: QueueIn) -> Self {
        Self {
            name: queue.name,
            settings: Settings {
                lease_ms: queue.lease_ms,
                stall_ms: queue.stall_ms,
                max_attempts: queue.max_attempts,
                backoff_initial_ms: queue.backoff.initial_ms,
                backoff_max_ms: queue.backoff.max_ms,
                max_jobs: queue.max_jobs,
                max_bytes: queue.max_bytes,
                retention_ms: queue.retention_ms,
            },
            paused: queue.paused,
            counts: queue.counts.into(),
            bytes: queue.bytes,
            oldest_age_ms: queue.oldest_age_ms,
        }
    }
}

fn state(text: &str) -> State {
    match text {
        "ready" => State::Ready,
        "delayed" => State::Delayed,
        "leased" => State::Leased,
        "completed" => State::Completed,
        "dead" => State::Dead,
        "cancelled" => State::Cancelled,
        other => panic!("state {other}"),
    }
}

fn state_text(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Delayed => "delayed",
        State::Leased => "leased",
        State::Completed => "completed",
        State::Dead => "dead",
        State::Cancelled => "cancelled",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptIn {
    number: u32,
    lease_id: String,
    fencing_token: u64,
    worker: String,
    started_at: String,
    ended_at: Option<String>,
    outcome: Option<String>,
    error: String,
    exit_code: Option<i32>,
    signal: Option<i32>,
    log_tail: String,
}

impl From<AttemptIn> for Attempt {
    fn from(attempt: AttemptIn) -> Self {
        let lease: LeaseId = attempt.lease_id.parse().unwrap();
        assert_eq!(attempt.fencing_token, lease.token().0);
        Self {
            number: attempt.number,
            lease,
            worker: attempt.worker.into(),
            started: instant(&attempt.started_at),
            ended: attempt.ended_at.as_deref().map(instant),
            outcome: attempt.outcome.map(|outcome| match outcome.as_str() {
                "completed" => AttemptOutcome::Completed,
                "failed" => AttemptOutcome::Failed,
                "lost" => AttemptOutcome::Lost,
                "released" => AttemptOutcome::Released,
                "unclaimed" => AttemptOutcome::Unclaimed,
                "stalled" => AttemptOutcome::Stalled,
                "cancelled" => AttemptOutcome::Cancelled,
                other => panic!("outcome {other}"),
            }),
            error: attempt.error.into(),
            exit_code: attempt.exit_code,
            signal: attempt.signal,
            log_tail: attempt.log_tail.into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgressIn {
    done: f64,
    total: f64,
    unit: String,
    message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobIn {
    id: String,
    queue: Name,
    state: String,
    payload: Option<Box<RawValue>>,
    payload_base64: Option<String>,
    inputs: Vec<BlobIn>,
    priority: u8,
    not_before: Option<String>,
    dedupe_key: Option<String>,
    max_attempts: Option<u32>,
    batch: Option<String>,
    index: Option<u32>,
    labels: BTreeMap<String, String>,
    traceparent: Option<String>,
    enqueued_at: String,
    finished_at: Option<String>,
    ready_at: Option<String>,
    failures: u32,
    losses: u32,
    releases: u32,
    attempts: Vec<AttemptIn>,
    progress: Option<ProgressIn>,
    result: Option<Box<RawValue>>,
    result_base64: Option<String>,
    outputs: Vec<BlobIn>,
    waiting: String,
    dead_reason: String,
    cancel_requested: bool,
}

impl From<JobIn> for JobView {
    fn from(job: JobIn) -> Self {
        let (payload, payload_is_json) = take_bytes(job.payload, job.payload_base64).unwrap();
        let result = take_bytes(job.result, job.result_base64);
        let batch = job.batch.map(|batch| batch.parse().unwrap());
        Self {
            id: job.id.parse().unwrap(),
            queue: job.queue,
            state: state(&job.state),
            job: NewJob {
                payload,
                payload_is_json,
                inputs: blobs_in(job.inputs),
                priority: job.priority,
                not_before: job.not_before.as_deref().map(instant),
                dedupe_key: job.dedupe_key.map(Arc::from),
                max_attempts: job.max_attempts,
                batch: batch.zip(job.index),
                labels: labels_in(job.labels),
                traceparent: job.traceparent.map(Arc::from),
            },
            enqueued: instant(&job.enqueued_at),
            finished: job.finished_at.as_deref().map(instant),
            ready_at: job.ready_at.as_deref().map(instant),
            failures: job.failures,
            losses: job.losses,
            releases: job.releases,
            attempts: job.attempts.into_iter().map(Attempt::from).collect(),
            progress: job.progress.map(|progress| Progress {
                done: progress.done,
                total: progress.total,
                unit: progress.unit.into(),
                message: progress.message.into(),
            }),
            result_is_json: result.as_ref().is_some_and(|(_, json)| *json),
            result: result.map(|(bytes, _)| bytes),
            outputs: blobs_in(job.outputs),
            waiting: job.waiting,
            dead_reason: job.dead_reason.into(),
            cancel_requested: job.cancel_requested,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchIn {
    id: String,
    key: Option<String>,
    queue: Name,
    state: String,
    on_dead: String,
    expected: Option<u32>,
    counts: CountsIn,
    skipped: u64,
    join_job_id: Option<String>,
    created_at: String,
    finished_at: Option<String>,
    eta_ms: Option<u64>,
}

impl From<BatchIn> for BatchView {
    fn from(batch: BatchIn) -> Self {
        Self {
            id: batch.id.parse().unwrap(),
            key: batch.key.map(Arc::from),
            queue: batch.queue,
            state: match batch.state.as_str() {
                "open" => BatchState::Open,
                "running" => BatchState::Running,
                "held" => BatchState::Held,
                "joining" => BatchState::Joining,
                "completed" => BatchState::Completed,
                "dead" => BatchState::Dead,
                "cancelled" => BatchState::Cancelled,
                other => panic!("state {other}"),
            },
            on_dead: match batch.on_dead.as_str() {
                "hold" => OnDead::Hold,
                "join" => OnDead::Join,
                "cancel" => OnDead::Cancel,
                other => panic!("on_dead {other}"),
            },
            expected: batch.expected,
            counts: batch.counts.into(),
            skipped: batch.skipped,
            join: batch.join_job_id.map(|job| job.parse().unwrap()),
            created: instant(&batch.created_at),
            finished: batch.finished_at.as_deref().map(instant),
            eta_ms: batch.eta_ms,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChildIn {
    index: u32,
    job_id: String,
    state: String,
    attempts: u32,
    result: Option<Box<RawValue>>,
    result_base64: Option<String>,
    outputs: Vec<BlobIn>,
}

impl From<ChildIn> for ChildView {
    fn from(child: ChildIn) -> Self {
        let result = take_bytes(child.result, child.result_base64);
        Self {
            index: child.index,
            job: child.job_id.parse().unwrap(),
            state: state(&child.state),
            attempts: child.attempts,
            result_is_json: result.as_ref().is_some_and(|(_, json)| *json),
            result: result.map(|(bytes, _)| bytes),
            outputs: blobs_in(child.outputs),
        }
    }
}

fn read<T: DeserializeOwned>(answer: &HttpAnswer) -> Result<T, Error> {
    let told = || format!("{} {}", answer.status, answer.text());
    if answer.status < 300 {
        return Ok(serde_json::from_slice(&answer.body)
            .unwrap_or_else(|error| panic!("{error}: {}", told())));
    }
    assert_eq!(
        answer.headers["content-type"],
        "application/problem+json",
        "{}",
        told()
    );
    let problem: Problem =
        serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", told()));
    assert_eq!(problem.status, answer.status);
    Err(problem.error())
}

impl Rest {
    async fn post(&self, path: &str, body: &Object, trace: Option<&str>) -> HttpAnswer {
        let text = serde_json::to_string(body).unwrap();
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(trace.map(|trace| ("traceparent", trace)));
        self.0.send("POST", path, &headers, Bytes::from(text)).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<(Vec<T>, Option<String>), Error> {
        let query: Vec<String> = query
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", value.replace('=', "%3D")))
            .collect();
        let answer = self.0.get(&format!("{path}?{}", query.join("&"))).await;
        let page: PageIn<T> = read(&answer)?;
        Ok((page.items, page.next_page_token))
    }

    async fn settle(
        &self,
        settle: Vec<Settle>,
        then: Option<LeaseRequest>,
        wait_ms: u64,
    ) -> Result<Reply, Error> {
        if let Some(request) = then {
            let path = format!("/v1/queues/{}/leases", request.queue);
            let body = lease_json(&request, wait_ms, &settle);
            let leased: LeasedIn = read(&self.post(&path, &body, None).await)?;
            let leases = leased.leases.into_iter().map(LeaseIn::lease).collect();
            return Ok(Reply::Settled {
                outcomes: outcomes(&settle, leased.settled.unwrap()),
                leased: Some((leased.session.parse().unwrap(), leases)),
            });
        }
        if let [one] = settle.as_slice() {
            let (kind, body) = settle_json(one, false);
            let path = format!("/v1/leases/{}/{kind}", one.lease);
            let kept: Result<KeptIn, Error> = read(&self.post(&path, &body, None).await);
            let outcome = kept.map(|kept| assert!(!kept.cancel_requested));
            return Ok(Reply::Settled {
                outcomes: vec![outcome],
                leased: None,
            });
        }
        let body = settle_lists(&settle);
        let answer = self.post("/v1/leases/settle", &body, None).await;
        let mut items: BTreeMap<String, Vec<SettledIn>> = read(&answer)?;
        Ok(Reply::Settled {
            outcomes: outcomes(&settle, items.remove("items").unwrap()),
            leased: None,
        })
    }

    async fn done(&self, path: String) -> Result<Reply, Error> {
        read::<Value>(&self.0.order(&path).await).map(|_| Reply::Done)
    }

    async fn count(&self, path: String, body: Object) -> Result<Reply, Error> {
        let count: CountIn = read(&self.post(&path, &body, None).await)?;
        Ok(Reply::Count(count.count))
    }

    async fn lease(&self, request: LeaseRequest, wait_ms: u64) -> Result<Reply, Error> {
        let path = format!("/v1/queues/{}/leases", request.queue);
        let body = lease_json(&request, wait_ms, &[]);
        let leased: LeasedIn = read(&self.post(&path, &body, None).await)?;
        assert!(leased.settled.is_none());
        Ok(Reply::Leased {
            session: leased.session.parse().unwrap(),
            leases: leased.leases.into_iter().map(LeaseIn::lease).collect(),
        })
    }

    async fn enqueue(&self, queue: &Name, jobs: &[NewJob]) -> Result<Reply, Error> {
        let path = format!("/v1/queues/{queue}/jobs");
        let trace = jobs.first().and_then(|job| job.traceparent.clone());
        let body = match jobs {
            [one] => job_json(one),
            many => {
                let jobs: Vec<Object> = many.iter().map(job_json).collect();
                Object::from([("jobs", to_raw_value(&jobs).unwrap())])
            }
        };
        let answer = self.post(&path, &body, trace.as_deref()).await;
        let enqueued: EnqueuedIn = read(&answer)?;
        assert_eq!(answer.status, 201);
        let jobs = enqueued.jobs.into_iter();
        let pair = |job: EnqueuedJob| (job.id.parse().unwrap(), job.duplicate);
        Ok(Reply::Enqueued(jobs.map(pair).collect()))
    }

    async fn create_batch(
        &self,
        queue: &Name,
        join: Option<(Name, NewJob)>,
        on_dead: OnDead,
        key: Option<Arc<str>>,
    ) -> Result<Reply, Error> {
        let on_dead = match on_dead {
            OnDead::Hold => "hold",
            OnDead::Join => "join",
            OnDead::Cancel => "cancel",
        };
        let mut body =
            object(json!({ "queue": queue.as_str(), "on_dead": on_dead, "key": key.as_deref() }));
        if let Some((queue, job)) = join {
            let mut join = job_json(&job);
            join.insert("queue", raw(&json!(queue.as_str())));
            body.insert("join", to_raw_value(&join).unwrap());
        }
        let answer = self.post("/v1/batches", &body, None).await;
        let batch: BatchIn = read(&answer)?;
        Ok(Reply::Batch(
            batch.id.parse().unwrap(),
            answer.status == 200,
        ))
    }

    async fn configure(&self, queue: &Name, settings: &Settings) -> Result<Reply, Error> {
        let body = json!({
            "lease_ms": settings.lease_ms,
            "stall_ms": settings.stall_ms,
            "max_attempts": settings.max_attempts,
            "backoff": {
                "initial_ms": settings.backoff_initial_ms, "max_ms": settings.backoff_max_ms,
            },
            "max_jobs": settings.max_jobs,
            "max_bytes": settings.max_bytes,
            "retention_ms": settings.retention_ms,
        });
        let answer = self.0.put(&format!("/v1/queues/{queue}"), &body).await;
        let queue: QueueIn = read(&answer)?;
        assert_eq!(&QueueView::from(queue).settings, settings);
        Ok(Reply::Done)
    }

    async fn kept(&self, path: String, body: Value) -> Result<Reply, Error> {
        let lease_ms = body["lease_ms"].as_u64();
        let kept: KeptIn = read(&self.post(&path, &object(body), None).await)?;
        assert_eq!(kept.deadline_ms, lease_ms);
        Ok(Reply::Kept {
            cancel_requested: kept.cancel_requested,
        })
    }
}

#[async_trait]
impl QueueService for Rest {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Reply, Error> {
        let wait_ms = u64::try_from(caller.wait.as_millis()).unwrap();
        match command {
            Command::Configure { queue, settings } => self.configure(&queue, &settings).await,
            Command::DeleteQueue { queue } => {
                let answer = self.0.delete(&format!("/v1/queues/{queue}")).await;
                if answer.status == 204 {
                    return Ok(Reply::Done);
                }
                read::<Value>(&answer).map(|_| panic!("{answer:?}"))
            }
            Command::Pause { queue, paused } => {
                let action = if paused { "pause" } else { "resume" };
                self.done(format!("/v1/queues/{queue}/{action}")).await
            }
            Command::Purge { queue } => {
                let path = format!("/v1/queues/{queue}/purge");
                self.count(path, Object::new()).await
            }
            Command::Redrive { queue, max } => {
                let path = format!("/v1/queues/{queue}/redrive");
                self.count(path, object(json!({ "max": max }))).await
            }
            Command::Enqueue { queue, jobs } => self.enqueue(&queue, &jobs).await,
            Command::Lease(request) => self.lease(request, wait_ms).await,
            Command::Settle { settle, then } => self.settle(settle, then, wait_ms).await,
            Command::Extend {
                lease, lease_ms, ..
            } => {
                let path = format!("/v1/leases/{lease}/extend");
                self.kept(path, json!({ "lease_ms": lease_ms })).await
            }
            Command::Checkpoint { lease, data, .. } => {
                let path = format!("/v1/leases/{lease}/checkpoint");
                let data = STANDARD.encode(data);
                self.kept(path, json!({ "data_base64": data })).await
            }
            Command::CancelJob { job } => self.done(format!("/v1/jobs/{job}/cancel")).await,
            Command::RetryJob { job } => self.done(format!("/v1/jobs/{job}/retry")).await,
            Command::SkipChild { job } => self.done(format!("/v1/jobs/{job}/skip")).await,
            Command::CreateBatch {
                queue,
                join,
                on_dead,
                key,
            } => self.create_batch(&queue, join, on_dead, key).await,
            Command::SealBatch { batch, expected } => {
                let path = format!("/v1/batches/{batch}/seal");
                let body = object(json!({ "expected": expected }));
                read::<BatchIn>(&self.post(&path, &body, None).await).map(|_| Reply::Done)
            }
            Command::CancelBatch { batch } => {
                self.done(format!("/v1/batches/{batch}/cancel")).await
            }
            other => panic!("REST has no {other:?}"),
        }
    }

    async fn query(&self, _: &Caller, query: Query) -> Result<Answer, Error> {
        fn views<A, B: From<A>>(items: Vec<A>) -> Vec<B> {
            items.into_iter().map(B::from).collect()
        }
        let token = |token: Option<String>| token.unwrap_or_default();
        Ok(match query {
            Query::Queue { queue } => {
                let queue: QueueIn = read(&self.0.get(&format!("/v1/queues/{queue}")).await)?;
                Answer::Queue(Box::new(queue.into()))
            }
            Query::Queues { after, limit } => {
                let after = token(after.map(|name| name.to_string()));
                let query = [("page_size", limit.to_string()), ("page_token", after)];
                let (items, next) = self.page::<QueueIn>("/v1/queues", &query).await?;
                Answer::Queues(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::Job { job } => {
                let job: JobIn = read(&self.0.get(&format!("/v1/jobs/{job}")).await)?;
                Answer::Job(Box::new(job.into()))
            }
            Query::Jobs {
                queue,
                state,
                label,
                after,
                limit,
            } => {
                let path = format!("/v1/queues/{queue}/jobs");
                let label = label.map(|(key, value)| format!("{key}={value}"));
                let query = [
                    (
                        "state",
                        state.map(state_text).unwrap_or_default().to_owned(),
                    ),
                    ("label", label.unwrap_or_default()),
                    ("page_size", limit.to_string()),
                    ("page_token", token(after.map(|id| id.to_string()))),
                ];
                let (items, next) = self.page::<JobIn>(&path, &query).await?;
                Answer::Jobs(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::Batch { batch } => {
                let batch: BatchIn = read(&self.0.get(&format!("/v1/batches/{batch}")).await)?;
                Answer::Batch(Box::new(batch.into()))
            }
            Query::Batches { after, limit } => {
                let after = token(after.map(|id| id.to_string()));
                let query = [("page_size", limit.to_string()), ("page_token", after)];
                let (items, next) = self.page::<BatchIn>("/v1/batches", &query).await?;
                Answer::Batches(views(items), next.map(|next| next.parse().unwrap()))
            }
            Query::BatchResults { batch, from, limit } => {
                let path = format!("/v1/batches/{batch}/results");
                let from = if from == 0 {
                    String::new()
                } else {
                    from.to_string()
                };
                let query = [("page_size", limit.to_string()), ("page_token", from)];
                let (items, next) = self.page::<ChildIn>(&path, &query).await?;
                Answer::BatchResults(views(items), next.map(|next| next.parse().unwrap()))
            }
        })
    }

    async fn renew(&self, _: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        let session = renewal.session.to_string();
        if !renewal.complete {
            let [(lease, progress)] = renewal.progress.as_slice() else {
                panic!("REST reports the progress of one lease");
            };
            let path = format!("/v1/leases/{lease}/progress");
            let body = object(json!({
                "session": (renewal.session != SessionId::NONE).then_some(session),
                "done": progress.done, "total": progress.total, "unit": &*progress.unit,
                "message": &*progress.message,
            }));
            let kept: KeptIn = read(&self.post(&path, &body, None).await)?;
            let list = |here: bool| if here { vec![*lease] } else { vec![] };
            return Ok(Renewed {
                live: list(!kept.cancel_requested),
                ended: list(kept.cancel_requested),
                cancelled: list(kept.cancel_requested),
            });
        }
        let leases: Vec<String> = renewal.leases.iter().map(LeaseId::to_string).collect();
        let body = object(json!({ "session": session, "leases": leases }));
        let path = "/v1/workers/w/heartbeat";
        let renewed: RenewedIn = read(&self.post(path, &body, None).await)?;
        let ids = |texts: Vec<String>| texts.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Renewed {
            live: ids(renewed.live),
            ended: ids(renewed.ended),
            cancelled: ids(renewed.cancelled),
        })
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        panic!("GET /v1/info is the runtime's")
    }
}
