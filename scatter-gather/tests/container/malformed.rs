//! Bad input: each gets its code and a message that says what to do.

use crate::scatter::over;
use crate::support::{Container, Leaf, json, request};
use serde_json::json as value;

/// Proves that requests which make no sense are refused by code, with a detail, before anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests() {
    let root = Container::root().await;
    let leaf = Leaf::start(json(&value!({"value": 1}))).await;
    let mut definition = over(&[&leaf], &value!({"sum": {"pointer": "/value"}}));
    definition["limits"] = value!({"body_bytes": 100});
    root.define("add", &definition).await;
    let json_type = ("content-type", "application/json");
    let query = "/v1/fanouts/add/query";
    let long = "x".repeat(101);
    for (method, path, headers, body, status, code) in [
        (
            "POST",
            "/v1/fanouts/none/query",
            vec![],
            "",
            404,
            "not_found",
        ),
        (
            "POST",
            "/v1/fanouts/A%20B/query",
            vec![],
            "",
            400,
            "invalid_argument",
        ),
        ("GET", query, vec![], "", 405, "invalid_argument"),
        ("POST", query, vec![], long.as_str(), 413, "too_large"),
        (
            "POST",
            query,
            vec![("quorate-deadline-ms", "soon")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-deadline-ms", "0")],
            "",
            504,
            "deadline_exceeded",
        ),
        (
            "POST",
            query,
            vec![("quorate-key", "a"), ("quorate-range", "a,b")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-range", "a")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-range", "a,b")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-key", "%zz")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-depth", "99")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("quorate-hedge-budget", "2")],
            "",
            400,
            "invalid_argument",
        ),
        (
            "POST",
            query,
            vec![("origin", "http://evil.example")],
            "",
            403,
            "forbidden",
        ),
        (
            "PUT",
            "/v1/fanouts/x",
            vec![json_type],
            "{",
            400,
            "invalid_argument",
        ),
        (
            "PUT",
            "/v1/fanouts/x",
            vec![json_type],
            "{}",
            400,
            "invalid_argument",
        ),
        (
            "PUT",
            "/v1/fanouts/x",
            vec![],
            "{}",
            415,
            "unsupported_media_type",
        ),
        ("GET", "/v1/fanouts/x", vec![], "", 404, "not_found"),
        ("DELETE", "/v1/fanouts/x", vec![], "", 404, "not_found"),
        ("GET", "/v1/fanouts/x/targets", vec![], "", 404, "not_found"),
        ("GET", "/nowhere", vec![], "", 404, "not_found"),
        ("GET", "/", vec![], "", 404, "not_found"),
    ] {
        let response = request(root.address, method, path, &headers, body).await;
        let problem = response.json();
        assert_eq!(
            response.status, status,
            "{method} {path} {headers:?}: {problem}"
        );
        assert_eq!(
            problem["code"], code,
            "{method} {path} {headers:?}: {problem}"
        );
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    assert_eq!(leaf.calls(), 0);
}

/// Proves that bad definitions are refused by the name of the field, over the API as in the file.
#[tokio::test(flavor = "multi_thread")]
async fn bad_definitions() {
    let root = Container::root().await;
    let leaf = Leaf::start(json(&value!({"value": 1}))).await;
    let good = over(&[&leaf], &value!("concat"));
    for (field, bad, told) in [
        ("colour", value!(1), "unknown field `colour`"),
        ("shards", value!([]), "shards"),
        (
            "shards",
            value!([{"id": "0", "replicas": []}]),
            "shards[0].replicas",
        ),
        (
            "shards",
            value!([{"id": "0", "replicas": ["http://169.254.169.254/"]}]),
            "link-local",
        ),
        (
            "shards",
            value!([{"id": "0", "replicas": ["http://a"], "range": ["a", "m"]},
            {"id": "1", "replicas": ["http://b"], "range": ["n", "z"]}]),
            "hole",
        ),
        ("timeout_ms", value!(0), "timeout_ms"),
        ("merge", value!("median"), "unknown merger"),
        ("merge", value!({"sum": {"pointer": "x"}}), "JSON pointer"),
        ("policy", value!({"quorum": 2}), "policy.quorum"),
        ("version", value!(0), "version"),
    ] {
        let mut definition = good.clone();
        definition[field] = bad;
        let response = root.put("/v1/fanouts/bad", &definition).await;
        assert_eq!(response.status, 400, "{}", response.text());
        let problem = response.json();
        assert!(
            problem["detail"].as_str().unwrap().contains(told),
            "{told}: {problem}"
        );
    }
    // A version only grows.
    let mut versioned = good.clone();
    versioned["version"] = value!(7);
    root.define("v", &versioned).await;
    root.define("v", &versioned).await;
    versioned["timeout_ms"] = value!(7_000);
    assert_eq!(root.put("/v1/fanouts/v", &versioned).await.status, 400);
    versioned["version"] = value!(8);
    root.define("v", &versioned).await;
    let list = root.get("/v1/fanouts").await.json();
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["version"], 8);
    let gone = request(root.address, "DELETE", "/v1/fanouts/v", &[], "").await;
    assert_eq!(gone.status, 204);
}

/// Proves that the OpenAPI text names every route that there is.
#[tokio::test(flavor = "multi_thread")]
async fn openapi_is_whole() {
    let root = Container::root().await;
    let openapi = root.get("/openapi.json").await.json();
    for path in [
        "/v1/fanouts",
        "/v1/fanouts/{fanout}",
        "/v1/fanouts/{fanout}/query",
        "/v1/fanouts/{fanout}/targets",
        "/v1/info",
        "/v1/wait",
    ] {
        assert!(openapi["paths"][path].is_object(), "{path}");
    }
    // What is sent and answered is described, field by field.
    let schemas = &openapi["components"]["schemas"];
    for (schema, field) in [
        ("FanoutSpec", "shards"),
        ("FanoutSpec", "merge"),
        ("LimitsSpec", "merge_bytes"),
        ("TopKOptions", "score"),
        ("TargetsView", "hedge_budget"),
        ("Envelope", "complete"),
        ("AttemptLine", "took_us"),
    ] {
        assert!(
            schemas[schema]["properties"][field].is_object(),
            "{schema}.{field}"
        );
    }
}
