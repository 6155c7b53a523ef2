//! From the first accepted connection to the exit.

use crate::harness::*;
use quorate_core::runtime::{Exit, Status};
use std::time::Duration;

#[tokio::test]
async fn answers_503_until_ready_and_never_refuses_a_connection() {
    // Proves: bound first; then 503 with Retry-After and the reason, on the API and on /readyz, until
    // the service says it is ready; info and wait answer all the time.
    let waiting = Status {
        reason: "replaying the log".into(),
        ..Status::default()
    };
    let mut running = launch(settings(&[]), waiting);
    let early = ask(running.api, "POST", "/echo", JSON, br#"{"priority":1}"#).await;
    assert_eq!(early.status, 503);
    early.problem("no_quorum");
    assert_eq!(early.header("retry-after"), Some("1"));
    assert_eq!(get_from(running.ops, "/startupz").await.status, 503);
    assert_eq!(get_from(running.ops, "/livez").await.status, 200);
    assert_eq!(
        get_from(running.api, "/v1/info").await.json()["pattern"],
        "work-queue"
    );
    let late = get_from(running.api, "/v1/wait?timeout_ms=10").await;
    assert!(late.problem("deadline_exceeded").contains("starting"));

    running.start.take().unwrap().send(()).unwrap();
    let waiter = tokio::spawn(get_from_owned(running.api, "/v1/wait"));
    while get_from(running.ops, "/startupz").await.status != 200 {
        tokio::task::yield_now().await;
    }
    let probe = get_from(running.ops, "/readyz").await;
    assert_eq!(
        (probe.status, probe.json()["reason"].as_str()),
        (503, Some("replaying the log"))
    );
    assert!(
        get_from(running.api, "/whoami")
            .await
            .problem("no_quorum")
            .contains("replaying the log")
    );

    running.status.send_replace(ready());
    assert_eq!(waiter.await.unwrap().json()["ready"], true);
    assert_eq!(get_from(running.api, "/whoami").await.body, "anonymous");
    assert_eq!(get_from(running.ops, "/readyz").await.status, 200);
    let info = get_from(running.api, "/v1/info").await.json();
    assert_eq!(info["leader"]["node_id"], 2);
    assert_eq!(info["node_id"], 1);
    assert_eq!(info["version"], "1.2.3");
    assert!(info["cluster_id"].is_null());
    assert_eq!(running.end().await, Exit::Ok);
}

async fn get_from_owned(address: std::net::SocketAddr, path: &'static str) -> Answer {
    get_from(address, path).await
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_then_stops_the_service() {
    // Proves: after the order, readiness is off, new connections are refused, the request in flight
    // gets its answer, the service's own stop runs last, and the exit is 0.
    let running = launch_ready(settings(&[])).await;
    let (api, ops) = (running.api, running.ops);
    let slow = tokio::spawn(get_from_owned(api, "/slow/600"));
    tokio::time::sleep(Duration::from_millis(200)).await;
    running.shutdown.order();
    while get_from(ops, "/readyz").await.status == 200 {
        tokio::task::yield_now().await;
    }
    assert!(get_from(ops, "/readyz").await.body.contains("draining"));
    assert!(
        tokio::net::TcpStream::connect(api).await.is_err(),
        "the listener is closed"
    );
    assert!(
        !*running.stopped.borrow(),
        "the service must not stop under a request"
    );
    let answer = slow.await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    let stopped = running.stopped.clone();
    assert_eq!(running.end().await, Exit::Ok);
    assert!(*stopped.borrow());
}
