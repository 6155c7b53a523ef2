//! Proves what belongs to one protocol only: the OpenAPI text against the handlers, keys that make
//! retries safe, payloads byte for byte, blobs, reflection, and the refusals of gRPC.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use bytes::Bytes;
use container::Container;
use container::http::{Answer, Http};
use quorate_core::error::{Code, Error};
use quorate_proto::queue as pb;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Every route of the API that is built.
const ROUTES: &[&str] = &[
    "GET /v1/info",
    "GET /v1/wait",
    "GET /v1/queues",
    "PUT /v1/queues/{queue}",
    "GET /v1/queues/{queue}",
    "DELETE /v1/queues/{queue}",
    "POST /v1/queues/{queue}/pause",
    "POST /v1/queues/{queue}/resume",
    "POST /v1/queues/{queue}/purge",
    "POST /v1/queues/{queue}/redrive",
    "GET /v1/queues/{queue}/scaling",
    "POST /v1/queues/{queue}/jobs",
    "GET /v1/queues/{queue}/jobs",
    "POST /v1/queues/{queue}/leases",
    "POST /v1/leases/settle",
    "POST /v1/leases/{lease}/complete",
    "POST /v1/leases/{lease}/fail",
    "POST /v1/leases/{lease}/release",
    "POST /v1/leases/{lease}/extend",
    "POST /v1/leases/{lease}/progress",
    "POST /v1/leases/{lease}/checkpoint",
    "POST /v1/workers/{worker}/heartbeat",
    "GET /v1/jobs/{job}",
    "POST /v1/jobs/{job}/cancel",
    "POST /v1/jobs/{job}/retry",
    "POST /v1/jobs/{job}/skip",
    "POST /v1/batches",
    "GET /v1/batches",
    "GET /v1/batches/{batch}",
    "POST /v1/batches/{batch}/seal",
    "POST /v1/batches/{batch}/cancel",
    "GET /v1/batches/{batch}/results",
    "PUT /v1/blobs/{name}",
    "GET /v1/blobs/{name}",
];

/// Proves that the OpenAPI text names every route that is built and no other, and that each has a
/// handler.
#[tokio::test]
async fn openapi_and_handlers_agree() {
    let container = Container::start(true).await;
    let http = container.http();
    let openapi = http.get("/openapi.json").await.ok();
    let mut described = BTreeSet::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let built: BTreeSet<String> = ROUTES.iter().map(ToString::to_string).collect();
    assert_eq!(described, built);

    for route in &described {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path
            .replace("{queue}", "q")
            .replace("{lease}", "l10000000000000001")
            .replace("{job}", "j10000000000000001")
            .replace("{batch}", "b10000000000000001")
            .replace("{worker}", "w")
            .replace("{name}", "n");
        let body = Bytes::from_static(b"{}");
        let answer = http.send(method, &path, &[JSON], body).await;
        let text = answer.text();
        assert!(!matches!(answer.status, 405 | 500..), "{route}: {text}");
        assert!(!text.contains("there is no GET"), "{route}: {text}");
        assert!(!text.contains("there is no P"), "{route}: {text}");
    }
}

/// Proves that what is not built stands in no schema.
#[tokio::test]
async fn openapi_does_not_promise_what_is_not_built() {
    let container = Container::start(false).await;
    let openapi = container.http().get("/openapi.json").await.ok();
    let mut properties = BTreeSet::new();
    collect(&openapi["components"]["schemas"], &mut properties);
    assert!(properties.contains("payload") && properties.contains("dedupe_key"));
    for field in [
        "deadline",
        "depends_on",
        "weight",
        "requires",
        "concurrency_key",
        "fairness_key",
        "rate",
        "concurrency",
        "dead_letter",
        "provides",
    ] {
        assert!(!properties.contains(field), "{field}");
    }
}

fn collect(schema: &Value, properties: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(here)) = map.get("properties") {
                properties.extend(here.keys().cloned());
            }
            map.values().for_each(|value| collect(value, properties));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, properties)),
        _ => {}
    }
}

