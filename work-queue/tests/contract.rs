//! Proves that REST and gRPC mean the same, at a server and at a sidecar: each scenario runs over each,
//! through the same trait, and in the end both show the same jobs, queues and batches.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use bytes::Bytes;
use container::Container;
use container::backend::Backend;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use quorate_work_queue::machine::*;
use quorate_work_queue::service::{Caller, QueueService};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The service over one of the protocols, and what is behind it, with short words for what the scenarios do.
struct Wire(Arc<dyn QueueService>, Arc<Backend>);

fn queue() -> Name {
    Name::new("q").unwrap()
}

fn job(payload: &'static str) -> NewJob {
    NewJob {
        payload: Bytes::from_static(payload.as_bytes()),
        payload_is_json: true,
        ..NewJob::default()
    }
}

fn complete(lease: LeaseId, result: &'static str) -> Settle {
    Settle {
        lease,
        session: None,
        settlement: Settlement::Complete {
            result: Bytes::from_static(result.as_bytes()),
            result_is_json: true,
            outputs: vec![],
        },
    }
}

fn fail(lease: LeaseId, retry: bool, delay_ms: Option<u64>) -> Settle {
    Settle {
        lease,
        session: None,
        settlement: Settlement::Fail {
            error: "no".into(),
            retry,
            delay_ms,
            exit_code: Some(65),
            signal: None,
            log_tail: "last words".into(),
        },
    }
}

fn release(lease: LeaseId) -> Settle {
    Settle {
        lease,
        session: None,
        settlement: Settlement::Release,
    }
}

fn request(session: Option<SessionId>, max: u32) -> LeaseRequest {
    LeaseRequest {
        queue: queue(),
        worker: "w".into(),
        session,
        max,
        lease_ms: None,
        heartbeat: 0,
    }
}

