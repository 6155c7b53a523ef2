//! Proves that the client of a cluster does each operation once, whatever happens to answers and
//! servers: against the real gRPC API, over a queue that loses answers when it is told to.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use bytes::Bytes;
use quorate_core::error::Code;
use quorate_work_queue::api::Api;
use quorate_work_queue::machine::{BatchId, Settlement, State};
use quorate_work_queue::queue::Queue;
use quorate_work_queue::worker::{Context, Job, JobError, Worker};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use support::{FakeQueue, Stalls};
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// An address that no other test is given while this lives, whether a server listens there or not: a client that goes
/// on calling a server that was stopped must not reach one of another test.
struct Place {
    address: SocketAddr,
    /// Bound, and never listening.
    _held: TcpSocket,
}

impl Place {
    fn new() -> Self {
        let held = Self::bind((Ipv4Addr::LOCALHOST, 0).into());
        Self {
            address: held.local_addr().unwrap(),
            _held: held,
        }
    }

    fn bind(address: SocketAddr) -> TcpSocket {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseport(true).unwrap();
        socket.bind(address).unwrap();
        socket
    }
}

/// A server with a runtime of its own, so that it can be stopped like a process: at once, connections
/// and all.
struct Server {
    runtime: Option<Runtime>,
    place: Option<Place>,
    address: SocketAddr,
}

impl Server {
    fn start(fake: &FakeQueue) -> Self {
        Self::start_at(fake, Place::new())
    }

