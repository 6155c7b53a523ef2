//! Proves that domain -> protobuf bytes -> domain is the identity for everything that travels, so that
//! a client sees exactly what a replica answered and a replica exactly what a client asked.
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use prost::Message;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use quorate_work_queue::convert::{self, Call, Waiting, reply};
use quorate_work_queue::machine::*;
use std::sync::Arc;

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,8}".prop_map(Arc::from)
}

fn name() -> impl Strategy<Value = Name> {
    "[a-z0-9][a-z0-9._-]{0,8}".prop_map(|name| Name::new(&name).unwrap())
}

fn data() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..16).prop_map(Bytes::from)
}

fn number() -> impl Strategy<Value = u64> {
    1..=u64::MAX
}

fn time() -> impl Strategy<Value = LogTime> {
    any::<u64>().prop_map(LogTime)
}

fn job_id() -> impl Strategy<Value = JobId> {
    number().prop_map(JobId)
}

fn batch_id() -> impl Strategy<Value = BatchId> {
    number().prop_map(BatchId)
}

fn lease_id() -> impl Strategy<Value = LeaseId> {
    number().prop_map(LeaseId)
}

fn session_id() -> impl Strategy<Value = SessionId> {
    number().prop_map(SessionId)
}

fn blobs() -> impl Strategy<Value = Vec<Blob>> {
    let blob = (text(), text(), any::<u64>());
    vec(
        blob.prop_map(|(uri, sha256, size)| Blob { uri, sha256, size }),
        0..3,
    )
}

fn labels() -> impl Strategy<Value = Vec<(Arc<str>, Arc<str>)>> {
    btree_map(text(), text(), 0..3).prop_map(|map| map.into_iter().collect())
}

fn place() -> impl Strategy<Value = (BatchId, u32)> {
    (batch_id(), any::<u32>())
}

prop_compose! {
    fn new_job()(
        (payload, payload_is_json, inputs, priority) in (data(), any::<bool>(), blobs(), any::<u8>()),
        (not_before, dedupe_key, max_attempts) in (of(time()), of(text()), of(any::<u32>())),
        batch in of(place()),
        (labels, traceparent) in (labels(), of(text())),
    ) -> NewJob {
        NewJob {
            payload, payload_is_json, inputs, priority, not_before, dedupe_key, max_attempts, batch,
            labels, traceparent,
        }
    }
}

prop_compose! {
    fn settings()(
        (lease_ms, stall_ms, max_attempts) in any::<(u64, u64, u32)>(),
        (backoff_initial_ms, backoff_max_ms) in any::<(u64, u64)>(),
        (max_jobs, max_bytes, retention_ms) in any::<(u64, u64, u64)>(),
    ) -> Settings {
        Settings {
            lease_ms, stall_ms, max_attempts, backoff_initial_ms, backoff_max_ms, max_jobs, max_bytes,
            retention_ms,
        }
    }
}

prop_compose! {
    fn lease_request()(
        queue in name(), worker in text(), session in of(session_id()), max in 1..=u32::MAX,
        lease_ms in of(any::<u64>()), heartbeat in any::<u64>(),
    ) -> LeaseRequest {
        LeaseRequest { queue, worker, session, max, lease_ms, heartbeat }
    }
}

prop_compose! {
    fn failure()(
        (error, retry, delay_ms) in (text(), any::<bool>(), of(any::<u64>())),
        (exit_code, signal, log_tail) in (of(any::<i32>()), of(any::<i32>()), text()),
    ) -> Settlement {
        Settlement::Fail { error, retry, delay_ms, exit_code, signal, log_tail }
    }
}

prop_compose! {
    fn completion()(result in data(), result_is_json in any::<bool>(), outputs in blobs())
        -> Settlement { Settlement::Complete { result, result_is_json, outputs } }
}

prop_compose! {
    fn settle()(
        lease in lease_id(), session in of(session_id()),
        settlement in prop_oneof![completion(), failure(), Just(Settlement::Release)],
    ) -> Settle {
        Settle { lease, session, settlement }
    }
}

fn on_dead() -> impl Strategy<Value = OnDead> {
    select(vec![OnDead::Hold, OnDead::Join, OnDead::Cancel])
}

fn queue_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (name(), settings()).prop_map(|(queue, settings)| Command::Configure { queue, settings }),
        name().prop_map(|queue| Command::DeleteQueue { queue }),
        (name(), any::<bool>()).prop_map(|(queue, paused)| Command::Pause { queue, paused }),
        name().prop_map(|queue| Command::Purge { queue }),
        (name(), any::<u32>()).prop_map(|(queue, max)| Command::Redrive { queue, max }),
        (name(), vec(new_job(), 0..3)).prop_map(|(queue, jobs)| Command::Enqueue { queue, jobs }),
    ]
}

