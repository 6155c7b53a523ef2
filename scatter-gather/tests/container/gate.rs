//! The leaf gate in front of an unmodified leaf.

use crate::support::{Container, Leaf, Manner, json, request};
use quorate_scatter_gather::server;
use serde_json::json as value;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Asks with a deadline; gives the status.
async fn hurry(address: std::net::SocketAddr, ms: &'static str) -> u16 {
    request(address, "GET", "/", &[("quorate-deadline-ms", ms)], "")
        .await
        .status
}

/// Proves that a gate passes requests on, tells its load, drops what has no time left, and keeps to what
/// the leaf can do.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_stands_in_front() {
    let leaf = Leaf::start(json(&value!({"value": 1}))).await;
    let url = leaf.url();
    let gate = Container::run(
        "sidecar",
        &[("QUORATE_UPSTREAM", url.as_str())],
        server::gate,
    )
    .await;
    let response = request(gate.address, "GET", "/search?q=1", &[], "").await;
    assert_eq!((response.status, response.text()), (200, r#"{"value":1}"#));
    assert!(
        response
            .header("quorate-load")
            .starts_with("in_flight=0;limit="),
        "{response:?}"
    );
    let load = gate.get("/v1/gate").await.json();
    assert_eq!(load["in_flight"], 0);
    let hung = Leaf::start(Manner::Hang).await;
    let url = hung.url();
    let gate = Container::run(
        "sidecar",
        &[("QUORATE_UPSTREAM", url.as_str())],
        server::gate,
    )
    .await;
    let limit =
        usize::try_from(gate.get("/v1/gate").await.json()["limit"].as_u64().unwrap()).unwrap();
    let address = gate.address;
    let ask = |count: usize, ms: &'static str| -> Vec<_> {
        (0..count)
            .map(|_| tokio::spawn(hurry(address, ms)))
            .collect()
    };
    let first = ask(limit, "8000");
    while gate.get("/v1/gate").await.json()["in_flight"] != limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // These wait at the door until their time has passed.
    for waiting in ask(5, "200") {
        assert_eq!(waiting.await.unwrap(), 504);
    }
    for asked in first {
        assert_eq!(asked.await.unwrap(), 504);
    }
    assert_eq!(
        hung.calls(),
        limit,
        "what has no time left never reaches the leaf"
    );
    let load = gate.get("/v1/gate").await.json();
    assert_eq!(load["expired"], 5, "{load}");
    assert!(load["limit"].as_u64().unwrap() < limit as u64, "{load}");
}

/// Proves that a leaf is told the time that is left when its turn comes, not what there was when the request came.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_takes_of_the_time() {
    static OPEN: Semaphore = Semaphore::const_new(0);
    let told = async |headers: http::HeaderMap| {
        let _leave = OPEN.acquire().await;
        let told = &headers["quorate-deadline-ms"];
        told.to_str().unwrap_or_default().to_owned()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let leaf = axum::Router::new().fallback(told);
    tokio::spawn(async move { axum::serve(listener, leaf).await });
    let gate = Container::run("sidecar", &[("QUORATE_UPSTREAM", &url)], server::gate).await;
    let address = gate.address;
    let ask = || {
        tokio::spawn(async move {
            let within = [("quorate-deadline-ms", "50000")];
            request(address, "GET", "/", &within, "").await
        })
    };
    let load = async || gate.get("/v1/gate").await.json();
    let limit = load().await["limit"].as_u64().unwrap();
    let first: Vec<_> = (0..limit).map(|_| ask()).collect();
    while load().await["in_flight"] != limit {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waiting = ask();
    while load().await["queued"] != 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    OPEN.add_permits(1);
    for asked in first {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    let told = waiting.await.unwrap();
    assert_eq!(told.status, 200, "{told:?}");
    let told: u64 = told.text().parse().unwrap();
    assert!((1..=49_500).contains(&told), "{told}");
}

/// Proves that a leaf behind a gate is shown the gate's own token where the client shows none, and the client's
/// where it does.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_shows_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "leaf-secret\n").unwrap();
    let leaf = Leaf::start(Manner::Echo).await;
    let url = leaf.url();
    let variables = [
        ("QUORATE_UPSTREAM", url.as_str()),
        ("QUORATE_SERVERS_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let gate = Container::run("sidecar", &variables, server::gate).await;
    for (headers, want) in [
        (vec![], "authorization: Bearer leaf-secret"),
        (
            vec![("authorization", "Bearer mine")],
            "authorization: Bearer mine",
        ),
    ] {
        let response = request(gate.address, "GET", "/", &headers, "").await;
        let shown = response.text().matches("authorization").count();
        assert!(response.text().contains(want), "{}", response.text());
        assert_eq!(shown, 1, "{}", response.text());
    }
}

/// Proves that a gate without a leaf does not start, and says what to set.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_needs_a_leaf() {
    use quorate_core::runtime::settings::{Environment, FlagValues};
    use quorate_core::runtime::{Exit, Pattern, Settings, Shutdown, Spec, run};
    let bind = || Some(std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let none: [(&str, &str); 0] = [];
    let settings = Settings::load_from(
        Pattern::ScatterGather,
        &FlagValues::none(),
        &Environment::of(none),
    )
    .unwrap();
    let spec = Spec {
        api: bind(),
        ops: bind(),
        ..Spec::new(Pattern::ScatterGather, "sidecar", "test")
    };
    let exit = run(spec, settings, Shutdown::manual(), server::gate).await;
    assert_eq!(exit, Exit::Config);
}
