//! Leaves that misbehave on real sockets: each failure has its reason, what is merged is exact, and
//! nothing hangs or grows.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_scatter_gather::Scatter;
use quorate_scatter_gather::definition::{HedgeSpec, LimitsSpec, PolicyOptions, PolicySpec};
use quorate_scatter_gather::merge::MergeSpec;
use quorate_scatter_gather::pool::Protocol;
use quorate_scatter_gather::scatter::{Answer, Builder};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How a leaf answers each request.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// With this value.
    Good(u64),
    /// With this value, after so long.
    Late(u64, Duration),
    /// Closes at once, with a reset.
    Reset,
    /// Announces more than it sends.
    Truncated,
    /// Ends a chunked body without its last chunk.
    NoLastChunk,
    /// Sends a chunked body for ever.
    Endless,
    /// Announces a body over the limit.
    Oversized,
    /// Sends a byte now and then, for ever.
    Drip,
    /// Takes the request and says nothing.
    Hang,
    /// Closes its sending half after the head.
    HalfClosed,
    /// Answers with a page.
    Html,
    /// Answers JSON in which the number is missing.
    NoNumber,
    /// Answers something that is not HTTP.
    Noise,
    /// Too much to do.
    Busy,
    /// Sends the client elsewhere.
    Redirect,
}

async fn leaf(behaviour: Behaviour) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, behaviour));
        }
    });
    format!("http://{address}")
}

/// Reads one request, as far as its head: bodies are empty here.
async fn request(stream: &mut TcpStream) -> bool {
    let mut head = Vec::new();
    let mut byte = [0_u8; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

async fn json(stream: &mut TcpStream, text: &str) {
    answer(stream, "200 OK", "application/json", text).await;
}

async fn answer(stream: &mut TcpStream, status: &str, kind: &str, text: &str) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nlocation: http://169.254.169.254/\r\n\r\n",
        text.len()
    );
    let _ = stream.write_all(format!("{head}{text}").as_bytes()).await;
}

async fn serve(mut stream: TcpStream, behaviour: Behaviour) {
    let chunked =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let long = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"value\":1}";
    while request(&mut stream).await {
        match behaviour {
            Behaviour::Good(value) => json(&mut stream, &format!("{{\"value\":{value}}}")).await,
            Behaviour::Late(value, after) => {
                tokio::time::sleep(after).await;
                json(&mut stream, &format!("{{\"value\":{value}}}")).await;
            }
            Behaviour::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
            Behaviour::Truncated => {
                let _ = stream.write_all(long).await;
                return;
            }
            Behaviour::NoLastChunk => {
                let _ = stream.write_all(chunked).await;
                let _ = stream.write_all(b"b\r\n{\"value\":1}\r\n").await;
                return;
            }
            Behaviour::Endless => {
                let _ = stream.write_all(chunked).await;
                let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
            Behaviour::Oversized => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
                let _ = stream.write_all(head).await;
                hold(stream).await;
                return;
            }
            Behaviour::Drip => {
                let _ = stream.write_all(&long[..long.len() - 11]).await;
                while stream.write_all(b" ").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                return;
            }
            Behaviour::Hang => {
                hold(stream).await;
                return;
            }
            Behaviour::HalfClosed => {
                let _ = stream.write_all(&long[..long.len() - 11]).await;
                let _ = stream.shutdown().await;
                hold(stream).await;
                return;
            }
            Behaviour::Html => answer(&mut stream, "200 OK", "text/html", "<p>hello</p>").await,
            Behaviour::NoNumber => json(&mut stream, "{\"other\":1}").await,
            Behaviour::Noise => {
                let _ = stream
                    .write_all(b"\x00\x01\x02 no HTTP at all\r\n\r\n")
                    .await;
                return;
            }
            Behaviour::Busy => {
                answer(&mut stream, "503 Service Unavailable", "text/plain", "busy").await;
            }
            Behaviour::Redirect => answer(&mut stream, "302 Found", "text/plain", "").await,
        }
    }
}

/// Keeps a connection until the other side is gone.
async fn hold(mut stream: TcpStream) {
    let mut rest = [0_u8; 64];
    while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
}

fn scatter(builder: Builder) -> Scatter {
    builder
        .protocol(Protocol::Http1)
        .merge(MergeSpec::sum("/value").unwrap())
        .limits(LimitsSpec {
            reply_bytes: 100_000,
            ..LimitsSpec::default()
        })
        .build()
        .unwrap()
}

fn line<'a>(answer: &'a Answer, shard: &str) -> (&'a str, Option<&'a str>) {
    let line = answer
        .shards
        .iter()
        .find(|line| *line.shard == *shard)
        .unwrap();
    (&line.outcome, line.reason.as_deref())
}

