//! Proves the two streams of gRPC: what is pipelined is acknowledged once and executed once, credits
//! bring leases, settlements are answered each on its own, and the end of a stream releases nothing.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use container::Container;
use quorate_core::error::{Code, Error};
use quorate_proto::queue as pb;
use quorate_proto::queue::settlement::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

fn batch(stream: u64, number: u64, jobs: usize) -> pb::EnqueueStreamRequest {
    pb::EnqueueStreamRequest {
        number,
        stream,
        done_below: 0,
        queue: "q".into(),
        jobs: vec![pb::NewJob::default(); jobs],
    }
}

/// Sends these, ends the stream, and gives the acknowledgements by number.
async fn enqueue(
    container: &Container,
    requests: Vec<pb::EnqueueStreamRequest>,
) -> BTreeMap<u64, pb::enqueue_ack::Result> {
    let up = tokio_stream::iter(requests);
    let mut down = container
        .grpc()
        .enqueue_stream(up)
        .await
        .unwrap()
        .into_inner();
    let mut acks = BTreeMap::new();
    while let Some(answer) = down.message().await.unwrap() {
        for ack in answer.acks {
            let before = acks.insert(ack.number, ack.result.unwrap());
            assert_eq!(before, None, "{} was acknowledged twice", ack.number);
        }
    }
    acks
}

fn ids(result: &pb::enqueue_ack::Result) -> &[u64] {
    match result {
        pb::enqueue_ack::Result::Enqueued(enqueued) => &enqueued.ids,
        pb::enqueue_ack::Result::Error(error) => panic!("{error:?}"),
    }
}

async fn counts(container: &Container) -> Value {
    container.http().get("/v1/queues/q").await.ok()["counts"].clone()
}

#[tokio::test]
async fn every_request_is_acknowledged_once_and_a_resent_one_is_not_done_again() {
    let container = Container::start(false).await;
    let opened = container.grpc().open_stream(pb::OpenStreamRequest {}).await;
    let stream = opened.unwrap().into_inner().stream;
    let requests: Vec<_> = (1..=300).map(|number| batch(stream, number, 3)).collect();
    let first = enqueue(&container, requests.clone()).await;
    assert_eq!(first.len(), 300);
    assert!(first.values().all(|result| ids(result).len() == 3));
    // The connection broke and the client does not know which were done: it sends the last again.
    let again = enqueue(&container, requests[200..].to_vec()).await;
    assert_eq!(again.len(), 100);
    assert!(
        again
            .iter()
            .all(|(number, result)| first[number] == *result)
    );
    assert_eq!(counts(&container).await["ready"], 900);
}

#[tokio::test]
async fn a_bad_request_is_answered_by_its_number_and_spoils_no_other() {
    let container = Container::start(false).await;
    let bad = pb::EnqueueStreamRequest {
        queue: "Q".into(),
        ..batch(0, 2, 1)
    };
    let unknown = batch(99, 3, 1);
    let acks = enqueue(
        &container,
        vec![batch(0, 1, 1), bad, unknown, batch(0, 4, 1)],
    )
    .await;
    let code = |number| match &acks[&number] {
        pb::enqueue_ack::Result::Error(error) => error.code.clone(),
        pb::enqueue_ack::Result::Enqueued(_) => String::new(),
    };
    let codes: Vec<String> = (1..=4).map(code).collect();
    assert_eq!(codes, ["", "invalid_argument", "session_expired", ""]);
    assert_eq!(counts(&container).await["ready"], 2);
}

/// A worker's end of a `Work` stream.
struct Worker {
    up: mpsc::Sender<pb::WorkRequest>,
    down: Streaming<pb::WorkResponse>,
    session: u64,
    heartbeats: u64,
}

impl Worker {
    async fn open(container: &Container, hello: pb::WorkHello) -> Result<Self, Status> {
        let (up, requests) = mpsc::channel(16);
        let first = pb::WorkRequest {
            hello: Some(hello),
            ..Default::default()
        };
        up.send(first).await.unwrap();
        let requests = ReceiverStream::new(requests);
        let mut down = container.grpc().work(requests).await?.into_inner();
        let first = down.message().await?.unwrap();
        Ok(Self {
            up,
            down,
            session: first.session.unwrap(),
            heartbeats: 0,
        })
    }

    async fn start(container: &Container) -> Self {
        Self::open(container, hello()).await.unwrap()
    }

    async fn say(&self, request: pb::WorkRequest) {
        self.up.send(request).await.unwrap();
    }

    async fn credit(&self, credits: u32) {
        let request = pb::WorkRequest {
            credits,
            ..Default::default()
        };
        self.say(request).await;
    }

    async fn settle(&self, number: u64, settle: Vec<pb::Settlement>, credits: u32) {
        let request = pb::WorkRequest {
            credits,
            settle: Some(pb::WorkSettle { number, settle }),
            ..Default::default()
        };
        self.say(request).await;
    }

    async fn hear(&mut self) -> pb::WorkResponse {
        let waiting = tokio::time::timeout(Duration::from_secs(20), self.down.message());
        waiting.await.expect("an answer").unwrap().expect("no end")
    }

