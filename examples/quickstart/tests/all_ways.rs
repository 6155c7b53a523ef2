//! Proves that every example does what it says over each of the three ways to reach a queue.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_leader_election::election::Election;
use quorate_work_queue::api::Api;
use quorate_work_queue::queue::Queue;
use quorate_work_queue::worker::CancellationToken;

async fn all(queue: &Queue) {
    assert_eq!(
        quickstart::hello(queue, "world").await.unwrap(),
        "hello world"
    );
    assert_eq!(quickstart::careful(queue, 100).await.unwrap(), (5050, 2));
    let lines = ["to be or not to be", "that is the question"];
    assert_eq!(
        quickstart::batch(queue, "hamlet", &lines).await.unwrap(),
        10
    );
    assert_eq!(quickstart::many(queue, 2_500).await.unwrap(), 2_500);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    let queue = quickstart::open(None).await.unwrap();
    all(&queue).await;
    queue.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let place = Some(dir.path().to_str().unwrap().to_owned());
    let queue = quickstart::open(place.clone()).await.unwrap();
    all(&queue).await;
    queue.shutdown().await;
    drop(queue);
    let queue = quickstart::open(place).await.unwrap();
    assert_eq!(queue.inspect("numbers").await.unwrap().counts.ready, 2_500);
    queue.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_to_a_server() {
    let node = Queue::in_memory().await.unwrap();
    let stop = CancellationToken::new();
    let api = Api::new(node.service(), "serve", "0", stop.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = api.router().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    all(&quickstart::open(Some(address)).await.unwrap()).await;
    stop.cancel();
    server.abort();
    node.shutdown().await;
}

/// Proves that whoever leads later has the higher token.
#[tokio::test(flavor = "multi_thread")]
async fn one_after_the_other_leads() {
    let election = Election::in_memory().await.unwrap();
    let first = quickstart::lead(&election).await.unwrap();
    assert!(quickstart::lead(&election).await.unwrap() > first);
    election.shutdown().await;
}

/// Proves that the scatter adds up what its leaves say, and that it says so when one of them is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_scatter_over_leaves() {
    let leaf = async |value: u64| {
        let answer = move || async move { axum::Json(serde_json::json!({ "value": value })) };
        let router = axum::Router::new().fallback(answer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    };
    let (east, west) = (leaf(1).await, leaf(41).await);
    let (nobody, nobody_else) = ("http://127.0.0.1:1", "http://127.0.0.1:2");
    let whole = quickstart::scatter([&east, nobody], [nobody, &west])
        .await
        .unwrap();
    assert_eq!(whole, (r#"{"value":42}"#.to_owned(), true));
    let partial = quickstart::scatter([&east, nobody], [nobody, nobody_else])
        .await
        .unwrap();
    assert_eq!(partial, (r#"{"value":1}"#.to_owned(), false));
}

/// Proves that the examples stay as short as the documentation promises.
#[test]
fn each_example_has_at_most_25_lines() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    for name in ["hello", "careful", "batch", "many", "scatter"] {
        let text = std::fs::read_to_string(format!("{dir}/{name}.rs")).unwrap();
        let mut longest = 0;
        let mut lines = 0;
        for line in text.lines() {
            lines += 1;
            if line.contains("fn ") {
                lines = 1;
            }
            if line == "}" {
                longest = longest.max(lines);
            }
        }
        assert!(longest <= 25, "{name}: {longest} lines");
    }
}
