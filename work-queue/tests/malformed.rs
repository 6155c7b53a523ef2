//! Proves that every malformed request gets its status, its code and a detail that names what is wrong,
//! and that nothing specified but not built is accepted.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use bytes::Bytes;
use container::Container;
use serde_json::json;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// Method, path, body, status, code, and a part of the detail.
type Case<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a str);

const JOB: &str = "j10000000000000001";
const LEASE: &str = "l10000000000000001";

async fn check(container: &Container, cases: &[Case<'_>]) {
    for (method, path, body, status, code, part) in cases {
        let headers = if body.is_empty() { &[][..] } else { JSON };
        let body = Bytes::copy_from_slice(body.as_bytes());
        let answer = container.http().send(method, path, headers, body).await;
        let told = format!("{method} {path}: {} {}", answer.status, answer.text());
        assert_eq!(answer.status, *status, "{told}");
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{told}"
        );
        let problem = answer.json();
        assert_eq!(problem["code"], *code, "{told}");
        assert_eq!(problem["status"], *status, "{told}");
        assert!(problem["detail"].as_str().unwrap().contains(part), "{told}");
    }
}

#[tokio::test]
async fn bodies() {
    let container = Container::start(false).await;
    let jobs = "/v1/queues/q/jobs";
    let leases = "/v1/queues/q/leases";
    let invalid = "invalid_argument";
    check(
        &container,
        &[
            ("POST", jobs, "{", 400, invalid, "not JSON"),
            ("POST", jobs, "[]", 400, invalid, "expected"),
            ("POST", jobs, "\"x\"", 400, invalid, "expected"),
            (
                "POST",
                jobs,
                r#"{"payload":1,"payload":2}"#,
                400,
                invalid,
                "duplicate field",
            ),
            (
                "POST",
                jobs,
                r#"{"colour":1}"#,
                400,
                invalid,
                "unknown field `colour`",
            ),
            (
                "POST",
                jobs,
                r#"{"jobs":[{"payload":1},{"colour":1}]}"#,
                400,
                invalid,
                "jobs[1]",
            ),
            ("POST", jobs, r#"{"jobs":[]}"#, 400, invalid, "at least one"),
            (
                "POST",
                jobs,
                r#"{"jobs":[{}],"priority":1}"#,
                400,
                invalid,
                "put them into the jobs",
            ),
            (
                "POST",
                jobs,
                r#"{"jobs":[{"jobs":[]}]}"#,
                400,
                invalid,
                "unknown field `jobs`",
            ),
            (
                "POST",
                jobs,
                r#"{"priority":"high"}"#,
                400,
                invalid,
                "priority",
            ),
            ("POST", jobs, r#"{"priority":-1}"#, 400, invalid, "priority"),
            (
                "POST",
                jobs,
                r#"{"priority":16}"#,
                400,
                invalid,
                "jobs[0]: priority: 16",
            ),
            (
                "POST",
                jobs,
                r#"{"payload":1,"payload_base64":"AA=="}"#,
                400,
                invalid,
                "send one",
            ),
            (
                "POST",
                jobs,
                r#"{"payload_base64":"?"}"#,
                400,
                invalid,
                "base64",
            ),
            (
                "POST",
                jobs,
                r#"{"not_before":"tomorrow"}"#,
                400,
                invalid,
                "RFC 3339",
            ),
            (
                "POST",
                jobs,
                r#"{"not_before":-5}"#,
                400,
                invalid,
                "not_before",
            ),
            (
                "POST",
                jobs,
                r#"{"batch":"x","index":0}"#,
                400,
                invalid,
                "batch: ",
            ),
            (
                "POST",
                jobs,
                r#"{"batch":"b10000000000000001"}"#,
                400,
                invalid,
                "index: missing",
            ),
            (
                "POST",
                jobs,
                r#"{"index":0}"#,
                400,
                invalid,
                "batch: missing",
            ),
            (
                "POST",
                jobs,
                r#"{"batch":"b10000000000000001","index":-1}"#,
                400,
                invalid,
                "index",
            ),
            (
                "POST",
                jobs,
                r#"{"batch":"b10000000000000001","index":0}"#,
                404,
                "not_found",
                "batch",
            ),
            (
                "POST",
                jobs,
                r#"{"max_attempts":0}"#,
                400,
                invalid,
                "max_attempts",
            ),
            (
                "POST",
                jobs,
                r#"{"dedupe_key":""}"#,
                400,
                invalid,
                "dedupe_key",
            ),
            (
                "POST",
                jobs,
                r#"{"labels":{"":"x"}}"#,
                400,
                invalid,
                "labels",
            ),
            (
                "POST",
                jobs,
                r#"{"labels":{"a":1}}"#,
                400,
                invalid,
                "labels",
            ),
            (
                "POST",
                jobs,
                r#"{"inputs":[{"uri":""}]}"#,
                400,
                invalid,
                "inputs[0]: uri",
            ),
            (
                "POST",
                jobs,
                r#"{"inputs":[{"uri":"x","sha256":"zz"}]}"#,
                400,
                invalid,
                "sha256",
            ),
            (
                "POST",
                jobs,
                r#"{"inputs":[{"url":"x"}]}"#,
                400,
                invalid,
                "unknown field `url`",
            ),
            (
                "POST",
                leases,
                r#"{"max":1}"#,
                400,
                invalid,
                "missing field `worker`",
            ),
            (
                "POST",
                leases,
                r#"{"worker":""}"#,
                400,
                invalid,
                "worker: empty",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","max":0}"#,
                400,
                invalid,
                "max: 0",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","max":1001}"#,
                400,
                invalid,
                "max: 1001",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","wait_ms":-1}"#,
                400,
                invalid,
                "wait_ms",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","wait_ms":60001}"#,
                400,
                invalid,
                "wait_ms: 60001",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","lease_ms":1}"#,
                400,
                invalid,
                "lease_ms: 1",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","lease_ms":1.5}"#,
                400,
                invalid,
                "lease_ms",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","session":"abc"}"#,
                400,
                invalid,
                "session",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","session":"s10000000000000001"}"#,
                410,
                "session_expired",
                "session",
            ),
            (
                "POST",
                leases,
                r#"{"worker":"w","complete":[{"lease_id":"x"}]}"#,
                400,
                invalid,
                "complete[0]: lease_id",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn settlements_batches_and_settings() {
    let container = Container::start(false).await;
    let invalid = "invalid_argument";
    let at = |action: &str| format!("/v1/leases/{LEASE}/{action}");
    let (complete, fail, extend) = (at("complete"), at("fail"), at("extend"));
    let (progress, checkpoint, release) = (at("progress"), at("checkpoint"), at("release"));
    check(
        &container,
        &[
            ("POST", &complete, "{}", 404, "not_found", "lease"),
            (
                "POST",
                "/v1/leases/nope/complete",
                "{}",
                400,
                invalid,
                "LeaseId",
            ),
            (
                "POST",
                "/v1/leases/j10000000000000001/complete",
                "{}",
                400,
                invalid,
                "LeaseId",
            ),
            (
                "POST",
                &complete,
                r#"{"outcome":1}"#,
                400,
                invalid,
                "unknown field `outcome`",
            ),
            (
                "POST",
                &fail,
                r#"{"delay_ms":-1}"#,
                400,
                invalid,
                "delay_ms",
            ),
            ("POST", &fail, r#"{"retry":"no"}"#, 400, invalid, "retry"),
            (
                "POST",
                &fail,
                r#"{"delay_ms":99999999999999}"#,
                400,
                invalid,
                "delay_ms",
            ),
            (
                "POST",
                &release,
                r#"{"x":1}"#,
                400,
                invalid,
                "unknown field",
            ),
            ("POST", &extend, "{}", 400, invalid, "lease_ms"),
            (
                "POST",
                &extend,
                r#"{"lease_ms":-1}"#,
                400,
                invalid,
                "lease_ms",
            ),
            (
                "POST",
                &extend,
                r#"{"lease_ms":1}"#,
                400,
                invalid,
                "lease_ms: 1",
            ),
            ("POST", &progress, "{}", 400, invalid, "done"),
            ("POST", &progress, r#"{"done":-1}"#, 400, invalid, "done"),
            (
                "POST",
                &progress,
                r#"{"done":1e999}"#,
                400,
                invalid,
                "out of range",
            ),
            ("POST", &checkpoint, "{}", 400, invalid, "data: missing"),
            (
                "POST",
                "/v1/leases/settle",
                "{}",
                400,
                invalid,
                "at least one lease",
            ),
            (
                "POST",
                "/v1/leases/settle",
                r#"{"fail":[{}]}"#,
                400,
                invalid,
                "lease_id",
            ),
            (
                "POST",
                "/v1/workers/w/heartbeat",
                "{}",
                400,
                invalid,
                "session",
            ),
            (
                "POST",
                "/v1/workers/w/heartbeat",
                r#"{"session":"s10000000000000001","leases":["x"]}"#,
                400,
                invalid,
                "leases[0]",
            ),
            (
                "POST",
                "/v1/workers/w/heartbeat",
                r#"{"session":"s10000000000000001"}"#,
                410,
                "session_expired",
                "session",
            ),
            ("POST", "/v1/batches", "{}", 400, invalid, "queue"),
            (
                "POST",
                "/v1/batches",
                r#"{"queue":"Q"}"#,
                400,
                invalid,
                "queue: ",
            ),
            (
                "POST",
                "/v1/batches",
                r#"{"queue":"q","on_dead":"panic"}"#,
                400,
                invalid,
                "on_dead",
            ),
            (
                "POST",
                "/v1/batches",
                r#"{"queue":"q","join":{"queue":"_x"}}"#,
                400,
                invalid,
                "join.queue",
            ),
            (
                "POST",
                "/v1/batches",
                r#"{"queue":"q","join":{"batch":"b10000000000000001","index":0}}"#,
                400,
                invalid,
                "join.batch",
            ),
            (
                "POST",
                "/v1/batches/x/seal",
                r#"{"expected":1}"#,
                400,
                invalid,
                "BatchId",
            ),
            (
                "POST",
                "/v1/batches/b10000000000000001/seal",
                "{}",
                400,
                invalid,
                "expected",
            ),
            (
                "POST",
                "/v1/batches/b10000000000000001/seal",
                r#"{"expected":1}"#,
                404,
                "not_found",
                "batch",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"lease_ms":1}"#,
                400,
                invalid,
                "lease_ms: 1",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"max_attempts":0}"#,
                400,
                invalid,
                "max_attempts",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"max_jobs":0}"#,
                400,
                invalid,
                "max_jobs",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"retention_ms":-1}"#,
                400,
                invalid,
                "retention_ms",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"backoff":{"first":1}}"#,
                400,
                invalid,
                "backoff",
            ),
            (
                "PUT",
                "/v1/queues/q",
                r#"{"backoff":{"initial_ms":9,"max_ms":1}}"#,
                400,
                invalid,
                "backoff.initial_ms: 9",
            ),
            (
                "POST",
                "/v1/queues/q/redrive",
                r#"{"max":0}"#,
                400,
                invalid,
                "max: 0",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn paths_and_queries() {
    let container = Container::start(false).await;
    let invalid = "invalid_argument";
    let long = format!("/v1/queues/{}", "x".repeat(129));
    let job = format!("/v1/jobs/{JOB}");
    check(
        &container,
        &[
            ("GET", "/v1/queues/Q", "", 400, invalid, "a-z"),
            ("GET", "/v1/queues/_mine", "", 400, invalid, "reserved"),
            ("GET", "/v1/queues/a%2Fb", "", 400, invalid, "a-z"),
            ("GET", "/v1/queues/%FF", "", 400, invalid, "UTF-8"),
            ("GET", &long, "", 400, invalid, "1 to 128"),
            ("GET", "/v1/queues/none", "", 404, "not_found", "none"),
            ("DELETE", "/v1/queues/none", "", 404, "not_found", "none"),
            (
                "POST",
                "/v1/queues/none/pause",
                "",
                404,
                "not_found",
                "none",
            ),
            (
                "GET",
                "/v1/queues/none/scaling",
                "",
                404,
                "not_found",
                "none",
            ),
            (
                "GET",
                "/v1/queues/none/scaling?slots=0",
                "",
                400,
                invalid,
                "slots",
            ),
            (
                "GET",
                "/v1/queues?page_size=1001",
                "",
                400,
                invalid,
                "page_size: 1001",
            ),
            (
                "GET",
                "/v1/queues?page_size=-1",
                "",
                400,
                invalid,
                "page_size",
            ),
            (
                "GET",
                "/v1/queues?page_token=NOT",
                "",
                400,
                invalid,
                "page_token",
            ),
            ("GET", "/v1/queues?size=1", "", 400, invalid, "size"),
            (
                "GET",
                "/v1/queues/q/jobs?state=done",
                "",
                400,
                invalid,
                "state",
            ),
            (
                "GET",
                "/v1/queues/q/jobs?label=x",
                "",
                400,
                invalid,
                "key=value",
            ),
            (
                "GET",
                "/v1/queues/q/jobs?page_token=j1",
                "",
                400,
                invalid,
                "page_token",
            ),
            (
                "GET",
                "/v1/batches?page_token=x",
                "",
                400,
                invalid,
                "page_token",
            ),
            (
                "GET",
                "/v1/batches/b10000000000000001/results?page_token=x",
                "",
                400,
                invalid,
                "page_token",
            ),
            ("GET", "/v1/jobs/1", "", 400, invalid, "JobId"),
            (
                "GET",
                "/v1/jobs/j1000000000000000G",
                "",
                400,
                invalid,
                "exactly as it was answered",
            ),
            ("GET", &job, "", 404, "not_found", JOB),
            ("POST", &format!("{job}/cancel"), "", 404, "not_found", JOB),
            ("POST", &format!("{job}/retry"), "", 404, "not_found", JOB),
            ("POST", &format!("{job}/skip"), "", 404, "not_found", JOB),
            (
                "GET",
                "/v1/batches/b10000000000000001",
                "",
                404,
                "not_found",
                "b1",
            ),
            ("GET", "/v1/nothing", "", 404, "not_found", "openapi.json"),
            ("PATCH", "/v1/queues/q", "", 405, invalid, "Allow"),
            (
                "GET",
                "/v1/blobs/x",
                "",
                501,
                "unimplemented",
                "QUORATE_BLOBS",
            ),
            (
                "GET",
                "/v1/schedules/s",
                "",
                501,
                "unimplemented",
                "schedules",
            ),
            (
                "PUT",
                "/v1/schedules/s",
                "{}",
                501,
                "unimplemented",
                "schedules",
            ),
            (
                "GET",
                "/v1/queues/q/events",
                "",
                501,
                "unimplemented",
                "events",
            ),
            (
                "GET",
                &format!("{job}/events"),
                "",
                501,
                "unimplemented",
                "events",
            ),
            (
                "POST",
                "/v1/queues/q/drain",
                "",
                501,
                "unimplemented",
                "drain",
            ),
        ],
    )
    .await;
}

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
