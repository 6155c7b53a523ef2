//! Proves what each proof of the application's life allows the sidecar, and that it hands over in order.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../container/mod.rs"]
mod container;
mod told;
mod unknown;

use container::Container;
use quorate_proto::election as pb;
use serde_json::{Value, json};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Nothing that is shown here may be explained by a lease that ran out.
const LONG_MS: &str = "3600000";
const PATIENCE: Duration = Duration::from_secs(60);

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An application that does nothing but live.
struct App(Child);

impl App {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The HTTP side of an application: a health URL and a drain hook.
#[derive(Clone, Default)]
struct Hooks {
    well: Arc<AtomicBool>,
    drained: Arc<AtomicU32>,
    last: Arc<Mutex<Option<Value>>>,
    /// It does not stop leading this election.
    hung: Option<&'static str>,
}

impl Hooks {
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let hooks = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let hooks = hooks.clone();
                tokio::spawn(async move { drop(hooks.answer(stream).await) });
            }
        });
        format!("http://{address}")
    }

    async fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        loop {
            let read = stream.read(&mut buffer).await?;
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let whole = match text.split_once("\r\n\r\n") {
                Some((_, body)) => text.starts_with("GET") || body.ends_with('}'),
                None => false,
            };
            if whole || read == 0 {
                break;
            }
        }
        let status = if text.starts_with("POST") {
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            let asked: Value = serde_json::from_str(body).unwrap();
            let stops = self.hung.is_none_or(|hung| asked["election"] != hung);
            *self.last.lock().unwrap() = Some(asked);
            self.drained.fetch_add(1, Ordering::SeqCst);
            if stops { "200 OK" } else { "503 Busy" }
        } else if self.well.load(Ordering::SeqCst) {
            "200 OK"
        } else {
            "500 Not Well"
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await
    }
}

async fn own(sidecar: &Container) -> Value {
    let answer = sidecar.http().get("/v1/elections/e").await;
    if answer.status == 200 {
        answer.json()
    } else {
        Value::Null
    }
}

async fn leads(sidecar: &Container) -> bool {
    let answer = own(sidecar).await;
    answer["self"] == "leader" && answer["valid_for_ms"].as_u64().unwrap_or(0) > 0
}

/// Another candidate, at the server itself.
async fn second(server: &Container) -> Value {
    let body = json!({"ttl_ms": 3_600_000});
    server
        .http()
        .put("/v1/elections/e/candidates/two", &body)
        .await
        .ok()
}

