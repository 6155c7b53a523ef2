//! Proofs that bad definitions are refused by the name of the field and good ones survive.

use super::*;
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "shards": [
            {"id": "0", "replicas": ["http://127.0.0.1:8080", "http://127.0.0.1:8081"], "range": ["a", "m"]},
            {"id": "1", "replicas": ["http://127.0.0.1:8082"], "range": ["m", "z"]},
        ],
        "policy": {"quorum": 1, "required": ["0"]},
        "timeout_ms": 500,
        "hedge": {"quantile": 0.95},
        "merge": {"sum": {"pointer": "/value"}},
    })
}

fn read(definition: &Value) -> Result<FanoutSpec, String> {
    let spec: FanoutSpec =
        serde_json::from_value(definition.clone()).map_err(|error| error.to_string())?;
    spec.check().map_err(|error| error.detail)?;
    Ok(spec)
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut definition = good();
    change(&mut definition);
    read(&definition).expect_err(&definition.to_string())
}

/// What is written comes back, in JSON and in TOML, and a file names the fan-out at fault.
#[test]
fn there_and_back() {
    let spec = read(&good()).unwrap();
    let again = serde_json::to_value(&spec).unwrap();
    assert_eq!(read(&again).unwrap(), spec);
    let json = json!({"search": good()}).to_string();
    assert_eq!(file::parse(&json, false).unwrap().len(), 1);
    let mut bad = good();
    bad["timeout_ms"] = json!(0);
    let json = json!({"search": bad}).to_string();
    let told = file::parse(&json, false).unwrap_err();
    assert!(told.starts_with("search.timeout_ms"), "{told}");
}

