//! Connections and replicas over time: a connection that has seen too many resets, a replica that was broken.

use crate::support::PATIENCE;
use axum::Router;
use axum::extract::State;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use quorate_scatter_gather::Scatter;
use quorate_scatter_gather::definition::RetrySpec;
use quorate_scatter_gather::merge::MergeSpec;
use quorate_scatter_gather::pool::{
    Admission, AdmissionCaps, Call, Condition, Hosts, LeafUrl, Protocol,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Proves that calls which are given up cost no connection, that a connection is replaced before the peer's
/// limit of resets comes near, and that calls succeed all the while.
#[tokio::test(flavor = "multi_thread")]
async fn connections_are_retired_in_time() {
    let (taken, mut seen) = mpsc::unbounded_channel();
    let hang = async |State(taken): State<mpsc::UnboundedSender<()>>| {
        let _ = taken.send(());
        std::future::pending::<()>().await;
    };
    let router = Router::new()
        .route("/hang", axum::routing::post(hang))
        .fallback(async || "here")
        .with_state(taken);
    let url = LeafUrl::parse(&serve(router).await).unwrap();
    let hosts = Hosts::new(Admission::new(AdmissionCaps::default()));
    let host = hosts.host(&url, Protocol::Http2);
    let hang = Call::new(Method::POST, "/hang".parse().unwrap(), 1_000);
    let ask = Call::new(Method::POST, url.path(), 1_000);
    let giving_up = async {
        for number in 0..1_100 {
            tokio::select! {
                _ = host.call(&hang) => panic!("nobody answers"),
                _ = seen.recv() => {}
            }
            if number % 100 == 0 {
                assert_eq!(host.call(&ask).await.unwrap().body, "here");
            }
        }
    };
    tokio::time::timeout(PATIENCE, giving_up).await.unwrap();
    assert_eq!(host.connected(), 3, "one, and one more for each 512 resets");
    assert_eq!(host.lost(), 0);
}

/// Proves that a replica which fails is ejected, that its way back leads over copies of calls whose answers are
/// thrown away, and that meanwhile every answer comes from the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_broken_replica_comes_back() {
    struct Leaf {
        works: AtomicBool,
        calls: AtomicUsize,
    }
    let answer = async |State(leaf): State<Arc<Leaf>>| {
        leaf.calls.fetch_add(1, Ordering::SeqCst);
        if leaf.works.load(Ordering::SeqCst) {
            Ok(([(CONTENT_TYPE, "application/json")], r#"{"value":1}"#))
        } else {
            Err(StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    let leaf = |works| {
        Arc::new(Leaf {
            works: AtomicBool::new(works),
            calls: AtomicUsize::new(0),
        })
    };
    let (good, broken) = (leaf(true), leaf(false));
    let router = |leaf: &Arc<Leaf>| Router::new().fallback(answer).with_state(Arc::clone(leaf));
    let urls = [serve(router(&good)).await, serve(router(&broken)).await];
    let scatter = Scatter::builder()
        .shard("0", urls.clone())
        .timeout(PATIENCE)
        .retry(RetrySpec {
            budget: 1.0,
            burst: 100,
            ..RetrySpec::default()
        })
        .merge(MergeSpec::sum("/value").unwrap())
        .build()
        .unwrap();
    let health = || scatter.targets().shards[0].replicas[1].health;
    let until = async |condition: Condition| {
        while health() != condition {
            let before = health();
            let answer = scatter.query("").await.unwrap();
            assert!(answer.complete);
            if before != Condition::Healthy && health() != Condition::Healthy {
                assert_eq!(answer.shards[0].replica.as_deref(), Some(&*urls[0]));
                assert_eq!(answer.shards[0].attempts, 1, "{answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    // All at once, before the first failure is known: from then on the other one is preferred anyway.
    let answers = futures::future::join_all((0..40).map(|_| scatter.query(""))).await;
    for answer in answers {
        assert!(answer.unwrap().complete);
    }
    tokio::time::timeout(PATIENCE, until(Condition::Ejected))
        .await
        .unwrap();
    let before = broken.calls.load(Ordering::SeqCst);
    broken.works.store(true, Ordering::SeqCst);
    tokio::time::timeout(PATIENCE, until(Condition::Probation))
        .await
        .unwrap();
    // The probation may begin under the last request, which then is copied to it.
    let calls = broken.calls.load(Ordering::SeqCst);
    assert!(
        calls <= before + 1,
        "ejected is left alone: {before}, {calls}"
    );
    tokio::time::timeout(PATIENCE, until(Condition::Healthy))
        .await
        .unwrap();
    assert!(broken.calls.load(Ordering::SeqCst) >= before + 3);
}