async fn leader(server: &Container) -> Value {
    server.http().get("/v1/elections/e").await.ok()["leader"]["id"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_exits_is_followed_at_once() {
    let server = Container::start().await;
    let mut app = App::start();
    let pid = app.pid();
    let sidecar = server
        .sidecar(&[
            ("QUORATE_ELECTION", "e"),
            ("QUORATE_CANDIDATE_ID", "app-1"),
            ("QUORATE_APP_PID", &pid),
            ("QUORATE_SESSION_TTL_MS", LONG_MS),
        ])
        .await;
    until("it leads", || leads(&sidecar)).await;
    let named = sidecar.http().get("/").await.ok();
    assert_eq!(named["name"], "app-1", "{named}");
    assert!(named["valid_for_ms"].as_u64().unwrap() > 0, "{named}");
    second(&server).await;
    assert_eq!(leader(&server).await, "app-1");
    app.kill();
    until("the next one leads", || async {
        leader(&server).await == "two"
    })
    .await;
    assert!(!leads(&sidecar).await);
    until("its own name is not told any more", || async {
        sidecar.http().get("/").await.ok()["name"] == "two"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_health_check_revokes_and_a_good_one_stands_again() {
    let server = Container::start().await;
    let hooks = Hooks::default();
    let url = hooks.serve().await;
    hooks.well.store(true, Ordering::SeqCst);
    let sidecar = server
        .sidecar(&[
            ("QUORATE_ELECTION", "e"),
            ("QUORATE_CANDIDATE_ID", "app-1"),
            ("QUORATE_APP_HEALTH_URL", &url),
            ("QUORATE_SESSION_TTL_MS", "2000"),
        ])
        .await;
    until("it leads", || leads(&sidecar)).await;
    let token = own(&sidecar).await["fencing_token"].as_u64().unwrap();
    hooks.well.store(false, Ordering::SeqCst);
    until("it leads no more", || async {
        let led = own(&sidecar).await;
        led["fencing_token"].as_u64() != Some(token) || led["phase"] == "revoking"
    })
    .await;
    assert!(!leads(&sidecar).await);
    hooks.well.store(true, Ordering::SeqCst);
    until("it leads again", || leads(&sidecar)).await;
    assert!(own(&sidecar).await["fencing_token"].as_u64().unwrap() > token);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_is_asked_to_drain_before_a_hand_over_and_before_the_container_ends() {
    let server = Container::start().await;
    let app = App::start();
    let hooks = Hooks::default();
    let (pid, url) = (app.pid(), hooks.serve().await);
    let sidecar = server
        .sidecar(&[
            ("QUORATE_ELECTION", "e"),
            ("QUORATE_CANDIDATE_ID", "app-1"),
            ("QUORATE_APP_PID", &pid),
            ("QUORATE_APP_DRAIN_URL", &url),
            ("QUORATE_SESSION_TTL_MS", LONG_MS),
        ])
        .await;
    until("it leads", || leads(&sidecar)).await;
    let token = own(&sidecar).await["fencing_token"].clone();
    let two = second(&server).await;
    let transfer = json!({"to": "two", "drain_ms": 3_600_000});
    let http = server.http();
    http.post("/v1/elections/e/transfer", &transfer).await.ok();
    until("the successor leads", || async {
        leader(&server).await == "two"
    })
    .await;
    assert_eq!(hooks.drained.load(Ordering::SeqCst), 1);
    let said = hooks.last.lock().unwrap().clone().unwrap();
    assert_eq!(
        (&said["election"], &said["fencing_token"]),
        (&json!("e"), &token)
    );
    // Back again, and then the container ends: what it told is withdrawn by the application's own word.
    let back = json!({"to": "app-1", "drain_ms": 0});
    http.post("/v1/elections/e/transfer", &back).await.ok();
    let told = http.get("/v1/elections/e").await.ok();
    let resign = json!({"session": two["session"], "fencing_token": told["fencing_token"]});
    http.post("/v1/elections/e/candidates/two/resign", &resign)
        .await
        .ok();
    until("it leads again", || leads(&sidecar)).await;
    sidecar.shutdown.order();
    until("the other one leads", || async {
        leader(&server).await == "two"
    })
    .await;
    assert_eq!(hooks.drained.load(Ordering::SeqCst), 2);
    tokio::time::timeout(PATIENCE, sidecar.ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_stream_is_a_proof_and_its_end_is_none() {
    // Proves: without a process or a health URL the candidate stands while a stream is open; when it is
    // closed the lease runs out, and is not given up.
    let server = Container::start().await;
    let sidecar = server
        .sidecar(&[
            ("QUORATE_ELECTION", "e"),
            ("QUORATE_CANDIDATE_ID", "app-1"),
            ("QUORATE_SESSION_TTL_MS", "1000"),
        ])
        .await;
    assert_eq!(sidecar.http().get("/").await.ok()["name"], "");
    assert!(!leads(&sidecar).await);
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let request = format!(
        "GET /v1/elections/e/events HTTP/1.1\r\nhost: {}\r\n\r\n",
        sidecar.address
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until("it leads", || leads(&sidecar)).await;
    drop(stream);
    until("it leads no more", || async { !leads(&sidecar).await }).await;
    until("its session is gone", || async {
        server.http().get("/v1/elections/e").await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opened_by_the_application_is_kept_while_it_lives() {
    let server = Container::start().await;
    let mut app = App::start();
    let pid = app.pid();
    let sidecar = server.sidecar(&[("QUORATE_APP_PID", &pid)]).await;
    let body = json!({"ttl_ms": 1_000, "wait_ms": 9_000});
    let led = sidecar
        .http()
        .put("/v1/elections/e/candidates/app", &body)
        .await
        .ok();
    assert_eq!(led["self"], "leader");
    // Several leases later, without a renewal of its own, it still leads.
    for _ in 0..6 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let seen = sidecar
            .http()
            .get("/v1/elections/e?candidate=app")
            .await
            .ok();
        assert_eq!(seen["fencing_token"], led["fencing_token"]);
    }
    app.kill();
    until("its session is closed", || async {
        server.http().get("/v1/elections/e").await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_is_no_node() {
    // Proves: what a sidecar says of the cluster is not taken for one more node of it.
    let server = Container::start().await;
    let sidecar = server.sidecar(&[]).await;
    for (container, node, role) in [(&server, 1, "dev"), (&sidecar, 0, "sidecar")] {
        let info = container.grpc().get_info(pb::GetInfoRequest {}).await;
        let info = info.unwrap().into_inner();
        assert_eq!((info.node_id, info.role.as_str()), (node, role));
        assert_eq!(info.leader, Some(1));
    }
}