impl Wire {
    async fn run(&self, command: Command) -> Result<Reply, Error> {
        self.0.execute(&Caller::default(), command).await
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Vec<(JobId, bool)> {
        let queue = queue();
        match self.run(Command::Enqueue { queue, jobs }).await.unwrap() {
            Reply::Enqueued(jobs) => jobs,
            other => panic!("{other:?}"),
        }
    }

    async fn lease(&self, request: LeaseRequest, wait: Duration) -> (SessionId, Vec<Lease>) {
        let caller = Caller {
            wait,
            timeout: Duration::from_secs(10) + wait,
            ..Caller::default()
        };
        let reply = self.0.execute(&caller, Command::Lease(request)).await;
        match reply.unwrap() {
            Reply::Leased { session, leases } => (session, leases),
            other => panic!("{other:?}"),
        }
    }

    async fn one(&self) -> Lease {
        let (_, leases) = self.lease(request(None, 1), Duration::from_secs(5)).await;
        leases.into_iter().next().unwrap()
    }

    async fn settle(&self, settle: Vec<Settle>) -> Vec<Settled> {
        let command = Command::Settle { settle, then: None };
        match self.run(command).await.unwrap() {
            Reply::Settled { outcomes, .. } => outcomes,
            other => panic!("{other:?}"),
        }
    }

    async fn settle_one(&self, settle: Settle) -> Result<(), Code> {
        let outcome = self.settle(vec![settle]).await.remove(0);
        outcome.map_err(|error| error.code)
    }

    async fn ask(&self, query: Query) -> Result<Answer, Error> {
        self.0.query(&Caller::default(), query).await
    }

    async fn job(&self, job: JobId) -> JobView {
        match self.ask(Query::Job { job }).await.unwrap() {
            Answer::Job(job) => *job,
            other => panic!("{other:?}"),
        }
    }

    async fn batch(&self, batch: BatchId) -> BatchView {
        match self.ask(Query::Batch { batch }).await.unwrap() {
            Answer::Batch(batch) => *batch,
            other => panic!("{other:?}"),
        }
    }

    async fn jobs(&self, state: Option<State>, label: Option<(&str, &str)>) -> Vec<JobId> {
        let query = Query::Jobs {
            queue: queue(),
            state,
            label: label.map(|(key, value)| (key.into(), value.into())),
            after: None,
            limit: 100,
        };
        match self.ask(query).await.unwrap() {
            Answer::Jobs(jobs, _) => jobs.iter().map(|job| job.id).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn renew(&self, session: SessionId, leases: &[LeaseId]) -> Result<Renewed, Error> {
        let renewal = Renewal {
            session,
            number: 0,
            leases: leases.to_vec(),
            progress: vec![],
            complete: true,
        };
        self.0.renew(&Caller::default(), renewal).await
    }

    /// So much time passes for leases.
    fn pass(&self, time: Duration) {
        self.1.pass(time);
    }

    /// The refusal of a command. A client tries again what may pass, so it gets little time; it is asked again if
    /// that was over before the answer came.
    async fn code(&self, command: Command) -> Code {
        let caller = Caller {
            timeout: Duration::from_millis(500),
            ..Caller::default()
        };
        let mut code = Code::OutcomeUnknown;
        for _ in 0..5 {
            if code == Code::OutcomeUnknown {
                let refused = self.0.execute(&caller, command.clone()).await;
                code = refused.unwrap_err().code;
            }
        }
        code
    }
}

/// What both protocols show of one container.
async fn seen(wire: &Wire) -> Vec<Answer> {
    let all = Query::Jobs {
        queue: queue(),
        state: None,
        label: None,
        after: None,
        limit: 1000,
    };
    let batches = Query::Batches {
        after: None,
        limit: 1000,
    };
    let mut seen = Vec::new();
    for query in [all, batches.clone(), Query::Queue { queue: queue() }] {
        let mut answer = wire.ask(query).await.unwrap();
        match &mut answer {
            // These move on with time.
            Answer::Queue(queue) => queue.oldest_age_ms = 0,
            Answer::Jobs(jobs, _) => {
                for job in jobs {
                    job.waiting.truncate(1);
                }
            }
            Answer::Batches(batches, _) => batches.iter_mut().for_each(|b| b.eta_ms = None),
            _ => {}
        }
        seen.push(answer);
    }
    if let Answer::Batches(batches, _) = wire.ask(batches).await.unwrap() {
        for batch in batches {
            let query = Query::BatchResults {
                batch: batch.id,
                from: 0,
                limit: 1000,
            };
            seen.push(wire.ask(query).await.unwrap());
        }
    }
    seen
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident($wire:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            async fn scenario($wire: &Wire) $body

            async fn check(container: Container, wire: Wire) {
                scenario(&wire).await;
                let backend = container.backend();
                let rest = seen(&Wire(Arc::new(container.rest()), Arc::clone(&backend))).await;
                let grpc = seen(&Wire(Arc::new(container.client()), backend)).await;
                assert_eq!(rest, grpc);
            }

            #[tokio::test]
            async fn over_rest() {
                let container = Container::start(false).await;
                let wire = Wire(Arc::new(container.rest()), container.backend());
                check(container, wire).await;
            }

            #[tokio::test]
            async fn over_rest_through_a_sidecar() {
                let container = Container::start(false).await;
                let sidecar = container.sidecar().await;
                let wire = Wire(Arc::new(sidecar.rest()), container.backend());
                check(container, wire).await;
            }

            #[tokio::test]
            async fn over_grpc() {
                let container = Container::start(false).await;
                let wire = Wire(Arc::new(container.client()), container.backend());
                check(container, wire).await;
            }
        }
    )*};
}

scenarios! {
    /// A job's life: everything that is enqueued is handed out, byte for byte, and its result kept.
    a_life(wire) {
        let blob = Blob { uri: "file:///a".into(), sha256: "ab".repeat(32).into(), size: 7 };
        let given = NewJob {
            payload: Bytes::from_static(b"{ \"n\" : 1.50, \"s\":\"\\u00e9\" }"),
            payload_is_json: true,
            inputs: vec![blob.clone()],
            priority: 3,
            max_attempts: Some(2),
            labels: vec![("a".into(), "1".into()), ("b".into(), "".into())],
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            dedupe_key: Some("k".into()),
            ..NewJob::default()
        };
        let enqueued = wire.enqueue(vec![given.clone()]).await;
        assert_eq!(enqueued.len(), 1);
        assert!(!enqueued[0].1);
        let lease = wire.one().await;
        assert_eq!((lease.job, lease.attempt), (enqueued[0].0, 1));
        assert_eq!((&lease.payload, lease.payload_is_json), (&given.payload, true));
        assert_eq!((&lease.inputs, &lease.labels), (&given.inputs, &given.labels));
        assert_eq!((&lease.traceparent, lease.lease_ms), (&given.traceparent, 30_000));

        let done = Settle {
            lease: lease.id,
            session: None,
            settlement: Settlement::Complete {
                result: Bytes::from_static(b"\xff\x00raw"),
                result_is_json: false,
                outputs: vec![blob.clone()],
            },
        };
        assert_eq!(wire.settle_one(done).await, Ok(()));
        let view = wire.job(lease.job).await;
        assert_eq!(view.state, State::Completed);
        assert_eq!(view.job, given);
        assert_eq!((view.result.as_deref(), view.result_is_json), (Some(&b"\xff\x00raw"[..]), false));
        assert_eq!(view.outputs, vec![blob]);
        assert_eq!(view.attempts.len(), 1);
        assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Completed));
        assert_eq!(&*view.attempts[0].worker, "w");
    }

    /// A second job under a dedupe key is the first one; an enqueue of many is all or nothing.
    dedupe_and_atomicity(wire) {
        let keyed = |payload| NewJob { dedupe_key: Some("same".into()), ..job(payload) };
        let first = wire.enqueue(vec![keyed("1"), job("2"), keyed("3")]).await;
        assert_eq!(first[0].0, first[2].0);
        assert_eq!(first.iter().map(|job| job.1).collect::<Vec<_>>(), [false, false, true]);
        let again = wire.enqueue(vec![keyed("4")]).await;
        assert_eq!(again, [(first[0].0, true)]);

        let bad = NewJob { batch: Some((BatchId(1), 0)), ..job("5") };
        let command = Command::Enqueue { queue: queue(), jobs: vec![job("6"), bad] };
        assert_eq!(wire.code(command).await, Code::NotFound);
        assert_eq!(wire.jobs(None, None).await.len(), 2);
    }

    /// A request for work waits for it, and answers empty when none came in time.
    long_poll(wire) {
        let begun = Instant::now();
        let (session, leases) = wire.lease(request(None, 1), Duration::from_millis(200)).await;
        assert!(leases.is_empty());
        assert!(begun.elapsed() >= Duration::from_millis(200));
        let session = (session != SessionId::NONE).then_some(session);
        let asking = wire.lease(request(session, 5), Duration::from_secs(20));
        let adding = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            wire.enqueue(vec![job("1")]).await
        };
        let ((_, leases), added) = tokio::join!(asking, adding);
        assert_eq!(leases[0].job, added[0].0);
        assert!(begun.elapsed() < Duration::from_secs(20), "it came while the request waited");
    }

    /// The same settlement again gets the first answer, another one `already_settled`.
    settled_once(wire) {
        wire.enqueue(vec![job("1")]).await;
        let lease = wire.one().await.id;
        assert_eq!(wire.settle_one(complete(lease, "1")).await, Ok(()));
        assert_eq!(wire.settle_one(complete(lease, "1")).await, Ok(()));
        assert_eq!(wire.settle_one(complete(lease, "2")).await, Err(Code::AlreadySettled));
        assert_eq!(wire.settle_one(fail(lease, true, None)).await, Err(Code::AlreadySettled));
        assert_eq!(wire.settle_one(release(lease)).await, Err(Code::AlreadySettled));
        let extend = Command::Extend { lease, session: None, lease_ms: 1000 };
        let code = wire.code(extend).await;
        assert!(matches!(code, Code::AlreadySettled | Code::LeaseExpired), "{code}");
    }

    /// A lease that was not kept has expired; once the job is handed out again it is superseded.
    expired_and_superseded(wire) {
        wire.enqueue(vec![job("1")]).await;
        let short = LeaseRequest { lease_ms: Some(500), ..request(None, 1) };
        let (_, leases) = wire.lease(short, Duration::ZERO).await;
        let old = leases[0].id;
        wire.pass(Duration::from_millis(700));
        let (_, again) = wire.lease(request(None, 1), Duration::from_secs(10)).await;
        assert_eq!((again[0].job, again[0].attempt), (leases[0].job, 2));
        assert!(again[0].id.token() > old.token());
        assert_eq!(wire.settle_one(complete(old, "1")).await, Err(Code::StaleFencingToken));
        assert_eq!(wire.settle_one(complete(again[0].id, "2")).await, Ok(()));
        let view = wire.job(leases[0].job).await;
        assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Lost));
        assert_eq!(view.losses, 1);
    }

    /// A lease that expired and was not handed out again answers 410.
    expired(wire) {
        wire.enqueue(vec![job("1")]).await;
        let short = LeaseRequest { lease_ms: Some(500), ..request(None, 1) };
        let (session, leases) = wire.lease(short, Duration::ZERO).await;
        wire.run(Command::Pause { queue: queue(), paused: true }).await.unwrap();
        wire.pass(Duration::from_millis(700));
        assert_eq!(wire.settle_one(complete(leases[0].id, "1")).await, Err(Code::LeaseExpired));
        let renewed = wire.renew(session, &[leases[0].id]).await.unwrap();
        assert_eq!((renewed.live, renewed.ended), (vec![], vec![leases[0].id]));
    }

    /// Heartbeats and extensions keep a lease; progress and checkpoints are kept with it.
    keeping(wire) {
        wire.enqueue(vec![job("1")]).await;
        let short = LeaseRequest { lease_ms: Some(600), ..request(None, 1) };
        let (session, leases) = wire.lease(short, Duration::ZERO).await;
        let lease = leases[0].id;
        for _ in 0..5 {
            wire.pass(Duration::from_millis(400));
            let renewed = wire.renew(session, &[lease]).await.unwrap();
            assert_eq!(renewed.live, [lease]);
        }
        let kept = Ok(Reply::Kept { cancel_requested: false });
        let extend = Command::Extend { lease, session: None, lease_ms: 60_000 };
        assert_eq!(wire.run(extend).await, kept);
        let data = Bytes::from_static(b"{\"at\": 7}");
        let checkpoint = Command::Checkpoint { lease, session: None, data: data.clone() };
        assert_eq!(wire.run(checkpoint).await, kept);
        let progress = Progress { done: 3.0, total: 4.5, unit: "frames".into(), message: "x".into() };
        for session in [session, SessionId::NONE] {
            let report = Renewal {
                session,
                number: 0,
                leases: vec![lease],
                progress: vec![(lease, progress.clone())],
                complete: false,
            };
            let renewed = wire.0.renew(&Caller::default(), report).await.unwrap();
            assert_eq!(renewed.live, [lease]);
        }
        assert_eq!(wire.job(leases[0].job).await.progress, Some(progress));
        assert_eq!(wire.settle_one(fail(lease, true, Some(0))).await, Ok(()));
        let (_, again) = wire.lease(request(None, 1), Duration::from_secs(5)).await;
        assert_eq!(again[0].checkpoint, Some(data));
    }

    /// Failures are retried until they are dead, with the reason; releases charge nothing.
    failures(wire) {
        let id = wire.enqueue(vec![NewJob { max_attempts: Some(2), ..job("1") }]).await[0].0;
        let lease = wire.one().await.id;
        assert_eq!(wire.settle_one(release(lease)).await, Ok(()));
        for _ in 0..2 {
            let lease = wire.one().await.id;
            assert_eq!(wire.settle_one(fail(lease, true, Some(0))).await, Ok(()));
        }
        let view = wire.job(id).await;
        assert_eq!((view.state, view.failures, view.releases), (State::Dead, 2, 1));
        assert!(!view.dead_reason.is_empty());
        let last = view.attempts.last().unwrap();
        assert_eq!((&*last.error, last.exit_code, &*last.log_tail), ("no", Some(65), "last words"));

        assert_eq!(wire.run(Command::RetryJob { job: id }).await, Ok(Reply::Done));
        assert_eq!(wire.settle_one(fail(wire.one().await.id, false, None)).await, Ok(()));
        assert_eq!(wire.job(id).await.state, State::Dead);
        let redrive = Command::Redrive { queue: queue(), max: 10 };
        assert_eq!(wire.run(redrive).await, Ok(Reply::Count(1)));
        assert_eq!(wire.job(id).await.state, State::Ready);
    }

    /// Many settlements in one request are answered one by one, and lease next in the same step.
    settle_many(wire) {
        wire.enqueue(vec![job("1"), job("2"), job("3"), job("4")]).await;
        let (session, leases) = wire.lease(request(None, 3), Duration::ZERO).await;
        let ids: Vec<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        assert_eq!(wire.settle_one(complete(ids[0], "1")).await, Ok(()));
        let settle = vec![complete(ids[0], "9"), complete(ids[1], "2"), fail(ids[2], false, None)];
        let then = Some(request(Some(session), 5));
        let reply = wire.run(Command::Settle { settle, then }).await.unwrap();
        let Reply::Settled { outcomes, leased: Some((same, next)) } = reply else {
            panic!("{reply:?}")
        };
        let codes: Vec<_> = outcomes.into_iter().map(|o| o.map_err(|e| e.code)).collect();
        assert_eq!(codes, [Err(Code::AlreadySettled), Ok(()), Ok(())]);
        assert_eq!((same, next.len()), (session, 1));
        let outcomes = wire.settle(vec![complete(next[0].id, "4"), release(ids[1])]).await;
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1].as_ref().unwrap_err().code, Code::AlreadySettled);
    }

    /// A cancel ends what waits at once, and tells the holder of what runs.
    cancel(wire) {
        let ids = wire.enqueue(vec![job("1"), job("2")]).await;
        assert_eq!(wire.run(Command::CancelJob { job: ids[1].0 }).await, Ok(Reply::Done));
        assert_eq!(wire.job(ids[1].0).await.state, State::Cancelled);
        let (session, leases) = wire.lease(request(None, 1), Duration::ZERO).await;
        assert_eq!(leases[0].job, ids[0].0);
        assert_eq!(wire.run(Command::CancelJob { job: ids[0].0 }).await, Ok(Reply::Done));
        assert!(wire.job(ids[0].0).await.cancel_requested);
        let renewed = wire.renew(session, &[leases[0].id]).await.unwrap();
        assert_eq!((renewed.live.len(), renewed.cancelled), (0, vec![leases[0].id]));
        assert_eq!(wire.settle_one(complete(leases[0].id, "1")).await, Err(Code::AlreadySettled));
        assert_eq!(wire.job(ids[0].0).await.state, State::Cancelled);
    }

    /// A batch joins once, after it is sealed and its jobs are final; its results come by index.
    batch(wire) {
        let create = || Command::CreateBatch {
            queue: queue(),
            join: Some((Name::new("joins").unwrap(), job("\"join\""))),
            on_dead: OnDead::Hold,
            key: Some("film".into()),
        };
        let Ok(Reply::Batch(batch, false)) = wire.run(create()).await else { panic!("no batch") };
        assert_eq!(wire.run(create()).await, Ok(Reply::Batch(batch, true)));
        let child = |index| NewJob { batch: Some((batch, index)), ..job("0") };
        wire.enqueue(vec![child(1), child(0)]).await;
        assert!(wire.enqueue(vec![child(1)]).await[0].1, "the same place is the same job");
        let gap = Command::SealBatch { batch, expected: 3 };
        assert_eq!(wire.code(gap).await, Code::InvalidArgument);
        assert_eq!(wire.batch(batch).await.state, BatchState::Open);
        assert_eq!(wire.run(Command::SealBatch { batch, expected: 2 }).await, Ok(Reply::Done));
        let late = Command::Enqueue { queue: queue(), jobs: vec![child(2)] };
        assert_eq!(wire.code(late).await, Code::BatchSealed);

        let (_, leases) = wire.lease(request(None, 2), Duration::ZERO).await;
        let by_index = |index| leases.iter().find(|l| l.batch == Some((batch, index))).unwrap();
        assert_eq!(wire.settle_one(complete(by_index(0).id, "\"zero\"")).await, Ok(()));
        assert_eq!(wire.settle_one(fail(by_index(1).id, false, None)).await, Ok(()));
        assert_eq!(wire.batch(batch).await.state, BatchState::Held);
        assert_eq!(wire.run(Command::SkipChild { job: by_index(1).job }).await, Ok(Reply::Done));

        let joins = LeaseRequest { queue: Name::new("joins").unwrap(), ..request(None, 1) };
        let (_, join) = wire.lease(joins, Duration::ZERO).await;
        assert_eq!((join[0].joins, &*join[0].payload), (Some(batch), &b"\"join\""[..]));
        let results = |from, limit| Query::BatchResults { batch, from, limit };
        let Answer::BatchResults(first, Some(1)) = wire.ask(results(0, 1)).await.unwrap() else {
            panic!("the first page leads to the second")
        };
        assert_eq!((first[0].index, first[0].result.as_deref()), (0, Some(&b"\"zero\""[..])));
        let Answer::BatchResults(rest, None) = wire.ask(results(1, 10)).await.unwrap() else {
            panic!("the second page is the last")
        };
        assert_eq!((rest[0].index, rest[0].state), (1, State::Dead));
        assert_eq!(wire.settle_one(complete(join[0].id, "1")).await, Ok(()));
        let view = wire.batch(batch).await;
        assert_eq!((view.state, view.skipped), (BatchState::Completed, 1));
        assert_eq!((view.expected, view.join), (Some(2), Some(join[0].job)));
    }

    /// A batch that is cancelled cancels its jobs.
    cancel_batch(wire) {
        let command = Command::CreateBatch {
            queue: queue(),
            join: None,
            on_dead: OnDead::Cancel,
            key: None,
        };
        let Ok(Reply::Batch(batch, false)) = wire.run(command).await else { panic!("no batch") };
        let child = NewJob { batch: Some((batch, 0)), ..job("0") };
        let id = wire.enqueue(vec![child]).await[0].0;
        assert_eq!(wire.run(Command::CancelBatch { batch }).await, Ok(Reply::Done));
        assert_eq!(wire.batch(batch).await.state, BatchState::Cancelled);
        assert_eq!(wire.job(id).await.state, State::Cancelled);
    }

    /// Lists come in pages that leave nothing out and show nothing twice.
    pages(wire) {
        let labelled = |n: u32| NewJob {
            labels: vec![("odd".into(), if n % 2 == 1 { "yes" } else { "no" }.into())],
            ..job("1")
        };
        let ids: Vec<JobId> = wire
            .enqueue((0..7).map(labelled).collect())
            .await
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let query = Query::Jobs { queue: queue(), state: None, label: None, after, limit: 3 };
            let Answer::Jobs(jobs, next) = wire.ask(query).await.unwrap() else { panic!() };
            assert!(jobs.len() <= 3);
            all.extend(jobs.iter().map(|job| job.id));
            match next {
                None => break,
                next => after = next,
            }
        }
        assert_eq!(all, ids);
        assert_eq!(wire.jobs(None, Some(("odd", "yes"))).await.len(), 3);
        wire.one().await;
        assert_eq!(wire.jobs(Some(State::Leased), None).await, [ids[0]]);

        for name in ["a", "b"] {
            let queue = Name::new(name).unwrap();
            let settings = Settings::default();
            wire.run(Command::Configure { queue, settings }).await.unwrap();
        }
        let query = Query::Queues { after: None, limit: 2 };
        let Answer::Queues(first, Some(next)) = wire.ask(query).await.unwrap() else { panic!() };
        let query = Query::Queues { after: Some(next), limit: 2 };
        let Answer::Queues(second, None) = wire.ask(query).await.unwrap() else { panic!() };
        let names: Vec<_> = first.iter().chain(&second).map(|q| q.name.to_string()).collect();
        assert_eq!(names, ["a", "b", "q"]);
    }

    /// A queue's settings hold for its jobs; control does what it says.
    control(wire) {
        let settings = Settings {
            lease_ms: 1234,
            stall_ms: 5,
            max_attempts: 7,
            backoff_initial_ms: 8,
            backoff_max_ms: 9,
            max_jobs: 3,
            max_bytes: 11_000,
            retention_ms: 12_000,
        };
        let configure = Command::Configure { queue: queue(), settings: settings.clone() };
        assert_eq!(wire.run(configure).await, Ok(Reply::Done));
        let later = NewJob { not_before: Some(LogTime(4_000_000_000_000)), ..job("3") };
        let ids = wire.enqueue(vec![job("1"), job("2"), later]).await;
        let full = Command::Enqueue { queue: queue(), jobs: vec![job("4")] };
        assert_eq!(wire.code(full).await, Code::OverQuota);
        assert_eq!(wire.job(ids[2].0).await.ready_at, Some(LogTime(4_000_000_000_000)));

        let pause = |paused| Command::Pause { queue: queue(), paused };
        assert_eq!(wire.run(pause(true)).await, Ok(Reply::Done));
        assert!(wire.lease(request(None, 1), Duration::ZERO).await.1.is_empty());
        assert_eq!(wire.run(pause(false)).await, Ok(Reply::Done));
        assert_eq!(wire.one().await.lease_ms, 1234);
        let Answer::Queue(view) = wire.ask(Query::Queue { queue: queue() }).await.unwrap() else {
            panic!()
        };
        assert_eq!(view.settings, settings);
        let counts = Counts { ready: 1, delayed: 1, leased: 1, ..Counts::default() };
        assert_eq!((view.counts, view.paused), (counts, false));
        let busy = wire.run(Command::DeleteQueue { queue: queue() }).await;
        assert!(busy.is_err(), "{busy:?}");
        assert_eq!(wire.run(Command::Purge { queue: queue() }).await, Ok(Reply::Count(2)));
        let empty = Name::new("empty").unwrap();
        let configure = Command::Configure { queue: empty.clone(), settings };
        assert_eq!(wire.run(configure).await, Ok(Reply::Done));
        let delete = Command::DeleteQueue { queue: empty };
        assert_eq!(wire.run(delete.clone()).await, Ok(Reply::Done));
        assert_eq!(wire.code(delete).await, Code::NotFound);
    }
}
