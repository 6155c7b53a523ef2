//! Leaves that misbehave: each is reported by its reason, none makes an answer wrong or late.

use crate::scatter::over;
use crate::support::{Container, Leaf, Manner, answer, json, ok};
use serde_json::json as value;
use std::time::{Duration, Instant};

/// Proves that every kind of broken answer is a failure with its reason and never merged.
#[tokio::test(flavor = "multi_thread")]
async fn broken_answers_have_reasons() {
    let root = Container::root().await;
    let good = Leaf::start(json(&value!({"value": 1}))).await;
    let short = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"value\":7}";
    let chunked = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nb\r\n{\"value\":7}\r\n";
    let huge = format!("{{\"value\":7,\"pad\":\"{}\"}}", "x".repeat(5_000));
    let packed = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let away = [("location", "http://169.254.169.254/")];
    for (manner, reason) in [
        (Manner::Bytes(short.to_vec()), "truncated"),
        (Manner::Bytes(chunked.to_vec()), "truncated"),
        (Manner::Bytes(b"SSH-2.0-OpenSSH_9\r\n".to_vec()), "nonsense"),
        (Manner::Close, "reset"),
        (ok("application/json", &huge), "too_large"),
        (ok("text/html", "<html>"), "content_type"),
        (ok("application/json", "{\"value\":"), "nonsense"),
        (ok("application/json", "{\"value\":\"7\"}"), "nonsense"),
        (ok("application/json", "{}"), "nonsense"),
        (answer(200, &packed, "{\"value\":7}"), "content_type"),
        (answer(302, &away, ""), "status"),
        (answer(404, &[], "{\"value\":7}"), "status"),
        (answer(500, &[], "{\"value\":7}"), "status"),
        (answer(503, &[], "{\"value\":7}"), "pushback"),
    ] {
        let bad = Leaf::start(manner).await;
        let mut definition = over(&[&good, &bad], &value!({"sum": {"pointer": "/value"}}));
        definition["policy"] = value!({"quorum": 1, "until_deadline": true});
        definition["limits"] = value!({"reply_bytes": 2_000});
        definition["retry"] = value!({"attempts_max": 1});
        root.define("faulty", &definition).await;
        let account = root.account("faulty").await;
        assert_eq!(account["result"], value!({"value": 1}), "{account}");
        assert_eq!(account["complete"], false);
        let line = &account["shards"][1];
        assert_eq!(line["outcome"], "failed", "{account}");
        assert_eq!(line["reason"], reason, "{account}");
        assert!(line["detail"].is_string(), "{account}");
    }
}

/// Proves that leaves which hang or drip cost no more than the deadline, body included.
#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_covers_everything() {
    let root = Container::root().await;
    let good = Leaf::start(json(&value!({"value": 1}))).await;
    let check = async |name: &str, manner: Manner| {
        let bad = Leaf::start(manner).await;
        let mut definition = over(&[&good, &bad], &value!({"sum": {"pointer": "/value"}}));
        definition["policy"] = value!("deadline");
        // What the good one has too, on a machine that may be busy.
        definition["timeout_ms"] = value!(5_000);
        root.define(name, &definition).await;
        let begin = Instant::now();
        let account = root.account(name).await;
        let took = begin.elapsed();
        assert_eq!(account["shards"][0]["outcome"], "merged", "{account}");
        assert_eq!(account["shards"][1]["outcome"], "timed_out", "{account}");
        assert!(took >= Duration::from_millis(4_500), "{took:?}");
        // Far below any other timeout there is; the machine may be slow.
        assert!(took < Duration::from_secs(15), "{took:?}");
        definition["policy"] = value!("all");
        root.define(name, &definition).await;
        let late = root
            .query(name, &[("quorate-deadline-ms", "300")], "{}")
            .await;
        assert_eq!(late.status, 504, "{}", late.text());
        assert_eq!(late.json()["code"], "deadline_exceeded");
    };
    tokio::join!(check("hang", Manner::Hang), check("drip", Manner::Drip));
}

/// Proves that what merging would hold over its bound is refused shard by shard.
#[tokio::test(flavor = "multi_thread")]
async fn merge_memory_is_bounded() {
    let root = Container::root().await;
    let mut leaves = Vec::new();
    for _ in 0..4 {
        leaves.push(Leaf::start(ok("text/plain", &"x".repeat(1_000))).await);
    }
    let leaves: Vec<&Leaf> = leaves.iter().collect();
    let mut definition = over(&leaves, &value!("concat"));
    definition["policy"] = value!("deadline");
    definition["limits"] = value!({"merge_bytes": 2_500});
    root.define("big", &definition).await;
    let account = root.account("big").await;
    let shards = account["shards"].as_array().unwrap();
    let merged = shards.iter().filter(|s| s["outcome"] == "merged").count();
    let refused = shards
        .iter()
        .filter(|s| s["reason"] == "merge_bytes")
        .count();
    assert_eq!((merged, refused), (2, 2), "{account}");
}

/// Proves that a replica that fails is avoided at once, and that the last replica of a shard still gets
/// its calls, however often it fails.
#[tokio::test(flavor = "multi_thread")]
async fn failing_replicas_are_avoided() {
    let root = Container::root().await;
    let good = Leaf::start(json(&value!({"value": 1}))).await;
    let bad = Leaf::start(answer(500, &[], "")).await;
    let alone = Leaf::start(answer(500, &[], "")).await;
    let definition = value!({
        "shards": [{"id": "two", "replicas": [good.url(), bad.url()]}, {"id": "one", "replicas": [alone.url()]}],
        "timeout_ms": 20_000, "policy": {"quorum": 1, "until_deadline": true},
        "retry": {"attempts_max": 3, "budget": 1.0}, "merge": {"sum": {"pointer": "/value"}},
    });
    root.define("avoid", &definition).await;
    for _ in 0..40 {
        let response = root.query("avoid", &[], "{}").await;
        assert_eq!((response.status, response.text()), (200, r#"{"value":1}"#));
    }
    assert!(
        bad.calls() <= 10,
        "fast failures attract no calls: {}",
        bad.calls()
    );
    assert!(alone.calls() >= 40);
    let targets = root.get("/v1/fanouts/avoid/targets").await.json();
    let alone = &targets["shards"][1]["replicas"][0];
    assert_eq!(alone["health"], "healthy", "{targets}");
    assert!(
        alone["failures_in_a_row"].as_u64().unwrap() >= 5,
        "{targets}"
    );
}
