//! From the first accepted connection to the exit.

use crate::harness::*;
use quorate_core::runtime::app::{Service, Spec, Starting};
use quorate_core::runtime::{Exit, Failure, Pattern, Shutdown, Status, run};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

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
    let held = tokio::spawn(get_from_owned(api, "/hold"));
    running.hold.entered.notified().await;
    running.shutdown.order();
    while get_from(ops, "/readyz").await.status == 200 {
        tokio::task::yield_now().await;
    }
    assert!(get_from(ops, "/readyz").await.body.contains("draining"));
    while TcpStream::connect(api).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(
        !*running.stopped.borrow(),
        "the service must not stop under a request"
    );
    running.hold.release.notify_one();
    let answer = held.await.unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (200, "done"));
    let stopped = running.stopped.clone();
    assert_eq!(running.end().await, Exit::Ok);
    assert!(*stopped.borrow());
}

#[tokio::test]
async fn idle_connections_and_waiters_do_not_hold_up_a_drain() {
    // Proves: a drain ends kept-alive connections, connections that never asked, and `/v1/wait`, and
    // needs none of the grace for them.
    let long = settings(&[("QUORATE_SHUTDOWN_GRACE_MS", "60000")]);
    let mut running = launch(long, Status::default());
    running.start.take().unwrap().send(()).unwrap();
    let silent = TcpStream::connect(running.api).await.unwrap();
    let mut kept = TcpStream::connect(running.api).await.unwrap();
    kept.write_all(b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0];
    kept.read_exact(&mut byte).await.unwrap();
    let mut waiter = TcpStream::connect(running.api).await.unwrap();
    waiter
        .write_all(b"GET /v1/wait?timeout_ms=60000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    while get_from(running.ops, "/startupz").await.status != 200 {
        tokio::task::yield_now().await;
    }
    // It waits by the time that one which came later is answered.
    assert_eq!(get_from(running.api, "/v1/info").await.status, 200);
    running.shutdown.order();
    assert_eq!(read(waiter).await.status, 503);
    assert_eq!(running.end().await, Exit::Ok);
    drop((silent, kept));
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_when_the_grace_is_over() {
    // Proves: the grace bounds the drain; the service is still stopped in order.
    let running = launch_ready(settings(&[("QUORATE_SHUTDOWN_GRACE_MS", "200")])).await;
    let held = tokio::spawn(get_from_owned(running.api, "/hold"));
    running.hold.entered.notified().await;
    let stopped = running.stopped.clone();
    assert_eq!(running.end().await, Exit::Ok);
    assert!(*stopped.borrow());
    assert_eq!(held.await.unwrap().status, 0, "the connection was cut");
}

#[tokio::test]
async fn a_service_that_dies_or_does_not_start_ends_the_container() {
    // Proves: exit 69 and not an endless 503.
    let mut running = launch(settings(&[]), ready());
    running.start.take().unwrap().send(()).unwrap();
    drop(running.status);
    assert_eq!(running.ended.await.unwrap(), Exit::Unavailable);

    let spec = Spec {
        api: Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
        ops: Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap()),
        ..Spec::new(Pattern::WorkQueue, "serve", "1")
    };
    let start =
        async |_: Starting| Err::<Service, _>(Failure::config("the data directory is foreign"));
    assert_eq!(
        run(spec, settings(&[]), Shutdown::manual(), start).await,
        Exit::Config
    );
}

#[tokio::test]
async fn an_open_door_or_a_taken_port_ends_the_start() {
    // Proves: 78 for an API beyond loopback without a token, 69 for a port in use, before the service
    // is started.
    let start = async |_: Starting| -> Result<Service, Failure> { panic!("must not be started") };
    let begin = |variables: &[(&str, &str)]| {
        let spec = Spec::new(Pattern::WorkQueue, "serve", "1");
        run(spec, settings(variables), Shutdown::manual(), start)
    };
    let ops = ("QUORATE_OPS_LISTEN", "127.0.0.1:0");
    assert_eq!(
        begin(&[("QUORATE_LISTEN", "0.0.0.0:0"), ops]).await,
        Exit::Config
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(
        begin(&[("QUORATE_LISTEN", &address), ops]).await,
        Exit::Unavailable
    );
    let both = [
        ("QUORATE_LISTEN", "127.0.0.1:0"),
        ("QUORATE_OPS_LISTEN", address.as_str()),
    ];
    assert_eq!(begin(&both).await, Exit::Unavailable);
    let token = [
        ("QUORATE_LISTEN", "127.0.0.1:0"),
        ops,
        ("QUORATE_TOKEN_FILE", "/nowhere/token"),
    ];
    assert_eq!(begin(&token).await, Exit::Config);
}

#[tokio::test]
async fn metrics_count_by_route_and_the_page_shows_no_markup_of_others() {
    // Proves: labels are routes and not paths; process figures are there; the status page escapes.
    let running = launch_ready(settings(&[])).await;
    for name in ["alpha-path", "beta-path"] {
        assert_eq!(
            get_from(running.api, &format!("/queues/{name}"))
                .await
                .status,
            200
        );
    }
    get_from(running.api, "/no/such/gamma-path").await;
    let grpc = "Content-Type: application/grpc\r\n";
    ask(running.api, "POST", "/queues/delta-path", grpc, b"").await;
    ask(
        running.api,
        "POST",
        "/quorate.test.v1.Test/Settle",
        grpc,
        b"",
    )
    .await;
    let text = get_from(running.ops, "/metrics").await.body;
    for line in [
        r#"quorate_http_requests_total{method="GET",route="/queues/{name}",status="200"}"#,
        r#"quorate_http_requests_total{method="GET",route="none",status="404"}"#,
        r#"quorate_http_requests_total{method="POST",route="/quorate.test.v1.Test/Settle",status="grpc 9"}"#,
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "quorate_http_request_seconds_bucket",
        r#"quorate_build_info{version="1.2.3",pattern="work-queue",role="serve"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
    for path in ["alpha-path", "gamma-path", "delta-path"] {
        assert!(!text.contains(path), "{path}");
    }
    running
        .status
        .send_modify(|status| status.reason = "<script>".into());
    let page = loop {
        let page = get_from(running.ops, "/").await.body;
        if page.contains("script") {
            break page;
        }
        tokio::task::yield_now().await;
    };
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"));
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn the_health_check_of_grpc_follows_readiness() {
    // Proves: grpc.health.v1 is served from the first moment, over h2c, for the container and for each
    // service by name.
    let mut running = launch(settings(&[]), Status::default());
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", running.api))
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    let mut check = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        client
            .check(request)
            .await
            .map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("").await.unwrap(), ServingStatus::NotServing);
    running.start.take().unwrap().send(()).unwrap();
    running.status.send_replace(ready());
    while check("").await.unwrap() != ServingStatus::Serving {
        tokio::task::yield_now().await;
    }
    while check("quorate.test.v1.Test").await.ok() != Some(ServingStatus::Serving) {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        check("quorate.other.v1.Other").await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    running.status.send_modify(|status| status.ready = false);
    while check("").await.unwrap() != ServingStatus::NotServing {
        tokio::task::yield_now().await;
    }
    drop(client);
    assert_eq!(running.end().await, Exit::Ok);
}