async fn enqueue_keyed(http: &Http, path: &str, key: &str, body: &str) -> Answer {
    let headers = [JSON, ("idempotency-key", key)];
    http.send(
        "POST",
        path,
        &headers,
        Bytes::copy_from_slice(body.as_bytes()),
    )
    .await
}

/// Proves that the same request under the same `Idempotency-Key` is done once, that another body under
/// it is refused, and that a key belongs to its route.
#[tokio::test]
async fn idempotency_keys() {
    let container = Container::start(false).await;
    let http = container.http();
    let path = "/v1/queues/q/jobs";
    let first = enqueue_keyed(&http, path, "k", r#"{"payload":1}"#).await;
    let again = enqueue_keyed(&http, path, "k", r#"{"payload":1}"#).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body);
    let other = enqueue_keyed(&http, path, "k", r#"{"payload":2}"#).await;
    assert_eq!(other.status, 422);
    assert_eq!(other.json()["code"], "idempotency_mismatch");
    let elsewhere = enqueue_keyed(&http, "/v1/queues/r/jobs", "k", r#"{"payload":2}"#).await;
    assert_eq!(elsewhere.status, 201);
    assert_eq!(http.get("/v1/queues/q").await.ok()["counts"]["ready"], 1);

    // A lease under a key, lost and asked for again, is the same lease.
    let leases = "/v1/queues/q/leases";
    let body = r#"{"worker":"w","wait_ms":2500}"#;
    let first = enqueue_keyed(&http, leases, "l", body).await;
    let again = enqueue_keyed(&http, leases, "l", body).await;
    assert_eq!(first.ok()["leases"].as_array().unwrap().len(), 1);
    assert_eq!(first.body, again.body);
}

/// Proves that a key is a key through a sidecar too.
#[tokio::test]
async fn idempotency_keys_pass_a_sidecar() {
    let container = Container::start(false).await;
    let sidecar = container.sidecar().await;
    let http = sidecar.http();
    let path = "/v1/queues/q/jobs";
    let first = enqueue_keyed(&http, path, "k", r#"{"payload":1}"#).await;
    let again = enqueue_keyed(&http, path, "k", r#"{"payload":1}"#).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert_eq!(first.body, again.body);
    let other = enqueue_keyed(&http, path, "k", r#"{"payload":2}"#).await;
    assert_eq!(other.status, 422, "{other:?}");
    let info = http.get("/v1/info").await.ok();
    assert_eq!(
        (&info["role"], &info["node_id"]),
        (&json!("sidecar"), &Value::Null)
    );
    // Nor is it one more node by gRPC.
    for (container, node) in [(&container, 1), (&sidecar, 0)] {
        let info = container.grpc().get_info(pb::GetInfoRequest {}).await;
        assert_eq!(info.unwrap().into_inner().node_id, node);
    }
}

/// Proves that a settlement and the wait for work after it are both safe to repeat under one key.
#[tokio::test]
async fn a_key_covers_both_steps_of_settle_and_wait() {
    let container = Container::start(false).await;
    let http = container.http();
    http.post("/v1/queues/q/jobs", &json!({})).await.ok();
    let leased = http
        .post("/v1/queues/q/leases", &json!({ "worker": "w" }))
        .await
        .ok();
    let lease = &leased["leases"][0]["lease_id"];
    let body = json!({
        "worker": "w", "session": leased["session"], "wait_ms": 10_000,
        "complete": [{ "lease_id": lease }],
    })
    .to_string();
    let asking = enqueue_keyed(&http, "/v1/queues/q/leases", "k", &body);
    let adding = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        http.post("/v1/queues/q/jobs", &json!({})).await.ok();
    };
    let (first, ()) = tokio::join!(asking, adding);
    assert_eq!(first.ok()["settled"][0]["settled"], true);
    assert_eq!(first.ok()["leases"].as_array().unwrap().len(), 1);
    let again = enqueue_keyed(&http, "/v1/queues/q/leases", "k", &body).await;
    assert_eq!(first.body, again.body);
}

/// Proves that payloads, results and checkpoints come back byte for byte, whatever they are.
#[tokio::test]
async fn byte_for_byte() {
    let container = Container::start(false).await;
    let http = container.http();
    for payload in [
        r#"{ "b" : 1.50, "a":[ 1,2 ]  ,"é":"\u00e9" }"#,
        "null",
        "12345678901234567890.0",
        r#""text""#,
        "[ ]",
    ] {
        let body = format!("{{\"payload\": {payload} }}");
        let id = http.post_text("/v1/queues/q/jobs", &body).await.ok();
        let id = id["jobs"][0]["id"].as_str().unwrap().to_owned();
        let leased = http
            .post("/v1/queues/q/leases", &json!({ "worker": "w" }))
            .await;
        let expected = format!("\"payload\":{payload}");
        assert!(leased.text().contains(&expected), "{}", leased.text());
        let lease = leased.json()["leases"][0]["lease_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let body = format!("{{\"data\":{payload}}}");
        let path = format!("/v1/leases/{lease}/checkpoint");
        http.post_text(&path, &body).await.ok();
        let body = format!("{{\"result\":{payload}}}");
        let path = format!("/v1/leases/{lease}/complete");
        http.post_text(&path, &body).await.ok();
        let job = http.get(&format!("/v1/jobs/{id}")).await;
        assert!(job.text().contains(&expected), "{}", job.text());
        assert!(
            job.text().contains(&format!("\"result\":{payload}")),
            "{}",
            job.text()
        );
    }
    let body = json!({ "payload_base64": "/wA=" });
    http.post("/v1/queues/q/jobs", &body).await.ok();
    let leased = http
        .post("/v1/queues/q/leases", &json!({ "worker": "w" }))
        .await
        .ok();
    assert_eq!(leased["leases"][0]["payload_base64"], "/wA=");
    assert_eq!(leased["leases"][0].get("payload"), None);
}

/// Proves that the trace context of a request is stored with its jobs and handed out.
#[tokio::test]
async fn traceparent_is_stored_with_jobs() {
    let container = Container::start(false).await;
    let http = container.http();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [JSON, ("traceparent", trace)];
    let body = Bytes::from_static(b"{}");
    http.send("POST", "/v1/queues/q/jobs", &headers, body)
        .await
        .ok();
    let mut request = tonic::Request::new(pb::EnqueueRequest {
        queue: "q".into(),
        jobs: vec![pb::NewJob::default()],
    });
    request
        .metadata_mut()
        .insert("traceparent", trace.parse().unwrap());
    container.grpc().enqueue(request).await.unwrap();
    let ask = json!({ "worker": "w", "max": 2 });
    let leased = http.post("/v1/queues/q/leases", &ask).await.ok();
    for lease in leased["leases"].as_array().unwrap() {
        assert_eq!(lease["traceparent"], trace);
    }
    assert_eq!(leased["leases"].as_array().unwrap().len(), 2);
}

/// Proves the figures an autoscaler asks for.
#[tokio::test]
async fn scaling() {
    let container = Container::start(false).await;
    let http = container.http();
    let jobs = json!({ "jobs": vec![json!({}); 5] });
    http.post("/v1/queues/q/jobs", &jobs).await.ok();
    let ask = json!({ "worker": "w", "max": 2 });
    http.post("/v1/queues/q/leases", &ask).await.ok();
    let figures = http.get("/v1/queues/q/scaling?slots=2").await.ok();
    assert_eq!(
        (&figures["ready"], &figures["leased"], &figures["delayed"]),
        (&json!(3), &json!(2), &json!(0))
    );
    assert_eq!(figures["desired_workers"], 3);
    http.order("/v1/queues/q/pause").await.ok();
    let figures = http.get("/v1/queues/q/scaling?slots=2").await.ok();
    assert_eq!(
        figures["desired_workers"], 1,
        "the busy worker is kept, no other is wanted"
    );
}

/// Proves that a blob comes back as it was stored, is replaced whole, and appears only when it is
/// complete.
#[tokio::test]
async fn blobs() {
    let container = Container::start(true).await;
    let http = container.http();
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let stored = http
        .send(
            "PUT",
            "/v1/blobs/films/a.mp4",
            &[],
            Bytes::from(content.clone()),
        )
        .await;
    assert_eq!(stored.status, 201);
    let stored = stored.json();
    let root = container.blobs.as_ref().unwrap().path();
    let uri = format!("file://{}/films/a.mp4", root.display());
    assert_eq!(
        (&stored["uri"], &stored["size"]),
        (&json!(uri), &json!(content.len()))
    );
    assert_eq!(stored["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(http.get("/v1/blobs/films/a.mp4").await.body, content);

    let empty = http
        .send("PUT", "/v1/blobs/films/a.mp4", &[], Bytes::new())
        .await
        .ok();
    let hash_of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty["sha256"], hash_of_nothing);
    assert!(http.get("/v1/blobs/films/a.mp4").await.body.is_empty());

    // A body that breaks off stores nothing.
    {
        use tokio::io::AsyncWriteExt as _;
        let mut stream = tokio::net::TcpStream::connect(container.address)
            .await
            .unwrap();
        let head = format!(
            "PUT /v1/blobs/half HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000\r\n\r\nhalf",
            container.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    for _ in 0..20 {
        assert_eq!(http.get("/v1/blobs/half").await.status, 404);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Proves that gRPC refuses in the same codes, and says where.
#[tokio::test]
async fn grpc_refusals() {
    let container = Container::start(false).await;
    let mut grpc = container.grpc();
    let refusal = |status: tonic::Status| {
        let error = Error::from_status(&status);
        (error.code, error.detail)
    };
    let job = |job| pb::EnqueueRequest {
        queue: "q".into(),
        jobs: vec![job],
    };
    let cases = [
        (
            pb::EnqueueRequest::default(),
            Code::InvalidArgument,
            "queue",
        ),
        (
            pb::EnqueueRequest {
                queue: "q".into(),
                jobs: vec![],
            },
            Code::InvalidArgument,
            "at least one",
        ),
        (
            job(pb::NewJob {
                priority: Some(16),
                ..Default::default()
            }),
            Code::InvalidArgument,
            "jobs[0]: priority",
        ),
        (
            job(pb::NewJob {
                payload: vec![0; 65 * 1024].into(),
                ..Default::default()
            }),
            Code::TooLarge,
            "blob",
        ),
        (
            job(pb::NewJob {
                labels: vec![
                    pb::Label {
                        key: "a".into(),
                        value: String::new()
                    };
                    2
                ],
                ..Default::default()
            }),
            Code::InvalidArgument,
            "labels",
        ),
    ];
    for (request, code, part) in cases {
        let (found, detail) = refusal(grpc.enqueue(request).await.unwrap_err());
        assert_eq!(found, code, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
    let (code, detail) = refusal(
        grpc.get_job(pb::GetJobRequest { job: 0 })
            .await
            .unwrap_err(),
    );
    assert_eq!(code, Code::InvalidArgument);
    assert!(detail.contains("job: missing"), "{detail}");
    let status = grpc.settle(pb::SettleRequest {
        settle: vec![pb::Settlement {
            lease: 1,
            ..Default::default()
        }],
        then: None,
    });
    let (code, detail) = refusal(status.await.unwrap_err());
    assert_eq!(code, Code::InvalidArgument);
    assert!(detail.contains("settle[0]: outcome: missing"), "{detail}");
    // A message over the bound is refused before it is decoded.
    let huge = job(pb::NewJob {
        payload: vec![0; 5 << 20].into(),
        ..Default::default()
    });
    let (code, _) = refusal(grpc.enqueue(huge).await.unwrap_err());
    assert!(!code.retryable(), "{code}");
    assert_eq!(container.http().get("/v1/queues/q").await.status, 404);
}

/// Proves that metadata makes a retry over gRPC safe: by a caller's key, and by a number in a stream.
#[tokio::test]
async fn grpc_keys() {
    let container = Container::start(false).await;
    let mut grpc = container.grpc();
    let request = |metadata: &[(&'static str, &str)], payload: &'static [u8]| {
        let mut request = tonic::Request::new(pb::EnqueueRequest {
            queue: "q".into(),
            jobs: vec![pb::NewJob {
                payload: Bytes::from_static(payload),
                ..Default::default()
            }],
        });
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    };
    let key = [("idempotency-key", "k")];
    let first = grpc
        .enqueue(request(&key, b"1"))
        .await
        .unwrap()
        .into_inner();
    let again = grpc
        .enqueue(request(&key, b"1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    let status = grpc.enqueue(request(&key, b"2")).await.unwrap_err();
    assert_eq!(Error::from_status(&status).code, Code::IdempotencyMismatch);

    // A sidecar waits in parts: with less time left it is the same request.
    let lease = |wait_ms| {
        let mut request = tonic::Request::new(pb::LeaseRequest {
            queue: "q".into(),
            worker: "w".into(),
            max: 1,
            wait_ms,
            ..Default::default()
        });
        let key = "lease".parse().unwrap();
        request.metadata_mut().insert("idempotency-key", key);
        request
    };
    let granted = grpc.lease(lease(2_000)).await.unwrap().into_inner();
    assert_eq!(granted.leases.len(), 1);
    let again = grpc.lease(lease(500)).await.unwrap().into_inner();
    assert_eq!(granted.leases[0].id, again.leases[0].id);

    let stream = grpc
        .open_stream(pb::OpenStreamRequest {})
        .await
        .unwrap()
        .into_inner()
        .stream;
    let stream = stream.to_string();
    let number = |seq| [("quorate-stream", stream.as_str()), ("quorate-seq", seq)];
    let first = grpc
        .enqueue(request(&number("1"), b"3"))
        .await
        .unwrap()
        .into_inner();
    let again = grpc
        .enqueue(request(&number("1"), b"3"))
        .await
        .unwrap()
        .into_inner();
    let next = grpc
        .enqueue(request(&number("2"), b"3"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    assert_ne!(first, next);
    let unknown = [("quorate-stream", "77"), ("quorate-seq", "1")];
    let status = grpc.enqueue(request(&unknown, b"4")).await.unwrap_err();
    assert_eq!(Error::from_status(&status).code, Code::SessionExpired);
    for bad in [
        vec![("quorate-stream", "1")],
        vec![("quorate-stream", "x"), ("quorate-seq", "1")],
        vec![("quorate-stream", "1"), ("quorate-seq", "0")],
        vec![
            ("quorate-stream", "1"),
            ("quorate-seq", "1"),
            ("quorate-done-below", "2"),
        ],
        vec![
            ("quorate-stream", "1"),
            ("quorate-seq", "1"),
            ("idempotency-key", "k"),
        ],
    ] {
        let status = grpc.enqueue(request(&bad, b"5")).await.unwrap_err();
        assert_eq!(
            Error::from_status(&status).code,
            Code::InvalidArgument,
            "{bad:?}"
        );
    }
    assert_eq!(
        container.http().get("/v1/queues/q").await.ok()["counts"]["ready"],
        2
    );
}

/// A lease of a job of its own.
async fn take(http: &Http) -> (String, String) {
    http.post("/v1/queues/q/jobs", &json!({"payload": 1}))
        .await
        .ok();
    let leased = http
        .post("/v1/queues/q/leases", &json!({"worker": "w"}))
        .await
        .ok();
    let lease = &leased["leases"][0];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&lease["lease_id"]), text(&lease["job_id"]))
}

/// Proves that a lease which cannot be kept is told why, by whatever call, and is promised no time.
#[tokio::test]
async fn a_lease_is_told_how_it_stands() {
    let container = Container::start(false).await;
    let http = container.http();
    let empty = http
        .post("/v1/queues/q/leases", &json!({"worker": "w", "wait_ms": 1}))
        .await
        .ok();
    assert_eq!(
        (&empty["session"], &empty["leases"]),
        (&json!(null), &json!([]))
    );

    let progress = async |lease: &str, body: &Value| {
        let path = format!("/v1/leases/{lease}/progress");
        let answer = http.post(&path, body).await;
        (answer.status, answer.json()["code"].clone())
    };
    let (settled, _) = take(&http).await;
    let report = json!({"done": 1});
    assert_eq!(progress(&settled, &report).await.0, 200);
    http.post("/v1/queues/q/jobs", &json!({"payload": 1}))
        .await
        .ok();
    let other = http
        .post("/v1/queues/q/leases", &json!({"worker": "other"}))
        .await
        .ok();
    let other = json!({"done": 1, "session": other["session"]});
    assert_eq!(progress(&settled, &other).await, (403, json!("forbidden")));
    http.post(&format!("/v1/leases/{settled}/complete"), &json!({}))
        .await
        .ok();
    assert_eq!(
        progress(&settled, &report).await,
        (409, json!("already_settled"))
    );
    assert_eq!(
        progress("l10000000000000999", &report).await,
        (404, json!("not_found"))
    );

    let (cancelled, job) = take(&http).await;
    http.post(&format!("/v1/jobs/{job}/cancel"), &json!({}))
        .await
        .ok();
    let kept = http
        .post(
            &format!("/v1/leases/{cancelled}/extend"),
            &json!({"lease_ms": 60_000}),
        )
        .await
        .ok();
    assert_eq!(kept, json!({"cancel_requested": true}));
}

/// Proves that one settlement that cannot be recorded spoils no other of its request.
#[tokio::test]
async fn settlements_are_answered_one_by_one() {
    let container = Container::start(false).await;
    let http = container.http();
    let (good, _) = take(&http).await;
    let (large, _) = take(&http).await;
    let (late, _) = take(&http).await;
    let body = json!({
        "complete": [
            {"lease_id": large, "result": "x".repeat(70_000)},
            {"lease_id": good},
            {"lease_id": "bogus"},
        ],
        "fail": [{"lease_id": late, "delay_ms": 1_000_000_000_000_u64}],
    });
    let items = http.post("/v1/leases/settle", &body).await.ok()["items"].take();
    let told: Vec<(&str, bool, Value)> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let lease = item["lease_id"].as_str().unwrap();
            (
                lease,
                item["settled"] == true,
                item["error"]["code"].clone(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (&*large, false, json!("too_large")),
            (&*good, true, json!(null)),
            ("bogus", false, json!("invalid_argument")),
            (&*late, false, json!("invalid_argument")),
        ]
    );
    let alone = json!({"release": [{"lease_id": "bogus"}]});
    let alone = http.post("/v1/leases/settle", &alone).await.ok();
    assert_eq!(alone["items"][0]["settled"], false);
}

/// Proves that a stop answers long-polls at once and loses nothing.
#[tokio::test]
async fn a_drain_answers_long_polls() {
    let container = Container::start(false).await;
    let http = container.http();
    let ask = json!({ "worker": "w", "wait_ms": 60_000 });
    let asking = async { http.post("/v1/queues/q/leases", &ask).await };
    let backend = container.backend();
    let stopping = async {
        let waits = async {
            while backend.parked() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waits = tokio::time::timeout(Duration::from_secs(20), waits).await;
        waits.expect("the request arrives");
        container.shutdown.order();
    };
    let begun = Instant::now();
    let (answer, ()) = tokio::join!(asking, stopping);
    assert_eq!(answer.ok()["leases"], json!([]));
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "it did not wait for its minute"
    );
    container.ended.await.unwrap();
}