/// Every bad definition is refused, with the field and what to do.
#[test]
fn bad_definitions() {
    type Spoil = Box<dyn FnOnce(&mut Value)>;
    let cases: Vec<(&str, Spoil)> = vec![
        (
            "unknown field `colour`",
            Box::new(|d| d["colour"] = json!(1)),
        ),
        (
            "missing field `merge`",
            Box::new(|d| drop(d.as_object_mut().unwrap().remove("merge"))),
        ),
        (
            "shards: there is none",
            Box::new(|d| d["shards"] = json!([])),
        ),
        (
            "shards[1].id: \"0\" is there twice",
            Box::new(|d| d["shards"][1]["id"] = json!("0")),
        ),
        (
            "shards[0].id",
            Box::new(|d| d["shards"][0]["id"] = json!("")),
        ),
        (
            "shards[0].id",
            Box::new(|d| d["shards"][0]["id"] = json!("a;b")),
        ),
        (
            "shards[0].replicas: there is none",
            Box::new(|d| d["shards"][0]["replicas"] = json!([])),
        ),
        (
            "is there twice",
            Box::new(|d| d["shards"][0]["replicas"][1] = json!("http://127.0.0.1:8080/")),
        ),
        (
            "is no http:// or https:// URL",
            Box::new(|d| d["shards"][0]["replicas"][0] = json!("ftp://leaf")),
        ),
        (
            "link-local",
            Box::new(|d| d["shards"][0]["replicas"][0] = json!("http://169.254.169.254/latest")),
        ),
        (
            "metadata",
            Box::new(|d| d["shards"][0]["replicas"][0] = json!("http://metadata.google.internal")),
        ),
        (
            "names a port, which SRV records do",
            Box::new(|d| d["shards"][0]["replicas"][0] = json!("srv+http://leaf:80")),
        ),
        (
            "shards[1].range: it is missing",
            Box::new(|d| d["shards"][1]["range"] = Value::Null),
        ),
        (
            "hole from \"m\" to \"n\"",
            Box::new(|d| d["shards"][1]["range"][0] = json!("n")),
        ),
        (
            "overlap from \"l\"",
            Box::new(|d| d["shards"][1]["range"][0] = json!("l")),
        ),
        (
            "overlap",
            Box::new(|d| d["shards"][0]["range"][1] = json!("")),
        ),
        (
            "is empty",
            Box::new(|d| d["shards"][0]["range"] = json!(["m", "a"])),
        ),
        (
            "shards[0].weight",
            Box::new(|d| d["shards"][0]["weight"] = json!(0)),
        ),
        (
            "policy.quorum",
            Box::new(|d| d["policy"] = json!({"quorum": 3})),
        ),
        (
            "policy.first",
            Box::new(|d| d["policy"] = json!({"first": 0})),
        ),
        (
            "policy.coverage",
            Box::new(|d| d["policy"] = json!({"coverage": 1.5})),
        ),
        (
            "policy.required",
            Box::new(|d| d["policy"] = json!({"required": ["9"]})),
        ),
        (
            "unknown policy \"most\"",
            Box::new(|d| d["policy"] = json!("most")),
        ),
        ("empty policy", Box::new(|d| d["policy"] = json!({}))),
        ("timeout_ms: 0 ms", Box::new(|d| d["timeout_ms"] = json!(0))),
        (
            "timeout_ms",
            Box::new(|d| d["timeout_ms"] = json!(u64::MAX)),
        ),
        ("reserve_ms", Box::new(|d| d["reserve_ms"] = json!(500))),
        (
            "attempt_timeout_ms",
            Box::new(|d| d["attempt_timeout_ms"] = json!(501)),
        ),
        (
            "hedge.quantile",
            Box::new(|d| d["hedge"] = json!({"quantile": 1})),
        ),
        (
            "hedge.delay_ms",
            Box::new(|d| d["hedge"] = json!({"delay_ms": 0})),
        ),
        (
            "not both",
            Box::new(|d| d["hedge"] = json!({"delay_ms": 5, "quantile": 0.9})),
        ),
        (
            "name quantile or delay_ms",
            Box::new(|d| d["hedge"] = json!({})),
        ),
        (
            "hedge.budget",
            Box::new(|d| d["hedge"] = json!({"delay_ms": 5, "budget": 2})),
        ),
        (
            "retry.attempts_max",
            Box::new(|d| d["retry"] = json!({"attempts_max": 0})),
        ),
        (
            "only the level next to the leaves",
            Box::new(|d| d["leaves"] = json!("nodes")),
        ),
        (
            "unknown merger \"median\"",
            Box::new(|d| d["merge"] = json!({"median": {}})),
        ),
        (
            "JSON pointer",
            Box::new(|d| d["merge"] = json!({"sum": {"pointer": "value"}})),
        ),
        (
            "merge.http",
            Box::new(|d| d["merge"] = json!({"http": "ftp://x"})),
        ),
        (
            "merge.top_k.k",
            Box::new(|d| d["merge"] = json!({"top_k": {"pointer": "", "score": "/s", "k": 0}})),
        ),
        (
            "canary.shards",
            Box::new(|d| d["canary"] = json!({"shards": 3, "timeout_ms": 10})),
        ),
        (
            "request.path",
            Box::new(|d| d["request"] = json!({"path": "x"})),
        ),
        (
            "request.path",
            Box::new(|d| d["request"] = json!({"path": "/${body}"})),
        ),
        (
            "${colour}",
            Box::new(|d| d["request"] = json!({"body": "${colour}"})),
        ),
        (
            "request.headers.host",
            Box::new(|d| d["request"] = json!({"headers": {"host": "x"}})),
        ),
        (
            "control characters",
            Box::new(|d| d["request"] = json!({"headers": {"x": "a\r\nb"}})),
        ),
        (
            "routes[0].path",
            Box::new(|d| d["routes"] = json!([{"path": "search"}])),
        ),
        (
            "container's own",
            Box::new(|d| d["routes"] = json!([{"path": "/v1/x"}])),
        ),
        (
            "partial_status",
            Box::new(|d| d["partial_status"] = json!(500)),
        ),
        (
            "limits.calls",
            Box::new(|d| d["limits"] = json!({"calls": 0})),
        ),
        (
            "limits.merge_bytes",
            Box::new(|d| d["limits"] = json!({"merge_bytes": 0})),
        ),
        ("version", Box::new(|d| d["version"] = json!(0))),
        ("map: ", Box::new(|d| d["map"] = json!("A B"))),
    ];
    for (told, change) in cases {
        let refused = refusal(change);
        assert!(refused.contains(told), "wanted {told:?}: {refused}");
    }
}
