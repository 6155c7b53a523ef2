//! Keys and ranges through a tree: each node is asked for what is its own.

use crate::scatter::over;
use crate::support::{Container, Leaf, json};
use quorate_scatter_gather::server;
use serde_json::{Value, json as value};

fn ranged(mut definition: Value, ranges: [[&str; 2]; 2]) -> Value {
    for (i, range) in ranges.iter().enumerate() {
        definition["shards"][i]["range"] = value!(range);
    }
    definition
}

/// Proves that a node below is told the range that was asked for, and of the keys only those of its own range:
/// with all of them it would refuse, with none it would ask leaves that were not meant.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_told_their_own() {
    let (root, west, east) = (
        Container::root().await,
        Container::root().await,
        Container::root().await,
    );
    let mut leaves = Vec::new();
    for number in [1, 10, 100, 1_000] {
        leaves.push(Leaf::start(json(&value!({"value": number}))).await);
    }
    let sum = value!({"sum": {"pointer": "/value"}});
    let lower = over(&[&leaves[0], &leaves[1]], &sum);
    west.define("west", &ranged(lower, [["a", "f"], ["f", "m"]]))
        .await;
    let upper = over(&[&leaves[2], &leaves[3]], &sum);
    east.define("east", &ranged(upper, [["m", "s"], ["s", "z"]]))
        .await;
    let nodes = value!({
        "shards": [
            {"id": "west", "replicas": [west.url("/v1/fanouts/west/query")]},
            {"id": "east", "replicas": [east.url("/v1/fanouts/east/query")]},
        ],
        "leaves": "nodes", "merge": sum, "timeout_ms": 20_000,
    });
    root.define("world", &ranged(nodes, [["a", "m"], ["m", "z"]]))
        .await;
    let key = |key| ("quorate-key", key);
    let range = |range| ("quorate-range", range);
    for (headers, want) in [
        (vec![key("b")], r#"{"value":1}"#),
        (vec![key("b"), key("g"), key("%78")], r#"{"value":1011}"#),
        (vec![range("b,c")], r#"{"value":1}"#),
        (vec![range("g,n")], r#"{"value":110}"#),
        (vec![range("t,")], r#"{"value":1000}"#),
        (vec![], r#"{"value":1111}"#),
    ] {
        let response = root.query("world", &headers, "{}").await;
        assert_eq!(response.text(), want, "{headers:?}");
        assert_eq!(response.header("quorate-complete"), "true", "{headers:?}");
    }
}

/// Proves that a gate in front of an inner node keeps nothing from it: keys and ranges reach the node, its account
/// reaches the root, and a tree that leads back through a gate is found out by its depth.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_before_a_node_is_transparent() {
    let (root, node) = (Container::root().await, Container::root().await);
    let leaves = [
        Leaf::start(json(&value!({"value": 1}))).await,
        Leaf::start(json(&value!({"value": 10}))).await,
    ];
    let sum = value!({"sum": {"pointer": "/value"}});
    let lower = over(&[&leaves[0], &leaves[1]], &sum);
    node.define("low", &ranged(lower, [["a", "f"], ["f", "m"]]))
        .await;
    let upstream = node.url("");
    let gate = Container::run("sidecar", &[("QUORATE_UPSTREAM", &upstream)], server::gate).await;
    let tree = |id: &str, url: String| {
        value!({
            "shards": [{"id": id, "replicas": [url], "range": ["a", "m"]}],
            "leaves": "nodes", "merge": sum, "timeout_ms": 20_000,
        })
    };
    root.define("world", &tree("low", gate.url("/v1/fanouts/low/query")))
        .await;
    for (headers, want, planned) in [
        (vec![("quorate-key", "b")], r#"{"value":1}"#, 1),
        (vec![("quorate-key", "g")], r#"{"value":10}"#, 1),
        (vec![("quorate-range", "g,h")], r#"{"value":10}"#, 1),
        (vec![], r#"{"value":11}"#, 2),
    ] {
        let response = root.query("world", &headers, "{}").await;
        assert_eq!(response.text(), want, "{headers:?}");
        let mut explained = headers;
        explained.push(("accept", "application/vnd.quorate.answer+json"));
        let account = root.query("world", &explained, "{}").await.json();
        assert_eq!(account["leaves"]["merged"], planned, "{account}");
        assert_eq!(account["complete"], true, "{account}");
    }
    // Round and round: without its depth the request would go on until its time is up.
    let round = tree("round", gate.url("/v1/fanouts/round/query"));
    node.define("round", &round).await;
    let response = node.query("round", &[], "{}").await;
    assert_eq!(response.status, 502, "{}", response.text());
}