    fn start_at(fake: &FakeQueue, place: Place) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = place.address;
        let listener = {
            let _in_runtime = runtime.enter();
            Place::bind(address).listen(1024).unwrap()
        };
        let api = Api::new(
            Arc::new(fake.clone()),
            "serve",
            "0",
            CancellationToken::new(),
        );
        let router = api.router().unwrap();
        runtime.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            runtime: Some(runtime),
            place: Some(place),
            address,
        }
    }

    /// Lets the process hang for a while, as when it is stopped by a signal: nothing is read, nothing
    /// answered, no connection closed. It hangs when this returns.
    fn hang(&self, time: Duration) {
        let (hangs, begun) = std::sync::mpsc::channel();
        self.runtime.as_ref().unwrap().spawn(async move {
            hangs.send(()).unwrap();
            std::thread::sleep(time);
        });
        begun.recv().unwrap();
    }

    /// Stops it; its address stays taken as long as what this gives lives.
    #[must_use]
    fn stop(mut self) -> Place {
        self.runtime.take().unwrap().shutdown_background();
        self.place.take().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn queue(servers: &[&Server]) -> Queue {
    let list: Vec<String> = servers.iter().map(|s| s.address.to_string()).collect();
    Queue::connect(&list.join(",")).unwrap()
}

/// An address where nobody listens, and nobody will.
const NOBODY: &str = "127.0.0.1:1";

/// Proves that commands and questions travel there and back.
#[tokio::test]
async fn operations_travel_there_and_back() {
    let fake = FakeQueue::new(10_000);
    let server = Server::start(&fake);
    let queue = queue(&[&server]);
    let ids = queue.enqueue_many("q", [1, 2, 3]).await.unwrap();
    let payloads: Vec<_> = fake
        .lock()
        .ready
        .iter()
        .map(|j| (j.id, j.payload.clone()))
        .collect();
    let expected = ids.iter().zip(["1", "2", "3"]);
    assert!(
        payloads
            .iter()
            .zip(expected)
            .all(|((id, p), (want, text))| *id == want.0 && p == text)
    );

    fake.lock().children = (0..5)
        .map(|index| quorate_work_queue::machine::ChildView {
            index,
            job: ids[0],
            state: State::Completed,
            attempts: 1,
            result: None,
            result_is_json: false,
            outputs: Vec::new(),
        })
        .collect();
    let children = queue.open_batch(BatchId(7)).results().await.unwrap();
    assert_eq!(children.len(), 5, "all pages");
    let error = queue.enqueue("Bad Name", &1).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
}

/// Proves that an operation whose answer was lost is sent again and done once.
#[tokio::test]
async fn an_enqueue_whose_answer_was_lost_is_done_once() {
    let fake = FakeQueue::new(10_000);
    let server = Server::start(&fake);
    let queue = queue(&[&server]);
    fake.lock().lose_enqueue_answers = 3;
    let id = queue.enqueue("q", &"x").await.unwrap();
    let jobs: Vec<_> = fake.lock().ready.iter().map(|job| job.id).collect();
    assert_eq!(jobs, [id.0]);
}

/// Proves that a client stream that expired while nothing was under way is replaced silently, and that
/// an operation of unknown outcome under it is reported as that and not repeated.
#[tokio::test]
async fn an_expired_client_stream_is_replaced_unless_something_is_in_doubt() {
    let fake = FakeQueue::new(10_000);
    let server = Server::start(&fake);
    let queue = queue(&[&server]);
    queue.enqueue("q", &1).await.unwrap();
    fake.lock().streams.clear();
    queue.enqueue("q", &2).await.unwrap();
    assert_eq!(fake.lock().ready.len(), 2);
    assert_eq!(fake.lock().streams_opened, 2);

    fake.lock().lose_enqueue_answers = 1;
    fake.lock().expire_with_lost_answer = true;
    let error = queue.enqueue("q", &3).await.unwrap_err();
    assert_eq!(error.code, Code::OutcomeUnknown);
    assert_eq!(fake.lock().ready.len(), 3);
}

/// Proves that a server that dies in the middle of an operation is left, and that it is done once.
#[tokio::test]
async fn a_server_that_dies_in_the_middle_is_left_and_nothing_is_done_twice() {
    let fake = FakeQueue::new(10_000);
    let (one, two) = (Server::start(&fake), Server::start(&fake));
    let queue = queue(&[&one, &two]);
    fake.lock().hang_enqueues = 1;
    let enqueue = tokio::spawn({
        let queue = queue.clone();
        async move { queue.enqueue("q", &1).await }
    });
    fake.until(|state| (state.ready.len() == 1).then_some(()))
        .await;
    let _place = one.stop();
    let id = enqueue.await.unwrap().unwrap();
    let jobs: Vec<_> = fake.lock().ready.iter().map(|job| job.id).collect();
    assert_eq!(jobs, [id.0]);
}

/// Proves that a server that cannot be reached is passed over, and that none at all is an error that
/// says "certainly not done".
#[tokio::test]
async fn servers_that_cannot_be_reached_are_passed_over() {
    let fake = FakeQueue::new(10_000);
    let server = Server::start(&fake);
    let list = format!("{NOBODY},{}", server.address);
    Queue::connect(&list)
        .unwrap()
        .enqueue("q", &1)
        .await
        .unwrap();
    let queue = Queue::connect(NOBODY)
        .unwrap()
        .timeout(Duration::from_millis(300));
    let mut error = queue.enqueue("q", &1).await.unwrap_err();
    // An attempt whose time is over before it is made, as when the process was paused, has no known outcome.
    for _ in 0..5 {
        if error.code == Code::OutcomeUnknown {
            error = queue.enqueue("q", &1).await.unwrap_err();
        }
    }
    assert_eq!(error.code, Code::NoQuorum, "{error}");
    assert!(error.detail.contains("is it running"), "{error}");
}

/// Proves that a worker's session and lease outlive the server it talks to.
#[tokio::test]
async fn a_worker_goes_on_under_its_session_when_its_server_dies() {
    let fake = FakeQueue::new(15_000);
    let (one, two) = (Server::start(&fake), Server::start(&fake));
    let queue = queue(&[&one, &two]);
    let stop = CancellationToken::new();
    let go = Arc::new(tokio::sync::Notify::new());
    let go2 = Arc::clone(&go);
    let worker = Worker::new(&queue, "q").slots(2).shutdown(stop.clone());
    let task = tokio::spawn(worker.run(move |job: Job<u32>, _: Context| {
        let go = Arc::clone(&go2);
        async move {
            if job.payload == 1 {
                go.notified().await;
            }
            Ok::<_, JobError>(job.payload)
        }
    }));
    let long = fake.push("1");
    fake.until(|state| (!state.leased.is_empty()).then_some(()))
        .await;
    let _place = one.stop();
    let next = fake.push("2");
    assert!(matches!(
        fake.outcome(next).await,
        Settlement::Complete { .. }
    ));
    go.notify_one();
    assert!(matches!(
        fake.outcome(long).await,
        Settlement::Complete { .. }
    ));
    stop.cancel();
    let report = task.await.unwrap().unwrap();
    assert_eq!((report.completed, report.lost), (2, 0));
    let state = fake.lock();
    assert_eq!((state.sessions_opened, state.sessions_closed), (1, 1));
    assert!(
        state
            .settled
            .iter()
            .all(|(_, s)| matches!(s, Settlement::Complete { .. }))
    );
}

/// Proves that a server that hangs costs its workers no lease: they go to another one in time.
#[tokio::test]
async fn a_worker_leaves_a_server_that_hangs_before_its_lease_ends() {
    // The lease of a worker that stands still itself may end meanwhile: then it is tried again.
    for _ in 0..5 {
        let stalls = Stalls::watch();
        match &work_while_the_server_hangs().await[..] {
            b"\"done\"" => return,
            b"\"stopped\"" | b"" => assert!(
                stalls.longest() >= Duration::from_millis(500),
                "the lease ended, and nothing stood still for longer than {:?}",
                stalls.longest()
            ),
            other => panic!("{other:?}"),
        }
    }
    panic!("the process stood still in every run");
}

/// What a worker's job ends with that waits, since its server hangs, for a heartbeat by the other one; nothing if it is
/// given back.
async fn work_while_the_server_hangs() -> Bytes {
    // The server is left after half of it, and the handler is told to stop a grace before its end.
    let fake = FakeQueue::new(8_000);
    let (one, two) = (Server::start(&fake), Server::start(&fake));
    let queue = queue(&[&one, &two]);
    let stop = CancellationToken::new();
    let renewed = Arc::new(tokio::sync::Notify::new());
    let renewed2 = Arc::clone(&renewed);
    let worker = Worker::new(&queue, "q")
        .grace(Duration::from_secs(1))
        .drain(Duration::from_secs(1))
        .shutdown(stop.clone());
    let task = tokio::spawn(worker.run(move |_: Job<u32>, context: Context| {
        let renewed = Arc::clone(&renewed2);
        async move {
            tokio::select! {
                biased;
                () = context.cancelled() => Ok::<_, JobError>("stopped"),
                () = renewed.notified() => Ok("done"),
            }
        }
    }));
    let job = fake.push("1");
    fake.until(|state| (!state.leased.is_empty()).then_some(()))
        .await;
    one.hang(Duration::from_secs(60));
    // From here on a heartbeat comes by the other server alone.
    let before = fake.lock().kept;
    fake.until(|state| (state.kept > before || !state.settled.is_empty()).then_some(()))
        .await;
    renewed.notify_one();
    let outcome = fake.outcome(job).await;
    stop.cancel();
    let report = task.await.unwrap().unwrap();
    assert_eq!(fake.lock().sessions_opened, 1);
    match outcome {
        Settlement::Complete { result, .. } => {
            assert_eq!(report.completed, 1);
            result
        }
        Settlement::Release => Bytes::new(),
        other => panic!("{other:?}"),
    }
}

/// Proves that a producer's jobs are each added once though its server dies twice while they flow.
#[tokio::test]
async fn a_producer_adds_each_job_once_through_dying_servers() {
    const JOBS: u32 = 6_000;
    let fake = FakeQueue::new(10_000);
    let (one, two) = (Server::start(&fake), Server::start(&fake));
    let queue = queue(&[&one, &two]);
    let producer = queue.producer("q").unwrap();
    let mut receipts = Vec::new();
    let (mut one, mut two) = (Some(one), Some(two));
    let mut left = None;
    for n in 0..JOBS {
        receipts.push(producer.send(&n).await.unwrap());
        if n == JOBS / 3 - 300 {
            fake.lock().hang_enqueues = 2;
        }
        if n == JOBS / 3 {
            let place = one.take().unwrap().stop();
            one = Some(Server::start_at(&fake, place));
        }
        if n == 2 * JOBS / 3 {
            fake.lock().lose_enqueue_answers = 2;
            left = two.take().map(Server::stop);
        }
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut ids = BTreeMap::new();
    for (n, receipt) in receipts.into_iter().enumerate() {
        ids.insert(receipt.await.unwrap().id.0, n.to_string());
    }
    producer.flush().await;
    let added: BTreeMap<u64, String> = fake
        .lock()
        .ready
        .iter()
        .map(|job| (job.id, String::from_utf8(job.payload.to_vec()).unwrap()))
        .collect();
    assert_eq!(added.len(), JOBS as usize);
    assert_eq!(added, ids, "each receipt names the job of its payload");
    assert_eq!(fake.lock().ready.len(), JOBS as usize);
    drop(left);
}

/// Proves the same producer over a service in this process.
#[tokio::test]
async fn a_producer_works_over_any_service() {
    let fake = FakeQueue::new(10_000);
    fake.lock().lose_enqueue_answers = 2;
    let producer = fake.queue().producer("q").unwrap();
    let mut receipts = Vec::new();
    for n in 0..2_000 {
        receipts.push(producer.send(&n).await.unwrap());
    }
    for receipt in receipts {
        receipt.await.unwrap();
    }
    assert_eq!(fake.lock().ready.len(), 2_000);
}

/// Proves that a job which may have been added is not called refused because the stream that knew it is over: who
/// sends it again must know that it may be there twice.
#[tokio::test]
async fn a_job_that_may_have_been_added_is_not_called_refused() {
    let fake = FakeQueue::new(10_000);
    {
        let mut state = fake.lock();
        state.lose_enqueue_answers = 1;
        state.expire_with_lost_answer = true;
    }
    let producer = fake.queue().producer("q").unwrap();
    let receipt = producer.send(&1).await.unwrap();
    let error = receipt.await.unwrap_err();
    assert_eq!(error.code, Code::OutcomeUnknown, "{error}");
    assert_eq!(fake.lock().ready.len(), 1);
}
