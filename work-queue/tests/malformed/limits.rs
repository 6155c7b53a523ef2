//! What is not built, and what is too large or of another type.

use super::container::Container;
use super::{JSON, check};
use bytes::Bytes;
use serde_json::json;

#[tokio::test]
async fn what_is_specified_and_not_built_is_refused_by_name() {
    let container = Container::start(false).await;
    let mut cases = Vec::new();
    for field in [
        "deadline",
        "depends_on",
        "weight",
        "requires",
        "concurrency_key",
        "fairness_key",
    ] {
        for (path, body) in [
            ("/v1/queues/q/jobs", json!({ field: 1 })),
            (
                "/v1/queues/q/jobs",
                json!({ "jobs": [{}, { field: null }] }),
            ),
            (
                "/v1/batches",
                json!({ "queue": "q", "join": { field: [] } }),
            ),
        ] {
            cases.push(("POST", path, body.to_string(), field));
        }
    }
    for field in ["rate", "concurrency", "dead_letter"] {
        cases.push((
            "PUT",
            "/v1/queues/q",
            json!({ field: {} }).to_string(),
            field,
        ));
    }
    let body = json!({ "worker": "w", "provides": ["gpu"] });
    cases.push(("POST", "/v1/queues/q/leases", body.to_string(), "provides"));
    for (method, path, body, field) in cases {
        let answer = container
            .http()
            .send(method, path, JSON, Bytes::from(body.clone()))
            .await;
        let detail = answer.json()["detail"].to_string();
        assert_eq!(answer.status, 400, "{path} {body}: {detail}");
        assert!(detail.contains(field), "{path} {body}: {detail}");
        assert!(detail.contains("not built yet"), "{path} {body}: {detail}");
    }
}

#[tokio::test]
async fn sizes_types_and_headers() {
    let container = Container::start(false).await;
    let http = container.http();
    let jobs = "/v1/queues/q/jobs";
    let send = |headers: Vec<(&'static str, &'static str)>, body: String| async move {
        let answer = http.send("POST", jobs, &headers, Bytes::from(body)).await;
        (
            answer.status,
            answer.json()["code"].clone(),
            answer.json()["detail"].to_string(),
        )
    };
    let json = ("content-type", "application/json");

    let large = format!("{{\"payload\":{:?}}}", "x".repeat(64 * 1024 - 1));
    let (status, code, detail) = send(vec![json], large).await;
    assert_eq!((status, code), (413, "too_large".into()));
    assert!(
        detail.contains("jobs[0]: payload") && detail.contains("blob"),
        "{detail}"
    );

    let (status, code, detail) = send(vec![json], " ".repeat((4 << 20) + 1)).await;
    assert_eq!((status, code), (413, "too_large".into()), "{detail}");

    let many = json!({ "jobs": vec![json!({}); 1001] }).to_string();
    let (status, _, detail) = send(vec![json], many).await;
    assert_eq!(status, 400);
    assert!(detail.contains("1001"), "{detail}");

    for headers in [
        vec![("content-type", "text/plain")],
        vec![("content-type", "application/x-www-form-urlencoded")],
        vec![],
    ] {
        let (status, code, detail) = send(headers, "{}".into()).await;
        assert_eq!(
            (status, code),
            (415, "unsupported_media_type".into()),
            "{detail}"
        );
        assert!(detail.contains("application/json"), "{detail}");
    }

    for (name, value, part) in [
        ("idempotency-key", "", "1 to 256"),
        ("idempotency-key", "ü", "ASCII"),
        ("origin", "http://evil.example", "Origin"),
    ] {
        let (status, _, detail) = send(vec![json, (name, value)], "{}".into()).await;
        assert!(matches!(status, 400 | 403), "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
    let twice = vec![json, ("traceparent", "a"), ("traceparent", "b")];
    let (status, _, detail) = send(twice, "{}".into()).await;
    assert_eq!(status, 400);
    assert!(detail.contains("comes twice"), "{detail}");
    // None of these added a job.
    assert_eq!(http.get("/v1/queues/q").await.status, 404);
}

#[tokio::test]
async fn blobs_and_names() {
    let container = Container::start(true).await;
    let invalid = "invalid_argument";
    check(
        &container,
        &[
            ("PUT", "/v1/blobs/Upper", "x", 400, invalid, "a-z"),
            ("PUT", "/v1/blobs/a//b", "x", 400, invalid, "a-z"),
            ("PUT", "/v1/blobs/a/../b", "x", 400, invalid, "a-z"),
            ("PUT", "/v1/blobs/..%2F..%2Fetc", "x", 400, invalid, "a-z"),
            (
                "PUT",
                "/v1/blobs/a/b/c/d/e/f/g/h/i",
                "x",
                400,
                invalid,
                "up to 8",
            ),
            (
                "GET",
                "/v1/blobs/..%2F..%2Fetc%2Fpasswd",
                "",
                400,
                invalid,
                "name: ",
            ),
            (
                "GET",
                "/v1/blobs/none",
                "",
                404,
                "not_found",
                "no such blob",
            ),
        ],
    )
    .await;
}