    /// So many leases, from as many messages as it takes.
    async fn leases(&mut self, count: usize) -> Vec<pb::Lease> {
        let mut leases = Vec::new();
        while leases.len() < count {
            leases.extend(self.hear().await.leased.unwrap_or_default().leases);
        }
        assert_eq!(leases.len(), count, "no more than there were credits for");
        leases
    }

    async fn beat(&mut self, leases: Vec<u64>) -> pb::HeartbeatResponse {
        self.heartbeats += 1;
        let heartbeat = pb::WorkHeartbeat {
            number: self.heartbeats,
            leases,
            ..Default::default()
        };
        let request = pb::WorkRequest {
            heartbeat: Some(heartbeat),
            ..Default::default()
        };
        self.say(request).await;
        loop {
            if let Some(renewed) = self.hear().await.renewed {
                assert_eq!(renewed.number, self.heartbeats);
                return renewed.result.unwrap();
            }
        }
    }
}

fn hello() -> pb::WorkHello {
    pb::WorkHello {
        queue: "q".into(),
        worker: "w".into(),
        heartbeat_ms: Some(200),
        ..Default::default()
    }
}

fn completed(lease: u64) -> pb::Settlement {
    pb::Settlement {
        lease,
        session: None,
        outcome: Some(Outcome::Complete(pb::Complete::default())),
    }
}

async fn add(container: &Container, count: usize) -> Vec<u64> {
    let acks = enqueue(container, vec![batch(0, 1, count)]).await;
    ids(&acks[&1]).to_vec()
}

#[tokio::test]
async fn credits_bring_leases_and_settlements_the_next_ones() {
    let container = Container::start(false).await;
    let mut worker = Worker::start(&container).await;
    // Work that comes later than the credit is handed out all the same.
    worker.credit(3).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let jobs = add(&container, 5).await;
    let first = worker.leases(3).await;
    let mut seen: Vec<u64> = first.iter().map(|lease| lease.job).collect();
    assert_eq!(counts(&container).await["leased"], 3);

    worker
        .settle(
            7,
            first.iter().map(|lease| completed(lease.id)).collect(),
            3,
        )
        .await;
    let mut settled = None;
    let mut next = Vec::new();
    while settled.is_none() || next.len() < 2 {
        let answer = worker.hear().await;
        settled = answer.settled.into_iter().next().or(settled);
        next.extend(answer.leased.unwrap_or_default().leases);
    }
    let settled = settled.unwrap();
    assert_eq!(
        (settled.number, settled.outcomes.len(), settled.error),
        (7, 3, None)
    );
    assert!(
        settled
            .outcomes
            .iter()
            .all(|outcome| outcome.error.is_none())
    );
    seen.extend(next.iter().map(|lease| lease.job));
    assert_eq!(seen, jobs, "first in, first out, each once");
    let counts = counts(&container).await;
    assert_eq!(
        (&counts["completed"], &counts["leased"]),
        (&json!(3), &json!(2))
    );
}

#[tokio::test]
async fn each_settlement_is_answered_on_its_own_and_a_malformed_group_spoils_no_other() {
    let container = Container::start(false).await;
    add(&container, 2).await;
    let mut worker = Worker::start(&container).await;
    worker.credit(2).await;
    let leases = worker.leases(2).await;
    let large = pb::Settlement {
        outcome: Some(Outcome::Complete(pb::Complete {
            result: vec![0; 65 * 1024].into(),
            ..Default::default()
        })),
        ..completed(leases[0].id)
    };
    worker.settle(1, vec![large], 0).await;
    worker
        .settle(2, vec![completed(leases[0].id), completed(1)], 0)
        .await;
    let again = pb::Settlement {
        outcome: Some(Outcome::Release(pb::Release {})),
        ..completed(leases[0].id)
    };
    worker
        .settle(3, vec![again, completed(leases[1].id)], 0)
        .await;
    let mut settled = BTreeMap::new();
    while settled.len() < 3 {
        for one in worker.hear().await.settled {
            settled.insert(one.number, one);
        }
    }
    let codes = |number: u64| -> Vec<String> {
        let outcomes = settled[&number].outcomes.iter();
        outcomes
            .map(|o| o.error.as_ref().map(|e| e.code.clone()).unwrap_or_default())
            .collect()
    };
    assert_eq!(settled[&1].error.as_ref().unwrap().code, "too_large");
    assert_eq!(codes(2), ["", "not_found"]);
    assert_eq!(codes(3), ["already_settled", ""]);
}

