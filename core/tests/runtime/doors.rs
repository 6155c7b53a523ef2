//! Who gets in, and how much anybody may hold.

use crate::harness::*;
use quorate_core::runtime::Exit;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_on_loopback() {
    // Proves: on loopback a foreign Host and any Origin get 403 on the API and on ops, nothing allows
    // another origin, and localhost gets in without a token.
    let running = launch_ready(settings(&[])).await;
    for address in [running.api, running.ops] {
        for headers in [
            "Host: evil.example\r\n",
            "Host: localhost\r\nOrigin: http://evil.example\r\n",
        ] {
            let path = if address == running.api {
                "/whoami"
            } else {
                "/metrics"
            };
            let answer = ask(address, "GET", path, headers, b"").await;
            assert_eq!(answer.status, 403, "{headers}");
            answer.problem("forbidden");
        }
    }
    let preflight =
        "Host: localhost\r\nOrigin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n";
    let answer = ask(running.api, "OPTIONS", "/echo", preflight, b"").await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    ask(running.api, "POST", "/echo", form, b"priority=1")
        .await
        .problem("unsupported_media_type");
    assert_eq!(get_from(running.api, "/whoami").await.body, "anonymous");
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn a_token_is_asked_for_and_may_be_rotated_while_running() {
    // Proves: with a token file every route needs a token, REST and gRPC alike; the principal names the
    // token without telling it; a changed file is taken up without a restart; ops needs none.
    let file = tempfile::NamedTempFile::new().unwrap();
    let (old, new) = ("a".repeat(40), "b".repeat(40));
    std::fs::write(file.path(), &old).unwrap();
    let running = launch_ready(settings(&[(
        "QUORATE_TOKEN_FILE",
        file.path().to_str().unwrap(),
    )]))
    .await;
    for path in ["/whoami", "/v1/info", "/v1/wait", "/no/such", "/healthz"] {
        let answer = get_from(running.api, path).await;
        assert_eq!(answer.status, 401, "{path}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        answer.problem("unauthenticated");
    }
    let grpc = "Content-Type: application/grpc\r\n";
    let refused = ask(running.api, "POST", "/quorate.test.v1.Test/Any", grpc, b"").await;
    assert_eq!(
        (refused.status, refused.header("grpc-status")),
        (200, Some("16"))
    );
    assert_eq!(get_from(running.ops, "/readyz").await.status, 200);

    let whoami = async |token: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n");
        ask(running.api, "GET", "/whoami", &headers, b"").await
    };
    let who = whoami(&old).await.body;
    assert!(
        who.starts_with("token:") && !who.contains("aaaaaaaa"),
        "{who}"
    );
    assert_eq!(whoami(&new).await.status, 401);
    std::fs::write(file.path(), &new).unwrap();
    while whoami(&new).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(whoami(&old).await.status, 401);
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn a_body_over_the_bound_is_refused_however_it_comes() {
    // Proves: 413 for an announced and for an unannounced length, as a problem that the client gets to
    // read; the bound itself is still taken.
    let running = launch_ready(settings(&[])).await;
    let bound = 4 << 20;
    assert_eq!(
        ask(running.api, "PUT", "/raw", "", &vec![b'x'; bound])
            .await
            .body,
        bound.to_string()
    );
    let announced = ask(running.api, "PUT", "/raw", "", &vec![b'x'; bound + 1]).await;
    assert_eq!(announced.status, 413);
    announced.problem("too_large");

    let mut chunked = b"PUT /raw HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
    for _ in 0..=64 {
        chunked.extend_from_slice(b"10000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x10000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    send(running.api, &chunked).await.problem("too_large");

    let polite = format!(
        "Expect: 100-continue\r\nContent-Length: {}\r\n",
        1_u64 << 40
    );
    let polite =
        format!("PUT /raw HTTP/1.1\r\nHost: localhost\r\n{polite}Connection: close\r\n\r\n");
    send(running.api, polite.as_bytes())
        .await
        .problem("too_large");
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn slow_and_silent_connections_are_closed() {
    // Proves: a connection that sends nothing, half a header or half the preface of HTTP/2 is closed
    // after the time for the first request, and holds nobody else up.
    let running = launch_ready(settings(&[])).await;
    let mut slow = Vec::new();
    for beginning in [
        "",
        "P",
        "PRI * HTTP/2.0",
        "GET /whoami HTTP/1.1\r\nHost: local",
    ] {
        let mut stream = TcpStream::connect(running.api).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        slow.push((beginning, stream));
    }
    assert_eq!(get_from(running.api, "/whoami").await.status, 200);
    for (beginning, mut stream) in slow {
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(HANG, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "{beginning:?} was not closed");
        assert!(rest.is_empty(), "{beginning:?} was answered");
    }
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_their_turn() {
    // Proves: max_connections bounds what is open; the next one is answered when one has ended.
    let running = launch_ready(settings(&[("QUORATE_MAX_CONNECTIONS", "2")])).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(running.api).await.unwrap();
        stream
            .write_all(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        held.push(stream);
    }
    let api = running.api;
    let mut waiting = tokio::spawn(async move { get_from(api, "/whoami").await });
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "the third connection was served");
    held.pop();
    assert_eq!(waiting.await.unwrap().status, 200);
    drop(held);
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn http2_is_spoken_on_the_same_port_with_bounded_streams() {
    // Proves: h2c with prior knowledge works, and the settings frame announces at most 100 streams.
    let running = launch_ready(settings(&[])).await;
    let mut stream = TcpStream::connect(running.api).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let length = usize::from(head[1]) << 8 | usize::from(head[2]);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let streams = body
        .chunks(6)
        .find(|setting| setting[..2] == [0, 3])
        .expect("MAX_CONCURRENT_STREAMS");
    assert_eq!(u32::from_be_bytes(streams[2..].try_into().unwrap()), 100);
    drop(stream);
    assert_eq!(running.end().await, Exit::Ok);
}
