//! Asking: results, headers, accounts, keys, routes, trees, merge containers.

use crate::support::{Container, Leaf, Manner, answer, json, ok, request};
use serde_json::{Value, json as value};
use std::time::Duration;

/// A fan-out over these leaves, one replica a shard.
pub fn over(leaves: &[&Leaf], merge: &Value) -> Value {
    let shards: Vec<Value> = leaves
        .iter()
        .enumerate()
        .map(|(i, leaf)| value!({"id": i.to_string(), "replicas": [leaf.url()]}))
        .collect();
    value!({"shards": shards, "merge": merge, "timeout_ms": 20_000})
}

/// Proves that a sum over three shards is right, and that its headers and its account say so.
#[tokio::test(flavor = "multi_thread")]
async fn a_whole_answer() {
    let root = Container::root().await;
    let leaves = [
        Leaf::start(json(&value!({"value": 1}))).await,
        Leaf::start(json(&value!({"value": 2.5}))).await,
        Leaf::start(json(&value!({"value": 39}))).await,
    ];
    let leaves: Vec<&Leaf> = leaves.iter().collect();
    root.define(
        "add",
        &over(&leaves, &value!({"sum": {"pointer": "/value"}})),
    )
    .await;
    let response = root.query("add", &[], "{}").await;
    assert_eq!(
        (response.status, response.text()),
        (200, r#"{"value":42.5}"#)
    );
    assert_eq!(response.header("quorate-complete"), "true");
    assert_eq!(response.header("content-type"), "application/json");
    assert_eq!(response.header("quorate-map-version"), "1");
    assert_eq!(
        response.header("quorate-shards"),
        "planned=3;merged=3;failed=0;timed_out=0;skipped=0;unneeded=0"
    );
    let account = root.account("add").await;
    assert_eq!(account["result"], value!({"value": 42.5}));
    assert_eq!(account["complete"], true);
    assert_eq!(account["shards"][1]["outcome"], "merged");
    assert_eq!(account["shards"][1]["replica"], leaves[1].url());
    assert_eq!(account["covered"][0]["shards"], value!(["0", "1", "2"]));
    assert_eq!(
        account["explain"]["attempts"].as_array().unwrap().len(),
        3,
        "{account}"
    );
    let targets = root.get("/v1/fanouts/add/targets").await.json();
    assert_eq!(targets["shards"][0]["replicas"][0]["calls"], 2, "{targets}");
}

/// Proves that a dead shard makes an answer partial or none, as the policy says, and never complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_hole_is_told() {
    let root = Container::root().await;
    let good = Leaf::start(json(&value!({"value": 1}))).await;
    let dead = Leaf::start(Manner::Close).await;
    dead.kill();
    let mut definition = over(&[&good, &dead], &value!({"sum": {"pointer": "/value"}}));
    root.define("all", &definition).await;
    let refused = root.query("all", &[], "{}").await;
    assert_eq!(refused.status, 502, "{}", refused.text());
    let problem = refused.json();
    assert_eq!(problem["code"], "insufficient_shards");
    assert!(
        problem["detail"].as_str().unwrap().contains("shard 1: "),
        "{problem}"
    );
    definition["policy"] = value!("deadline");
    definition["partial_status"] = value!(206);
    root.define("some", &definition).await;
    let partial = root.query("some", &[], "{}").await;
    assert_eq!((partial.status, partial.text()), (206, r#"{"value":1}"#));
    assert_eq!(partial.header("quorate-complete"), "false");
    assert!(
        partial
            .header("quorate-shards")
            .starts_with("planned=2;merged=1;failed=1")
    );
    let account = root.account("some").await;
    assert_eq!(account["shards"][1]["outcome"], "failed");
    assert!(account["shards"][1]["reason"].is_string(), "{account}");
    // A leaf that is itself partial makes the answer partial.
    let honest = Leaf::start(answer(
        200,
        &[
            ("content-type", "application/json"),
            ("quorate-complete", "false"),
        ],
        r#"{"value":2}"#,
    ))
    .await;
    root.define(
        "honest",
        &over(&[&good, &honest], &value!({"sum": {"pointer": "/value"}})),
    )
    .await;
    let partial = root.query("honest", &[], "{}").await;
    assert_eq!(partial.text(), r#"{"value":3}"#);
    assert_eq!(partial.header("quorate-complete"), "false");
}

/// Proves that a failed replica is retried on another one, and a late one hedged, each shard once.
#[tokio::test(flavor = "multi_thread")]
async fn another_replica_answers() {
    let root = Container::root().await;
    let broken = Leaf::start(answer(500, &[], "")).await;
    let hung = Leaf::start(Manner::Hang).await;
    let good = Leaf::start(json(&value!({"value": 1}))).await;
    let definition = value!({
        "shards": [
            {"id": "broken", "replicas": [broken.url(), good.url()]},
            {"id": "hung", "replicas": [hung.url(), good.url()]},
        ],
        "timeout_ms": 30_000, "hedge": {"delay_ms": 30, "budget": 1.0, "late_together_max": 1.0},
        "merge": {"sum": {"pointer": "/value"}},
    });
    root.define("both", &definition).await;
    for _ in 0..12 {
        let response = root.query("both", &[], "{}").await;
        assert_eq!((response.status, response.text()), (200, r#"{"value":2}"#));
        assert_eq!(response.header("quorate-complete"), "true");
    }
    assert!(broken.calls() > 0 && hung.calls() > 0);
    // What may not be made twice is neither hedged nor retried.
    let mut once = definition.clone();
    once["idempotent"] = value!(false);
    once["shards"] = value!([{"id": "broken", "replicas": [broken.url(), broken.url() + "/2"]}]);
    root.define("once", &once).await;
    let before = broken.calls();
    assert_eq!(root.query("once", &[], "{}").await.status, 502);
    assert_eq!(broken.calls(), before + 1);
}

/// Proves that keys and ranges ask only the shards concerned.
#[tokio::test(flavor = "multi_thread")]
async fn keys_choose_shards() {
    let root = Container::root().await;
    let low = Leaf::start(json(&value!({"value": 1}))).await;
    let high = Leaf::start(json(&value!({"value": 10}))).await;
    let mut definition = over(&[&low, &high], &value!({"sum": {"pointer": "/value"}}));
    definition["shards"][0]["range"] = value!(["a", "m"]);
    definition["shards"][1]["range"] = value!(["m", "z"]);
    root.define("ranged", &definition).await;
    for (headers, want) in [
        ([("quorate-key", "b")], r#"{"value":1}"#),
        ([("quorate-key", "x")], r#"{"value":10}"#),
        ([("quorate-range", "b,c")], r#"{"value":1}"#),
        ([("quorate-range", "b,n")], r#"{"value":11}"#),
    ] {
        let response = root.query("ranged", &headers, "").await;
        assert_eq!(response.text(), want, "{headers:?}");
        assert_eq!(response.header("quorate-complete"), "true");
    }
    let outside = root.query("ranged", &[("quorate-key", "zz")], "").await;
    assert_eq!(outside.status, 400, "{}", outside.text());
}

/// Proves that a route is scattered as it came, and that leaves get deadline, template and no credential.
#[tokio::test(flavor = "multi_thread")]
async fn routes_and_templates() {
    let root = Container::root().await;
    let leaf = Leaf::start(Manner::Echo).await;
    let mut definition = over(&[&leaf], &value!("concat"));
    definition["shards"][0]["replicas"] = value!([leaf.url() + "/base"]);
    definition["routes"] = value!([{"path": "/search/*", "methods": ["GET"]}]);
    root.define("verbatim", &definition).await;
    let headers = [
        ("authorization", "Bearer secret"),
        ("x-mine", "1"),
        ("accept-encoding", "gzip"),
    ];
    let seen = request(root.address, "GET", "/search/a?q=1", &headers, "").await;
    let text = seen.text().to_ascii_lowercase();
    assert!(
        text.starts_with("get /base/search/a?q=1 http/1.1"),
        "{text}"
    );
    assert!(
        text.contains("quorate-deadline-ms: ") && text.contains("x-mine: 1"),
        "{text}"
    );
    assert!(!text.contains("secret") && !text.contains("gzip"), "{text}");
    let unknown = request(root.address, "POST", "/search/a", &[], "").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["code"], "not_found");
    definition["routes"] = value!([]);
    definition["request"] = value!({
        "path": "/q/${shard}?${query}", "headers": {"x-shard": "${shard}"}, "body": "{\"shard\":\"${shard}\",\"q\":${body}}"
    });
    root.define("templated", &definition).await;
    let path = "/v1/fanouts/templated/query?a=b";
    let seen = request(root.address, "POST", path, &[], r#"{"x":1}"#).await;
    let text = seen.text();
    assert!(text.starts_with("POST /base/q/0?a=b HTTP/1.1"), "{text}");
    assert!(text.ends_with(r#"{"shard":"0","q":{"x":1}}"#), "{text}");
    definition["routes"] = value!([{"path": "/search/*"}]);
    let taken = root.put("/v1/fanouts/other", &definition).await;
    assert_eq!(taken.status, 400, "{}", taken.text());
}

/// Proves that a tree gives what one level gives, counts leaves upward, tells of holes below, and that
/// the same leaf is not counted twice.
#[tokio::test(flavor = "multi_thread")]
async fn trees() {
    let (root, left, right) = (
        Container::root().await,
        Container::root().await,
        Container::root().await,
    );
    let leaves = [
        Leaf::start(json(&value!({"value": 0.1}))).await,
        Leaf::start(json(&value!({"value": 0.2}))).await,
        Leaf::start(json(&value!({"value": 0.3}))).await,
        Leaf::start(answer(500, &[], "")).await,
    ];
    let sum = value!({"sum": {"pointer": "/value"}});
    left.define("west", &over(&[&leaves[0], &leaves[1]], &sum))
        .await;
    right.define("east", &over(&[&leaves[2]], &sum)).await;
    let node = |id: &str, url: String| value!({"id": id, "replicas": [url]});
    let west = node("west", left.url("/v1/fanouts/west/query"));
    let east = node("east", right.url("/v1/fanouts/east/query"));
    let tree = |shards: Vec<Value>| value!({"shards": shards, "leaves": "nodes", "merge": sum, "timeout_ms": 20_000});
    root.define("world", &tree(vec![west.clone(), east])).await;
    let response = root.query("world", &[], "{}").await;
    assert_eq!(
        (response.status, response.text()),
        (200, r#"{"value":0.6}"#)
    );
    let account = root.account("world").await;
    assert_eq!(
        account["leaves"],
        value!({"planned": 3, "merged": 3, "failed": 0, "timed_out": 0,
        "skipped": 0, "unneeded": 0})
    );
    assert_eq!(account["covered"].as_array().unwrap().len(), 3, "{account}");
    let mut holed = over(&[&leaves[2], &leaves[3]], &sum);
    holed["policy"] = value!("deadline");
    right.define("holed", &holed).await;
    let holed = node("holed", right.url("/v1/fanouts/holed/query"));
    root.define("partial", &tree(vec![west.clone(), holed]))
        .await;
    let response = root.query("partial", &[], "{}").await;
    assert_eq!(
        (response.status, response.header("quorate-complete")),
        (200, "false")
    );
    // The same leaves by two ways: the second is refused, and the answer is no sum of both.
    let mut again = west.clone();
    again["id"] = value!("again");
    root.define("twice", &tree(vec![west, again])).await;
    let twice = root.query("twice", &[], "{}").await;
    assert_eq!(twice.status, 502, "{}", twice.text());
    assert!(twice.text().contains("overlap"), "{}", twice.text());
    // A tree that contains itself ends.
    let own = node("own", root.url("/v1/fanouts/loop/query"));
    root.define("loop", &tree(vec![own])).await;
    assert_eq!(root.query("loop", &[], "{}").await.status, 502);
}

/// Proves that a merge container gets a line a shard and that what it answers is the result.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_container() {
    let root = Container::root().await;
    let leaves = [
        Leaf::start(json(&value!({"value": 1}))).await,
        Leaf::start(ok("text/plain", "hello")).await,
    ];
    let echo = Leaf::start(Manner::Echo).await;
    let merge = value!({"http": echo.url() + "/merge"});
    root.define("custom", &over(&[&leaves[0], &leaves[1]], &merge))
        .await;
    let response = root.query("custom", &[], "{}").await;
    let text = response.text();
    assert!(text.starts_with("POST /merge HTTP/1.1"), "{text}");
    assert!(
        text.ends_with(
            "{\"shard\":\"0\",\"status\":200,\"body\":{\"value\":1}}\n\
             {\"shard\":\"1\",\"status\":200,\"content_type\":\"text/plain\",\"body_base64\":\"aGVsbG8=\"}\n"
        ),
        "{text}"
    );
    let broken = Leaf::start(answer(500, &[], "")).await;
    let merge = value!({"http": broken.url()});
    root.define("broken", &over(&[&leaves[0]], &merge)).await;
    assert_eq!(root.query("broken", &[], "{}").await.status, 502);
    assert_eq!(
        broken.calls(),
        1,
        "a merger that is not declared pure is called once"
    );
}

/// Proves that definitions come from a file, that a new version is taken up, and that a bad one changes
/// nothing and says so.
#[tokio::test(flavor = "multi_thread")]
async fn definitions_from_a_file() {
    let leaf = Leaf::start(json(&value!({"value": 1}))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fanouts.toml");
    let write = |timeout: u64| {
        let text = format!(
            "[add]\ntimeout_ms = {timeout}\nmerge = {{ sum = {{ pointer = \"/value\" }} }}\n\
             [[add.shards]]\nid = \"0\"\nreplicas = [\"{}\"]\n",
            leaf.url()
        );
        std::fs::write(&path, text).unwrap();
    };
    write(20_000);
    let variables = [("QUORATE_FANOUTS_FILE", path.to_str().unwrap())];
    let root = Container::run("serve", &variables, quorate_scatter_gather::server::root).await;
    assert_eq!(root.query("add", &[], "{}").await.text(), r#"{"value":1}"#);
    let forbidden = root
        .put("/v1/fanouts/add", &over(&[&leaf], &value!("concat")))
        .await;
    assert_eq!(forbidden.status, 403, "{}", forbidden.text());
    let until = async |version: u64| {
        for _ in 0..600 {
            if root.get("/v1/fanouts/add").await.json()["version"] == version {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("version {version} never came");
    };
    until(1).await;
    write(19_000);
    until(2).await;
    write(0);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(root.query("add", &[], "{}").await.status, 200);
    write(18_000);
    until(3).await;
    root.shutdown.order();
    assert_eq!(root.ended.await.unwrap(), quorate_core::runtime::Exit::Ok);
}

/// Proves that the leaves of the file's fan-outs are shown the root's credential, and those of the API's are not.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_are_shown_a_credential() {
    let leaf = Leaf::start(Manner::Echo).await;
    let dir = tempfile::tempdir().unwrap();
    let (file, token) = (dir.path().join("fanouts.json"), dir.path().join("token"));
    let definition = over(&[&leaf], &value!("concat"));
    std::fs::write(&file, value!({"filed": definition}).to_string()).unwrap();
    std::fs::write(&token, "hunter2\n").unwrap();
    let variables = [
        ("QUORATE_FANOUTS_FILE", file.to_str().unwrap()),
        ("QUORATE_SERVERS_TOKEN_FILE", token.to_str().unwrap()),
    ];
    let root = Container::run("serve", &variables, quorate_scatter_gather::server::root).await;
    root.define("defined", &definition).await;
    let shown = "authorization: bearer hunter2";
    let filed = root.query("filed", &[], "{}").await;
    assert!(
        filed.text().to_ascii_lowercase().contains(shown),
        "{filed:?}"
    );
    let defined = root.query("defined", &[], "{}").await;
    assert!(!defined.text().contains("hunter2"), "{defined:?}");
    let listed = root.get("/v1/fanouts").await;
    assert!(!listed.text().contains("hunter2"), "{listed:?}");
}