/// Every way to misbehave has its fate and its reason; the good shards are in the sum, once.
#[tokio::test]
async fn each_fault_has_its_reason() {
    let faults = [
        ("reset", Behaviour::Reset, "failed", &["reset"][..]),
        ("truncated", Behaviour::Truncated, "failed", &["truncated"]),
        (
            "no-last-chunk",
            Behaviour::NoLastChunk,
            "failed",
            &["truncated"],
        ),
        ("endless", Behaviour::Endless, "failed", &["too_large"]),
        ("oversized", Behaviour::Oversized, "failed", &["too_large"]),
        ("drip", Behaviour::Drip, "timed_out", &["deadline"]),
        ("hang", Behaviour::Hang, "timed_out", &["deadline"]),
        (
            "half-closed",
            Behaviour::HalfClosed,
            "failed",
            &["truncated"],
        ),
        (
            "html",
            Behaviour::Html,
            "failed",
            &["content_type", "nonsense"],
        ),
        ("no-number", Behaviour::NoNumber, "failed", &["nonsense"]),
        ("noise", Behaviour::Noise, "failed", &["nonsense", "reset"]),
        ("busy", Behaviour::Busy, "failed", &["pushback"]),
        ("redirect", Behaviour::Redirect, "failed", &["status"]),
    ];
    let mut builder = Scatter::builder()
        .policy(PolicySpec::Deadline)
        // What the good ones have too, on a machine that may be busy.
        .timeout(Duration::from_secs(5))
        .shard("good", [leaf(Behaviour::Good(5)).await])
        .shard(
            "late",
            [leaf(Behaviour::Late(7, Duration::from_millis(100))).await],
        )
        // Nobody listens there.
        .shard("refused", ["http://127.0.0.1:1"]);
    for (name, behaviour, _, _) in faults {
        builder = builder.shard(name, [leaf(behaviour).await]);
    }
    let scatter = scatter(builder);
    let answer = scatter.query("").await.unwrap();
    assert!(!answer.complete);
    assert_eq!(answer.merged.body, r#"{"value":12}"#);
    assert_eq!(line(&answer, "good"), ("merged", None));
    assert_eq!(line(&answer, "late"), ("merged", None));
    assert_eq!(line(&answer, "refused"), ("failed", Some("connect")));
    for (name, _, fate, reasons) in faults {
        let (outcome, reason) = line(&answer, name);
        assert_eq!(outcome, fate, "{name}: {reason:?}");
        assert!(reasons.contains(&reason.unwrap()), "{name}: {reason:?}");
    }
    assert_eq!(scatter.targets().calls_in_flight, 0);
    assert_eq!(scatter.targets().bytes_in_flight, 0);
}

/// With a good replica beside each bad one, answers are complete and exact, whatever the fault: by
/// retry where the fault shows, by hedge where it does not.
#[tokio::test]
async fn a_good_replica_makes_up_for_any_fault() {
    for behaviour in [
        Behaviour::Reset,
        Behaviour::Truncated,
        Behaviour::NoLastChunk,
        Behaviour::Drip,
        Behaviour::Hang,
        Behaviour::HalfClosed,
        Behaviour::Html,
        Behaviour::Busy,
    ] {
        let mut builder = Scatter::builder()
            .timeout(Duration::from_secs(60))
            .hedge(HedgeSpec::delay_ms(30));
        for shard in 0..6_u64 {
            let replicas = if shard == 0 {
                vec![leaf(behaviour).await, leaf(Behaviour::Good(1)).await]
            } else {
                vec![leaf(Behaviour::Good(1 << shard)).await]
            };
            builder = builder.shard(shard.to_string(), replicas);
        }
        let scatter = scatter(builder);
        for _ in 0..5 {
            let answer = scatter.query("").await.unwrap();
            assert!(answer.complete, "{behaviour:?}");
            assert_eq!(answer.merged.body, r#"{"value":63}"#, "{behaviour:?}");
        }
    }
}

/// A quorum is met past hung leaves without waiting for them.
#[tokio::test]
async fn a_quorum_does_not_wait_for_the_hung() {
    let scatter = scatter(
        Scatter::builder()
            .timeout(Duration::from_secs(60))
            .policy(PolicySpec::Options(PolicyOptions {
                quorum: Some(2),
                ..PolicyOptions::default()
            }))
            .shard("a", [leaf(Behaviour::Good(1)).await])
            .shard("b", [leaf(Behaviour::Hang).await])
            .shard("c", [leaf(Behaviour::Good(4)).await]),
    );
    let answer = tokio::time::timeout(Duration::from_secs(30), scatter.query("")).await;
    let answer = answer.unwrap().unwrap();
    assert_eq!(answer.merged.body, r#"{"value":5}"#);
    assert_eq!(line(&answer, "b"), ("unneeded", Some("policy_met")));
}
