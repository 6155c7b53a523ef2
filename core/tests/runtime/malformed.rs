//! What bad input gets: its code, a text that says what to do, and never a dead server.

use crate::harness::*;
use quorate_core::runtime::Exit;

/// Method, path, headers, body; status, code, a part of the detail.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str, &'a str);

#[tokio::test]
async fn every_malformed_request_gets_its_code_and_the_server_lives_on() {
    // Proves: the matrix below, each row a request and the code it gets, with a hint in the detail.
    let running = launch_ready(settings(&[])).await;
    let deep = format!(
        "{{\"priority\":{}1{}}}",
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    let long_name = format!("/queues/{}", "x".repeat(129));
    let rows: &[Row<'_>] = &[
        ("POST", "/echo", JSON, b"", 400, "invalid_argument", "empty"),
        (
            "POST",
            "/echo",
            JSON,
            b"{",
            400,
            "invalid_argument",
            "not JSON",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"\xff\xfe",
            400,
            "invalid_argument",
            "not JSON",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":1} x",
            400,
            "invalid_argument",
            "not JSON",
        ),
        (
            "POST",
            "/echo",
            JSON,
            deep.as_bytes(),
            400,
            "invalid_argument",
            "priority",
        ),
        ("POST", "/echo", JSON, b"[]", 400, "invalid_argument", ""),
        (
            "POST",
            "/echo",
            JSON,
            b"{}",
            400,
            "invalid_argument",
            "priority",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":\"high\"}",
            400,
            "invalid_argument",
            "priority: ",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":-1}",
            400,
            "invalid_argument",
            "priority: ",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":256}",
            400,
            "invalid_argument",
            "priority: ",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":1.5}",
            400,
            "invalid_argument",
            "priority: ",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":1,\"colour\":1}",
            400,
            "invalid_argument",
            "colour",
        ),
        (
            "POST",
            "/echo",
            JSON,
            b"{\"priority\":1,\"priority\":1}",
            400,
            "invalid_argument",
            "duplicate",
        ),
        (
            "POST",
            "/echo",
            "",
            b"{\"priority\":1}",
            415,
            "unsupported_media_type",
            "application/json",
        ),
        (
            "POST",
            "/echo",
            "Content-Type: text/plain\r\n",
            b"{\"priority\":1}",
            415,
            "unsupported_media_type",
            "application/json",
        ),
        (
            "POST",
            "/echo",
            "Content-Type: application/json\r\nContent-Encoding: gzip\r\n",
            b"x",
            415,
            "unsupported_media_type",
            "Content-Encoding",
        ),
        (
            "GET",
            "/list?limit=x",
            "",
            b"",
            400,
            "invalid_argument",
            "limit",
        ),
        (
            "GET",
            "/list?limit=-1",
            "",
            b"",
            400,
            "invalid_argument",
            "limit",
        ),
        (
            "GET",
            "/list?colour=1",
            "",
            b"",
            400,
            "invalid_argument",
            "colour",
        ),
        (
            "GET",
            "/list?limit=1&limit=2",
            "",
            b"",
            400,
            "invalid_argument",
            "limit",
        ),
        (
            "GET",
            "/v1/wait?timeout_ms=-5",
            "",
            b"",
            400,
            "invalid_argument",
            "timeout_ms",
        ),
        (
            "GET",
            "/v1/wait?timeout_ms=99999999",
            "",
            b"",
            400,
            "invalid_argument",
            "timeout_ms",
        ),
        (
            "GET",
            "/v1/wait?timeout=5",
            "",
            b"",
            400,
            "invalid_argument",
            "timeout_ms",
        ),
        (
            "GET",
            "/queues/Upper",
            "",
            b"",
            400,
            "invalid_argument",
            "a-z",
        ),
        (
            "GET",
            "/queues/_ours",
            "",
            b"",
            400,
            "invalid_argument",
            "reserved",
        ),
        (
            "GET",
            "/queues/a%2Fb",
            "",
            b"",
            400,
            "invalid_argument",
            "a-z",
        ),
        ("GET", "/queues/%ff", "", b"", 400, "invalid_argument", ""),
        ("GET", &long_name, "", b"", 400, "invalid_argument", "128"),
        (
            "GET",
            "/no/such/route",
            "",
            b"",
            404,
            "not_found",
            "/openapi.json",
        ),
        ("GET", "//echo", "", b"", 404, "not_found", ""),
        ("GET", "/echo/../whoami", "", b"", 404, "not_found", ""),
        ("DELETE", "/echo", "", b"", 405, "invalid_argument", "Allow"),
        ("BREW", "/echo", "", b"", 405, "invalid_argument", "BREW"),
        ("GET", "/refuse", "", b"", 429, "over_quota", "wait"),
    ];
    for (method, path, headers, body, status, code, hint) in rows {
        let answer = ask(running.api, method, path, headers, body).await;
        assert_eq!(
            answer.status,
            *status,
            "{method} {path} {:?}: {answer:?}",
            &body[..body.len().min(60)]
        );
        let detail = answer.problem(code);
        assert!(
            !detail.is_empty() && detail.contains(hint),
            "{method} {path}: {detail}"
        );
    }
    let allowed = ask(running.api, "DELETE", "/echo", "", b"").await;
    assert_eq!(allowed.header("allow"), Some("POST"));
    assert_eq!(
        get_from(running.api, "/refuse").await.header("retry-after"),
        Some("2")
    );
    assert_eq!(
        ask(running.api, "POST", "/echo", JSON, br#"{"priority":1}"#)
            .await
            .status,
        200
    );
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn what_is_not_http_is_refused_without_a_word_of_the_service() {
    // Proves: heads that hyper refuses get 4xx or a closed connection; the server lives on.
    let running = launch_ready(settings(&[])).await;
    let many: String = (0..101).map(|n| format!("X-{n}: 1\r\n")).collect();
    let large = format!("X-Large: {}\r\n", "x".repeat(17 * 1024));
    let rows: [(&[u8], &[u16]); 8] = [
        (b"\0\x01\x02\x03\r\n\r\n", &[0, 400]),
        (b"GET\r\n\r\n", &[0, 400]),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", &[0, 400]),
        (b"GET /whoami HTTP/1.1\r\nHost localhost\r\n\r\n", &[0, 400]),
        (b"PUT /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", &[0, 400]),
        (b"PUT /raw HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", &[0, 400]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[0, 400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, really not", &[0]),
    ];
    for (bytes, statuses) in rows {
        let answer = send(running.api, bytes).await;
        assert!(
            statuses.contains(&answer.status),
            "{:?}: {answer:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(
        ask(running.api, "GET", "/whoami", &many, b"").await.status,
        431
    );
    // With bytes left unread the system may reset the connection before the 431 is taken.
    let answer = ask(running.api, "GET", "/whoami", &large, b"").await;
    assert!(matches!(answer.status, 0 | 431), "{answer:?}");
    assert_eq!(get_from(running.api, "/whoami").await.status, 200);
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_taken_for_a_whole_one() {
    // Proves: a handler never sees a part of a body as if it were all of it.
    let running = launch_ready(settings(&[])).await;
    let head = "PUT /raw HTTP/1.1\r\nHost: localhost\r\n";
    for rest in [
        "Content-Length: 10\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    ] {
        let mut stream = tokio::net::TcpStream::connect(running.api).await.unwrap();
        use tokio::io::AsyncWriteExt as _;
        stream
            .write_all(format!("{head}{rest}").as_bytes())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
        let answer = read(stream).await;
        assert_ne!(answer.status, 200, "{rest:?}: {answer:?}");
    }
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    // Proves: where panics unwind, a handler's panic is a 500 problem with no word of its text, and the
    // connection after it is served. (Release builds abort instead, by design.)
    let running = launch_ready(settings(&[])).await;
    let answer = get_from(running.api, "/panic").await;
    assert_eq!(answer.status, 500);
    assert!(!answer.problem("internal").contains("on purpose"));
    assert_eq!(get_from(running.api, "/whoami").await.status, 200);
    assert_eq!(running.end().await, Exit::Ok);
}

#[tokio::test]
async fn unknown_methods_of_grpc_are_refused_in_grpc() {
    // Proves: a gRPC client never gets a JSON problem, and errors carry their code as reason.
    let running = launch_ready(settings(&[])).await;
    let grpc = "Content-Type: application/grpc\r\n";
    let unknown = ask(running.api, "POST", "/quorate.no.v1.Such/Method", grpc, b"").await;
    assert_eq!(
        (unknown.status, unknown.header("grpc-status")),
        (200, Some("12"))
    );
    let refused = ask(
        running.api,
        "POST",
        "/quorate.test.v1.Test/Settle",
        grpc,
        b"",
    )
    .await;
    assert_eq!(refused.header("grpc-status"), Some("9"));
    assert!(refused.header("grpc-status-details-bin").is_some());
    assert_eq!(running.end().await, Exit::Ok);
}
