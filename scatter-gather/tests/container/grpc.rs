//! gRPC: asking a root, leaves and mergers that speak it, and the gate in front of one.

use crate::scatter::over;
use crate::support::{Container, Leaf as Plain, PATIENCE, json, ok};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use quorate_core::error::{Code, Error};
use quorate_proto::scatter as pb;
use quorate_proto::scatter::leaf_client::LeafClient;
use quorate_proto::scatter::merge_client::MergeClient;
use quorate_proto::scatter::scatter_client::ScatterClient;
use quorate_scatter_gather::application::{leaf_router, merge_router};
use quorate_scatter_gather::merge::{Bounds, MergeSpec};
use quorate_scatter_gather::pool::{Admission, AdmissionCaps, Call, Hosts, LeafUrl, Protocol};
use quorate_scatter_gather::scatter::{Leaf, LeafAnswer, LeafError, LeafRequest, leaf_fn};
use quorate_scatter_gather::server;
use serde_json::{Value, json as value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

async fn leaf<F, A>(answer: F) -> String
where
    F: Fn(LeafRequest) -> A + Send + Sync + 'static,
    A: Future<Output = Result<LeafAnswer, LeafError>> + Send + 'static,
{
    serve(leaf_router(leaf_fn(answer)).unwrap()).await
}

async fn channel(url: &str) -> Channel {
    let endpoint = Endpoint::from_shared(url.to_owned()).unwrap();
    endpoint.connect().await.unwrap()
}

async fn client(root: &Container) -> ScatterClient<Channel> {
    ScatterClient::new(channel(&root.url("")).await)
}

fn question(fanout: &str, body: &str) -> pb::QueryRequest {
    pb::QueryRequest {
        fanout: fanout.to_owned(),
        body: body.to_owned().into(),
        content_type: "application/json".to_owned(),
        ..pb::QueryRequest::default()
    }
}

fn grpc(replicas: &[&[&str]], merge: &Value) -> Value {
    let shards = replicas.iter().enumerate();
    let shards = shards.map(|(i, replicas)| value!({"id": i.to_string(), "replicas": replicas}));
    value!({
        "shards": shards.collect::<Vec<_>>(), "merge": merge, "leaves": "grpc", "timeout_ms": 20_000
    })
}

fn line(account: &pb::Account, shard: usize) -> (&str, &str) {
    let line = &account.lines[shard];
    (&line.outcome, &line.reason)
}

/// Proves that a root answers over gRPC as over REST, with its account, whole and in pieces.
#[tokio::test(flavor = "multi_thread")]
async fn a_root_is_asked() {
    let root = Container::root().await;
    let east = Plain::start(json(&value!({"value": 1}))).await;
    let west = Plain::start(json(&value!({"value": 41}))).await;
    let mut definition = over(&[&east, &west], &value!({"sum": {"pointer": "/value"}}));
    definition["shards"][0]["range"] = value!(["", "m"]);
    definition["shards"][1]["range"] = value!(["m", ""]);
    root.define("add", &definition).await;
    let mut client = client(&root).await;
    let mut asked = question("add", "{}");
    asked.explain = true;
    let answer = client.query(asked).await.unwrap().into_inner();
    assert_eq!(answer.result, r#"{"value":42}"#);
    assert_eq!(answer.content_type, "application/json");
    let account = answer.account.unwrap();
    assert!(account.complete);
    assert_eq!(account.map.as_ref().unwrap().version, 1);
    assert_eq!(account.shards.unwrap().merged, 2);
    assert_eq!(line(&account, 1), ("merged", ""));
    assert_eq!(account.lines[1].replica, west.url());
    assert_eq!(account.covered[0].shards, ["0", "1"]);
    assert_eq!(account.explanation.unwrap().attempts.len(), 2);
    for (keys, range, sum) in [
        (vec!["a"], None, 1),
        (vec!["a", "b", "z"], None, 42),
        (vec![], Some(("n", "")), 41),
    ] {
        let asked = pb::QueryRequest {
            keys: keys.into_iter().map(str::to_owned).collect(),
            range: range.map(|(from, to)| pb::KeyRange {
                from: from.to_owned(),
                to: to.to_owned(),
            }),
            ..question("add", "{}")
        };
        let answer = client.query(asked).await.unwrap().into_inner();
        assert_eq!(answer.result, format!("{{\"value\":{sum}}}"));
    }
    // A result larger than a message of gRPC usually is.
    let long = "x".repeat(3 << 20);
    let texts = [
        Plain::start(ok("text/plain", &long)).await,
        Plain::start(ok("text/plain", &long)).await,
    ];
    root.define("text", &over(&[&texts[0], &texts[1]], &value!("concat")))
        .await;
    let mut stream = client
        .query_stream(question("text", ""))
        .await
        .unwrap()
        .into_inner();
    let (mut bytes, mut closing) = (0, None);
    while let Some(part) = stream.message().await.unwrap() {
        assert!(closing.is_none(), "the account comes last");
        match part.part.unwrap() {
            pb::answer_part::Part::Result(piece) => bytes += piece.len(),
            pb::answer_part::Part::Closing(closed) => closing = Some(closed),
        }
    }
    assert_eq!(bytes, 2 * long.len());
    let closing = closing.unwrap();
    assert_eq!(closing.content_type, "text/plain");
    assert!(closing.account.unwrap().complete);
}

/// Proves that a dead shard makes the answer partial, or no answer, and that gRPC says which shard.
#[tokio::test(flavor = "multi_thread")]
async fn partial_and_none() {
    let root = Container::root().await;
    let good = Plain::start(json(&value!({"value": 1}))).await;
    let dead = Plain::start(json(&value!({"value": 2}))).await;
    dead.kill();
    let mut definition = over(&[&good, &dead], &value!({"sum": {"pointer": "/value"}}));
    root.define("all", &definition).await;
    definition["policy"] = value!("deadline");
    root.define("some", &definition).await;
    let mut client = client(&root).await;
    let answer = client
        .query(question("some", ""))
        .await
        .unwrap()
        .into_inner();
    let account = answer.account.unwrap();
    assert!(!account.complete);
    assert_eq!(line(&account, 1), ("failed", "connect"));
    assert!(account.explanation.is_none());
    let status = client.query(question("all", "")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let error = Error::from_status(&status);
    assert_eq!(error.code, Code::InsufficientShards);
    assert!(error.detail.contains("shard 1: connect"), "{error}");
}

/// Proves that requests which make no sense are refused with the code of the API and a text, before
/// anything is sent.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests() {
    let root = Container::root().await;
    let leaf = Plain::start(json(&value!({"value": 1}))).await;
    let mut definition = over(&[&leaf], &value!({"sum": {"pointer": "/value"}}));
    definition["limits"] = value!({"body_bytes": 100});
    root.define("add", &definition).await;
    let mut client = client(&root).await;
    let range = pb::KeyRange {
        from: "a".to_owned(),
        to: "b".to_owned(),
    };
    let with = |edit: &dyn Fn(&mut pb::QueryRequest)| {
        let mut asked = question("add", "{}");
        edit(&mut asked);
        Request::new(asked)
    };
    let timeout = |text: &'static str| {
        let mut request = with(&|_| {});
        request
            .metadata_mut()
            .insert("grpc-timeout", text.parse().unwrap());
        request
    };
    for (request, code) in [
        (
            with(&|asked| asked.fanout = "none".to_owned()),
            Code::NotFound,
        ),
        (
            with(&|asked| asked.fanout = "A B".to_owned()),
            Code::InvalidArgument,
        ),
        (with(&|asked| asked.fanout.clear()), Code::InvalidArgument),
        (
            with(&|asked| asked.body = vec![0; 101].into()),
            Code::TooLarge,
        ),
        (
            with(&|asked| asked.content_type = "a\nb".to_owned()),
            Code::InvalidArgument,
        ),
        (
            with(&|asked| asked.range = Some(range.clone())),
            Code::InvalidArgument,
        ),
        (
            with(&|asked| {
                asked.range = Some(range.clone());
                asked.keys = vec!["a".to_owned()];
            }),
            Code::InvalidArgument,
        ),
        (
            with(&|asked| asked.keys = vec![String::new(); 257]),
            Code::InvalidArgument,
        ),
        (timeout("soon"), Code::InvalidArgument),
    ] {
        let told = format!("{request:?}");
        let error = Error::from_status(&client.query(request).await.unwrap_err());
        assert_eq!(error.code, code, "{told}: {error}");
        assert!(error.detail.len() > 10, "{told}: {error}");
    }
    assert_eq!(leaf.calls(), 0);
}

/// Proves that leaves of gRPC are told what they are asked and for how long, and that what they answer
/// is merged, in one part or many.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_speak_grpc() {
    let root = Container::root().await;
    let echo = leaf(|request| async move {
        let told = request.remaining.unwrap();
        assert!(told <= Duration::from_secs(15), "{told:?}");
        assert_eq!(request.headers["traceparent"], "00-1-2-01");
        let said = value!({"hits": [{
            "shard": request.shard.as_deref(), "range": request.range, "path": request.path.as_str(),
            "method": request.method.as_str(), "body": String::from_utf8_lossy(&request.body),
            "type": request.headers["content-type"].to_str().unwrap(), "low": request.low_priority,
        }], "fill": "x".repeat(3 << 20)});
        Ok(LeafAnswer::json(said.to_string()))
    })
    .await;
    let merge = value!({"concat": {"pointer": "/hits"}});
    let mut definition = grpc(&[&[&echo], &[&echo]], &merge);
    definition["shards"][0]["range"] = value!(["", "m"]);
    definition["shards"][1]["range"] = value!(["m", ""]);
    definition["routes"] = value!([{"path": "/search"}]);
    root.define("echo", &definition).await;
    let mut request = Request::new(question("echo", "{\"q\":1}"));
    // Less than the fan-out's own.
    request.set_timeout(Duration::from_secs(15));
    request
        .metadata_mut()
        .insert("traceparent", "00-1-2-01".parse().unwrap());
    let answer = client(&root)
        .await
        .query(request)
        .await
        .unwrap()
        .into_inner();
    let hits: Value = serde_json::from_slice(&answer.result).unwrap();
    assert_eq!(
        hits["hits"][1],
        value!({"shard": "1", "range": ["m", ""], "path": "/", "method": "POST", "body": "{\"q\":1}",
            "type": "application/json", "low": false})
    );
    // By a route, and over HTTP, the same leaf is told the client's path.
    let headers = [
        ("traceparent", "00-1-2-01"),
        ("content-type", "text/plain"),
        ("quorate-deadline-ms", "5000"),
    ];
    let address = root.address;
    let routed = crate::support::request(address, "PUT", "/search?q=2", &headers, "b").await;
    let hit = &routed.json()["hits"][0];
    assert_eq!(
        (&hit["path"], &hit["method"], &hit["type"]),
        (
            &value!("/search?q=2"),
            &value!("PUT"),
            &value!("text/plain")
        )
    );
    let mut plain = definition.clone();
    plain["leaves"] = value!("http");
    plain["routes"] = value!([{"path": "/plain"}]);
    root.define("plain", &plain).await;
    let routed = crate::support::request(address, "GET", "/plain?q=3", &headers, "").await;
    let hit = &routed.json()["hits"][0];
    assert_eq!(
        (&hit["path"], &hit["shard"]),
        (&value!("/plain?q=3"), &Value::Null)
    );
}