#[tokio::test]
async fn heartbeats_keep_leases_and_tell_of_cancels() {
    let container = Container::start(false).await;
    let jobs = add(&container, 2).await;
    let hello = pb::WorkHello {
        lease_ms: Some(1000),
        ..hello()
    };
    let mut worker = Worker::open(&container, hello).await.unwrap();
    worker.credit(2).await;
    let leases: Vec<u64> = worker
        .leases(2)
        .await
        .iter()
        .map(|lease| lease.id)
        .collect();
    for _ in 0..6 {
        container.backend().pass(Duration::from_millis(700));
        let renewed = worker.beat(leases.clone()).await;
        assert_eq!(renewed.live, leases);
    }
    let cancel = pb::CancelJobRequest { job: jobs[0] };
    container.grpc().cancel_job(cancel).await.unwrap();
    let renewed = worker.beat(leases.clone()).await;
    assert_eq!(renewed.live, [leases[1]]);
    assert_eq!(
        (renewed.ended, renewed.cancelled),
        (vec![leases[0]], vec![leases[0]])
    );
}

#[tokio::test]
async fn the_end_of_a_stream_releases_nothing_and_another_goes_on() {
    let container = Container::start(false).await;
    add(&container, 2).await;
    let mut worker = Worker::start(&container).await;
    worker.credit(1).await;
    let lease = worker.leases(1).await.remove(0).id;
    let session = worker.session;
    drop(worker);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(counts(&container).await["leased"], 1);

    let hello = pb::WorkHello {
        session: Some(session),
        ..hello()
    };
    let mut worker = Worker::open(&container, hello).await.unwrap();
    assert_eq!(worker.session, session);
    assert_eq!(worker.beat(vec![lease]).await.live, [lease]);
    worker.settle(1, vec![completed(lease)], 0).await;
    let settled = worker.hear().await.settled.remove(0);
    assert_eq!(settled.outcomes[0].error, None);
}

#[tokio::test]
async fn a_grant_names_the_last_heartbeat_that_had_come() {
    let container = Container::start(false).await;
    let mut worker = Worker::start(&container).await;
    worker.credit(1).await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        worker.beat(vec![]).await;
    }
    add(&container, 1).await;
    let leased = loop {
        if let Some(leased) = worker.hear().await.leased {
            break leased;
        }
    };
    assert!(
        leased.heartbeat + 2 > worker.heartbeats,
        "the worker would drop it: {leased:?}"
    );
    assert_eq!(leased.leases.len(), 1);
}

#[tokio::test]
async fn what_a_worker_says_out_of_order_is_refused() {
    let container = Container::start(false).await;
    let refused = |first: pb::WorkRequest| {
        let mut grpc = container.grpc();
        async move {
            let (up, requests) = mpsc::channel(2);
            up.send(first).await.unwrap();
            let down = grpc.work(ReceiverStream::new(requests)).await;
            let status = match down {
                Err(status) => status,
                Ok(down) => down.into_inner().message().await.unwrap_err(),
            };
            Error::from_status(&status)
        }
    };
    let with = |hello: pb::WorkHello| pb::WorkRequest {
        hello: Some(hello),
        ..Default::default()
    };
    let name = |queue: &str, worker: &str| pb::WorkHello {
        queue: queue.into(),
        worker: worker.into(),
        ..Default::default()
    };
    let many = pb::WorkRequest {
        credits: 1_000_000,
        ..with(hello())
    };
    for (first, part) in [
        (pb::WorkRequest::default(), "hello: missing"),
        (with(name("Q", "w")), "hello.queue"),
        (with(name("q", "")), "hello: worker: empty"),
        (many, "credits"),
    ] {
        let error = refused(first).await;
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        assert!(error.detail.contains(part), "{error}");
    }
    let worker = Worker::start(&container).await;
    worker.say(with(hello())).await;
    let mut down = worker.down;
    let error = Error::from_status(&down.message().await.unwrap_err());
    assert!(error.detail.contains("comes twice"), "{error}");

    let unknown = pb::WorkHello {
        session: Some(12345),
        ..hello()
    };
    let worker = Worker::open(&container, unknown).await.unwrap();
    worker.credit(1).await;
    let mut down = worker.down;
    let error = Error::from_status(&down.message().await.unwrap_err());
    assert_eq!(error.code, Code::SessionExpired, "{error}");
}

#[tokio::test]
async fn a_drain_ends_both_streams_after_what_was_sent_is_answered() {
    let container = Container::start(false).await;
    add(&container, 1).await;
    let mut worker = Worker::start(&container).await;
    worker.credit(5).await;
    let lease = worker.leases(1).await.remove(0).id;
    worker.settle(1, vec![completed(lease)], 0).await;
    let (up, requests) = mpsc::channel(4);
    up.send(batch(0, 1, 1)).await.unwrap();
    let down = container
        .grpc()
        .enqueue_stream(ReceiverStream::new(requests))
        .await;
    let mut down = down.unwrap().into_inner();
    let acks = down.message().await.unwrap().unwrap().acks;
    assert_eq!(acks.len(), 1);
    let settled = loop {
        if let Some(settled) = worker.hear().await.settled.pop() {
            break settled;
        }
    };
    assert_eq!(settled.outcomes[0].error, None);

    container.shutdown.order();
    let status = down.message().await.unwrap_err();
    assert_eq!(Error::from_status(&status).code, Code::NoQuorum);
    let status = loop {
        match worker.down.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(Error::from_status(&status).code, Code::NoQuorum);
    container.ended.await.unwrap();
}