fn lease_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        lease_request().prop_map(Command::Lease),
        (vec(settle(), 0..3), of(lease_request()))
            .prop_map(|(settle, then)| Command::Settle { settle, then }),
        (lease_id(), of(session_id()), any::<u64>()).prop_map(|(lease, session, lease_ms)| {
            Command::Extend {
                lease,
                session,
                lease_ms,
            }
        }),
        (lease_id(), of(session_id()), data()).prop_map(|(lease, session, data)| {
            Command::Checkpoint {
                lease,
                session,
                data,
            }
        }),
        text().prop_map(|worker| Command::OpenSession { worker }),
        session_id().prop_map(|session| Command::CloseSession { session }),
    ]
}

fn job_or_batch_command() -> impl Strategy<Value = Command> {
    prop_oneof![
        job_id().prop_map(|job| Command::CancelJob { job }),
        job_id().prop_map(|job| Command::RetryJob { job }),
        job_id().prop_map(|job| Command::SkipChild { job }),
        (name(), of((name(), new_job())), on_dead(), of(text())).prop_map(
            |(queue, join, on_dead, key)| Command::CreateBatch {
                queue,
                join,
                on_dead,
                key
            }
        ),
        (batch_id(), any::<u32>())
            .prop_map(|(batch, expected)| Command::SealBatch { batch, expected }),
        batch_id().prop_map(|batch| Command::CancelBatch { batch }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![queue_command(), lease_command(), job_or_batch_command()]
}

fn state() -> impl Strategy<Value = State> {
    select(vec![
        State::Ready,
        State::Delayed,
        State::Leased,
        State::Completed,
        State::Dead,
        State::Cancelled,
    ])
}

fn query() -> impl Strategy<Value = Query> {
    let limit = || 1..=limits::PAGE_MAX;
    prop_oneof![
        name().prop_map(|queue| Query::Queue { queue }),
        (of(name()), limit()).prop_map(|(after, limit)| Query::Queues { after, limit }),
        job_id().prop_map(|job| Query::Job { job }),
        (
            name(),
            of(state()),
            of((text(), text())),
            of(job_id()),
            limit()
        )
            .prop_map(|(queue, state, label, after, limit)| Query::Jobs {
                queue,
                state,
                label,
                after,
                limit
            }),
        batch_id().prop_map(|batch| Query::Batch { batch }),
        (of(batch_id()), limit()).prop_map(|(after, limit)| Query::Batches { after, limit }),
        (batch_id(), any::<u32>(), limit()).prop_map(|(batch, from, limit)| Query::BatchResults {
            batch,
            from,
            limit
        }),
    ]
}

prop_compose! {
    fn error()(code in select(Code::ALL), detail in "\\PC{0,8}", retry_after_ms in of(any::<u64>()))
        -> Error { Error { code, detail, retry_after_ms } }
}

prop_compose! {
    fn lease()(
        (id, job, queue, attempt) in (lease_id(), job_id(), name(), any::<u32>()),
        (lease_ms, payload, payload_is_json, inputs) in (any::<u64>(), data(), any::<bool>(), blobs()),
        (labels, checkpoint, traceparent) in (labels(), of(data()), of(text())),
        (joins, batch) in (of(batch_id()), of(place())),
    ) -> Lease {
        Lease {
            id, job, queue, attempt, lease_ms, payload, payload_is_json, inputs, labels, checkpoint,
            traceparent, joins, batch,
        }
    }
}

fn leased() -> impl Strategy<Value = (SessionId, Vec<Lease>)> {
    (any::<u64>().prop_map(SessionId), vec(lease(), 0..3))
}

fn outcome() -> impl Strategy<Value = AttemptOutcome> {
    select(vec![
        AttemptOutcome::Completed,
        AttemptOutcome::Failed,
        AttemptOutcome::Lost,
        AttemptOutcome::Released,
        AttemptOutcome::Unclaimed,
        AttemptOutcome::Stalled,
        AttemptOutcome::Cancelled,
    ])
}

prop_compose! {
    fn attempt()(
        (number, lease, worker, started) in (any::<u32>(), lease_id(), text(), time()),
        (ended, outcome, error) in (of(time()), of(outcome()), text()),
        (exit_code, signal, log_tail) in (of(any::<i32>()), of(any::<i32>()), text()),
    ) -> Attempt {
        Attempt { number, lease, worker, started, ended, outcome, error, exit_code, signal, log_tail }
    }
}

prop_compose! {
    fn progress()(done in 0.0..1e9f64, total in 0.0..1e9f64, unit in text(), message in text())
        -> Progress { Progress { done, total, unit, message } }
}

prop_compose! {
    fn job_view()(
        (id, queue, state, job) in (job_id(), name(), state(), new_job()),
        (enqueued, finished, ready_at) in (time(), of(time()), of(time())),
        (failures, losses, releases) in any::<(u32, u32, u32)>(),
        (attempts, progress) in (vec(attempt(), 0..3), of(progress())),
        (result, result_is_json, outputs) in (of(data()), any::<bool>(), blobs()),
        (waiting, dead_reason, cancel_requested) in ("\\PC{0,8}", text(), any::<bool>()),
    ) -> JobView {
        JobView {
            id, queue, state, job, enqueued, finished, ready_at, failures, losses, releases, attempts,
            progress, result, result_is_json, outputs, waiting, dead_reason, cancel_requested,
        }
    }
}

prop_compose! {
    fn counts()((ready, delayed, leased) in any::<(u64, u64, u64)>(),
        (completed, dead, cancelled) in any::<(u64, u64, u64)>()) -> Counts {
        Counts { ready, delayed, leased, completed, dead, cancelled }
    }
}

prop_compose! {
    fn queue_view()(name in name(), settings in settings(), paused in any::<bool>(),
        counts in counts(), (bytes, oldest_age_ms) in any::<(u64, u64)>()) -> QueueView {
        QueueView { name, settings, paused, counts, bytes, oldest_age_ms }
    }
}

fn batch_state() -> impl Strategy<Value = BatchState> {
    select(vec![
        BatchState::Open,
        BatchState::Running,
        BatchState::Held,
        BatchState::Joining,
        BatchState::Completed,
        BatchState::Dead,
        BatchState::Cancelled,
    ])
}

prop_compose! {
    fn batch_view()(
        (id, key, queue) in (batch_id(), of(text()), name()),
        (state, on_dead) in (batch_state(), on_dead()),
        (expected, counts, skipped) in (of(any::<u32>()), counts(), any::<u64>()),
        (join, created, finished, eta_ms) in (of(job_id()), time(), of(time()), of(any::<u64>())),
    ) -> BatchView {
        BatchView {
            id, key, queue, state, on_dead, expected, counts, skipped, join, created, finished, eta_ms,
        }
    }
}

prop_compose! {
    fn child_view()(
        (index, job, state, attempts) in (any::<u32>(), job_id(), state(), any::<u32>()),
        (result, result_is_json, outputs) in (of(data()), any::<bool>(), blobs()),
    ) -> ChildView {
        ChildView { index, job, state, attempts, result, result_is_json, outputs }
    }
}

prop_compose! {
    fn renewal()(
        session in session_id(), number in any::<u64>(), leases in vec(lease_id(), 0..4),
        progress in vec((lease_id(), progress()), 0..3), complete in any::<bool>(),
    ) -> Renewal {
        Renewal { session, number, leases, progress, complete }
    }
}

/// Over the wire.
fn wire<T: Message + Default>(message: &T) -> T {
    T::decode(message.encode_to_vec().as_slice()).unwrap()
}

/// What the server reads from a call.
enum Read {
    Command(Waiting),
    Query(Query),
}

fn read(call: &Call) -> Read {
    macro_rules! read {
        (commands: $($c:ident)*; waiting: $($w:ident)*; queries: $($q:ident)*) => {
            match call {
                $(Call::$c(r) => Read::Command(Waiting {
                    command: Command::try_from(wire(r)).unwrap(),
                    wait_ms: 0,
                }),)*
                $(Call::$w(r) => Read::Command(Waiting::try_from(wire(r)).unwrap()),)*
                $(Call::$q(r) => Read::Query(Query::try_from(wire(r)).unwrap()),)*
            }
        };
    }
    read! {
        commands: ConfigureQueue DeleteQueue PauseQueue ResumeQueue PurgeQueue RedriveQueue Enqueue
            Extend Checkpoint OpenSession CloseSession CancelJob RetryJob SkipChild CreateBatch
            SealBatch CancelBatch;
        waiting: Lease Settle;
        queries: GetQueue ListQueues GetJob ListJobs GetBatch ListBatches BatchResults
    }
}

proptest! {
    #[test]
    fn commands(command in command(), wait_ms in any::<u64>()) {
        let call = Call::command(command.clone(), wait_ms).unwrap();
        let Read::Command(waiting) = read(&call) else { panic!("read as a question") };
        let waits = match &command {
            Command::Lease(_) => true,
            Command::Settle { then, .. } => then.is_some(),
            _ => false,
        };
        prop_assert_eq!(&waiting.command, &command);
        prop_assert_eq!(waiting.wait_ms, if waits { wait_ms } else { 0 });
    }

    #[test]
    fn queries(query in query()) {
        let Read::Query(again) = read(&Call::query(query.clone())) else { panic!("read as a command") };
        prop_assert_eq!(again, query);
    }

    #[test]
    fn renewals(
        renewal in renewal(), live in vec(lease_id(), 0..3), ended in vec(lease_id(), 0..3),
        cancelled in vec(lease_id(), 0..3),
    ) {
        let again = match convert::renewal_into(renewal.clone()) {
            Ok(heartbeat) => convert::renewal_from_heartbeat(wire(&heartbeat)),
            Err(progress) => convert::renewal_from_progress(wire(&progress)),
        };
        prop_assert_eq!(again.unwrap(), renewal);
        let renewed = Renewed { live, ended, cancelled };
        let again = convert::renewed_from(wire(&convert::renewed_into(renewed.clone())));
        prop_assert_eq!(again, renewed);
    }

    #[test]
    fn replies(
        jobs in vec((job_id(), any::<bool>()), 0..4),
        (session, leases) in leased(),
        outcomes in vec(prop_oneof![Just(Ok(())), error().prop_map(Err)], 0..4),
        then in of(leased()),
        (id, flag, count) in (number(), any::<bool>(), any::<u64>()),
    ) {
        macro_rules! same {
            ($reply:expr, $into:ident, |$pb:ident| $from:expr) => {{
                let reply = $reply;
                let $pb = wire(&reply::$into(reply.clone()).unwrap());
                prop_assert_eq!($from, reply);
            }};
        }
        same!(Reply::Done, done_into, |pb| reply::done_from(pb));
        same!(Reply::Enqueued(jobs), enqueued_into, |pb| reply::enqueued_from(pb).unwrap());
        same!(Reply::Leased { session, leases }, leased_reply_into,
            |pb| reply::leased_reply_from(pb).unwrap());
        same!(Reply::Settled { outcomes, leased: then }, settled_reply_into,
            |pb| reply::settled_reply_from(pb).unwrap());
        same!(Reply::Session(SessionId(id)), session_into, |pb| reply::session_from(pb).unwrap());
        same!(Reply::Batch(BatchId(id), flag), created_into, |pb| reply::created_from(pb).unwrap());
        same!(Reply::Count(count), count_into, |pb| reply::count_from(pb));
        same!(Reply::Kept { cancel_requested: flag }, kept_into, |pb| reply::kept_from(pb));
    }

    #[test]
    fn answers(
        queue in queue_view(), job in job_view(), batch in batch_view(),
        children in vec(child_view(), 0..3),
        (after, id, from) in (of(name()), of(number()), of(any::<u32>())),
    ) {
        macro_rules! same {
            ($answer:expr, $into:ident, $from:ident) => {{
                let answer = $answer;
                let message = wire(&reply::$into(answer.clone()).unwrap());
                prop_assert_eq!(reply::$from(message).unwrap(), answer);
            }};
        }
        same!(Answer::Queue(Box::new(queue.clone())), queue_answer_into, queue_answer_from);
        same!(Answer::Job(Box::new(job.clone())), job_answer_into, job_answer_from);
        same!(Answer::Batch(Box::new(batch.clone())), batch_answer_into, batch_answer_from);
        same!(Answer::Queues(vec![queue], after), queues_into, queues_from);
        same!(Answer::Jobs(vec![job], id.map(JobId)), jobs_into, jobs_from);
        same!(Answer::Batches(vec![batch], id.map(BatchId)), batches_into, batches_from);
        same!(Answer::BatchResults(children, from), results_into, results_from);
    }
}

/// Proves that a caller learns where in a request of many the mistake is.
#[test]
fn an_error_of_shape_names_the_field() {
    use quorate_proto::queue as pb;
    let job = pb::NewJob {
        priority: Some(300),
        ..Default::default()
    };
    let request = pb::EnqueueRequest {
        queue: "q".into(),
        jobs: vec![pb::NewJob::default(), job],
    };
    let error = Command::try_from(request).unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(
        error.detail.starts_with("jobs[1]: priority: 300"),
        "{error}"
    );
    let error = Command::try_from(pb::CancelJobRequest { job: 0 }).unwrap_err();
    assert!(error.detail.starts_with("job: missing"), "{error}");
}