/// Proves that each way in which a leaf of gRPC fails has its reason; that a refused request is not asked
/// of another replica and is held against none; and that a leaf which is something else is called that.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_that_fail() {
    let root = Container::root().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let failing = |error: LeafError| {
        let calls = Arc::clone(&calls);
        move |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            let error = error.clone();
            async move { Err(error) }
        }
    };
    let good = leaf(|_| async { Ok(LeafAnswer::json(r#"{"value":1}"#)) }).await;
    let partial = leaf(|_| async {
        Ok(LeafAnswer {
            partial: true,
            ..LeafAnswer::json(r#"{"value":2}"#)
        })
    })
    .await;
    let refused = leaf(failing(LeafError::Refused("no such field".to_owned()))).await;
    let again = leaf(failing(LeafError::Refused("no such field".to_owned()))).await;
    let broken = leaf(failing(LeafError::Failed("disk".to_owned()))).await;
    let busy = leaf(failing(LeafError::Busy)).await;
    let panics = leaf(|_| async { panic!("planned") }).await;
    let huge = leaf(|_| async { Ok(LeafAnswer::json("1".repeat(2_000))) }).await;
    let foreign = serve(axum::Router::new().fallback(|| async { "hello" })).await;
    let shards: [&[&str]; 8] = [
        &[&good],
        &[&partial],
        &[&refused, &again],
        &[&broken],
        &[&busy],
        &[&panics],
        &[&huge],
        &[&foreign],
    ];
    let mut definition = grpc(&shards, &value!({"sum": {"pointer": "/value"}}));
    definition["policy"] = value!("deadline");
    definition["limits"] = value!({"reply_bytes": 1_000});
    root.define("mixed", &definition).await;
    let mut client = client(&root).await;
    for _ in 0..6 {
        let answer = client
            .query(question("mixed", ""))
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.result, r#"{"value":3}"#);
        let account = answer.account.unwrap();
        assert!(!account.complete && account.lines[1].partial);
        let found: Vec<_> = (0..8).map(|shard| line(&account, shard)).collect();
        assert_eq!(
            found,
            [
                ("merged", ""),
                ("merged", ""),
                ("failed", "status"),
                ("failed", "status"),
                ("failed", "pushback"),
                ("failed", "status"),
                ("failed", "too_large"),
                ("failed", "content_type"),
            ]
        );
        assert_eq!(account.lines[2].attempts, 1);
        assert!(
            account.lines[2].detail.contains("no such field"),
            "{account:?}"
        );
    }
    let targets = root.get("/v1/fanouts/mixed/targets").await.json();
    for replica in targets["shards"][2]["replicas"].as_array().unwrap() {
        assert_eq!(replica["failures_in_a_row"], 0, "{targets}");
    }
    // Definitions that gRPC cannot have.
    for (field, bad) in [
        ("protocol", value!("http1")),
        (
            "shards",
            value!([{"id": "0", "replicas": ["http://127.0.0.1:1/path"]}]),
        ),
        ("merge", value!({"grpc": "http://127.0.0.1:1/merge"})),
    ] {
        let mut bad_definition = grpc(&[&[&good]], &value!("concat"));
        bad_definition[field] = bad;
        let response = root.put("/v1/fanouts/bad", &bad_definition).await;
        assert_eq!(response.status, 400, "{}", response.text());
        assert!(response.text().contains(field), "{}", response.text());
    }
}

/// Hangs, and says when it is given up.
struct Hung(Arc<Notify>);

#[tonic::async_trait]
impl Leaf for Hung {
    async fn answer(&self, _: LeafRequest) -> Result<LeafAnswer, LeafError> {
        struct Tell(Arc<Notify>);
        impl Drop for Tell {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let _tell = Tell(Arc::clone(&self.0));
        std::future::pending().await
    }
}

/// Proves that a leaf which lost is told so while its request still has time: its future is dropped.
#[tokio::test(flavor = "multi_thread")]
async fn losers_are_cancelled() {
    let root = Container::root().await;
    let given_up = Arc::new(Notify::new());
    let hung = serve(leaf_router(Arc::new(Hung(Arc::clone(&given_up)))).unwrap()).await;
    let low = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&low);
    let good = leaf(move |request| {
        counted.fetch_add(usize::from(request.low_priority), Ordering::SeqCst);
        async { Ok(LeafAnswer::json(r#"{"value":1}"#)) }
    })
    .await;
    let mut definition = grpc(&[&[&hung, &good]], &value!({"sum": {"pointer": "/value"}}));
    definition["hedge"] = value!({"delay_ms": 5, "budget": 1.0, "late_together_max": 1.0});
    definition["timeout_ms"] = value!(3_600_000);
    root.define("race", &definition).await;
    let mut client = client(&root).await;
    let race = async {
        // The first of two calls, or one of a few, goes to the one that hangs.
        while low.load(Ordering::SeqCst) == 0 {
            let answer = client
                .query(question("race", ""))
                .await
                .unwrap()
                .into_inner();
            assert!(answer.account.unwrap().complete);
        }
        given_up.notified().await;
    };
    tokio::time::timeout(PATIENCE, race).await.unwrap();
}

/// Proves that a merge container over gRPC and one over HTTP get whole answers and give the same, that
/// long answers come in pieces, and that nonsense is refused.
#[tokio::test(flavor = "multi_thread")]
async fn merge_containers() {
    let root = Container::root().await;
    let merger = || MergeSpec::sum("/value").unwrap().merger().unwrap();
    let merge = serve(merge_router(merger(), Bounds::default()).unwrap()).await;
    let fill = "x".repeat(3 << 20);
    let leaves = [
        Plain::start(json(&value!({"value": 1, "fill": fill}))).await,
        Plain::start(json(&value!({"value": 41}))).await,
    ];
    let leaves: Vec<&Plain> = leaves.iter().collect();
    for (name, merge) in [
        ("grpc", value!({"grpc": merge})),
        ("http", value!({"http": format!("{merge}/merge")})),
    ] {
        root.define(name, &over(&leaves, &merge)).await;
        let response = root.query(name, &[], "").await;
        assert_eq!(
            (response.status, response.text()),
            (200, r#"{"value":42}"#),
            "{name}"
        );
        assert_eq!(response.header("content-type"), "application/json");
    }
    let shown = root.get("/v1/fanouts/grpc").await.json();
    assert_eq!(shown["definition"]["merge"], value!({"grpc": merge}));
    let piece = |index, more| pb::MergePiece {
        shard: "0".to_owned(),
        index,
        status: 200,
        body: "{\"value\":1}".into(),
        more,
        ..pb::MergePiece::default()
    };
    let mut client = MergeClient::new(channel(&merge).await);
    for bad in [
        vec![piece(0, true)],
        vec![piece(0, true), piece(1, false)],
        vec![pb::MergePiece {
            body: "{".into(),
            ..piece(0, false)
        }],
        vec![pb::MergePiece {
            status: 70_000,
            ..piece(0, false)
        }],
    ] {
        let status = client.merge(futures::stream::iter(bad)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status}");
    }
    let address = merge.strip_prefix("http://").unwrap().parse().unwrap();
    for bad in [
        "x",
        "{}",
        r#"{"shard":"0","status":200}"#,
        r#"{"shard":"0","status":200,"body_base64":"%"}"#,
    ] {
        let response = crate::support::request(address, "POST", "/merge", &[], bad).await;
        assert_eq!(response.status, 400, "{bad}: {}", response.text());
        assert!(response.text().contains("line 1"), "{}", response.text());
    }
}

/// Proves that a gate passes gRPC on whole, trailers included, and refuses in its language.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_passes_grpc() {
    let leaf = leaf(|request| async move {
        match request.body.len() {
            0 => Err(LeafError::Refused("empty".to_owned())),
            _ => Ok(LeafAnswer::json(format!(
                "{:?}",
                request.remaining.is_some()
            ))),
        }
    })
    .await;
    let variables = [("QUORATE_UPSTREAM", leaf.as_str())];
    let gate = Container::run("sidecar", &variables, server::gate).await;
    let mut client = LeafClient::new(channel(&gate.url("")).await);
    let mut request = Request::new(pb::LeafRequest {
        body: "x".into(),
        ..pb::LeafRequest::default()
    });
    request.set_timeout(PATIENCE);
    let mut parts = client.answer(request).await.unwrap().into_inner();
    assert_eq!(parts.message().await.unwrap().unwrap().body, "true");
    assert!(parts.message().await.unwrap().is_none());
    let refused = client.answer(pb::LeafRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("empty"), "{refused}");
    // The client of gRPC would give up by itself before anybody is asked.
    let gate = LeafUrl::parse(&gate.url("")).unwrap();
    let hosts = Hosts::new(Admission::new(AdmissionCaps::default()));
    let path = "/quorate.scatter.v1.Leaf/Answer".parse().unwrap();
    let headers = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "0n"),
    ];
    let headers = headers.map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    });
    let late = Call {
        headers: Arc::new(HeaderMap::from_iter(headers)),
        body: [0; 5].to_vec().into(),
        ..Call::new(Method::POST, path, 1_000)
    };
    let late = hosts
        .host(&gate, Protocol::Http2)
        .call(&late)
        .await
        .unwrap();
    let status = &late.headers["grpc-status"];
    assert_eq!(status, "4", "its time passed: {late:?}");
}
