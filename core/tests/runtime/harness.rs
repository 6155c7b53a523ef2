//! A container with a small service, and a client that writes its bytes by hand, so that what is
//! malformed can be sent.

use axum::Router;
use axum::routing::{get, post, put};
use quorate_core::Error;
use quorate_core::runtime::app::{Service, Spec, Starting};
use quorate_core::runtime::extract::{Json, Path, Query, Raw};
use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{Exit, Failure, Pattern, Settings, Shutdown, Status, run};
use quorate_core::types::{Name, NodeId, Principal};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// Nothing in these tests takes that long unless it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) fn settings(variables: &[(&str, &str)]) -> Settings {
    let environment = Environment::of(variables.iter().copied());
    Settings::load_from(Pattern::WorkQueue, &FlagValues::none(), &environment).unwrap()
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Echo {
    priority: u8,
    #[serde(default)]
    note: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default)]
    limit: u32,
}

/// A gRPC service that is real enough: the health service under another name would collide, so this
/// one only knows how to refuse.
fn grpc() -> Router {
    let refuse = async || {
        let status = tonic::Status::from(Error::new(quorate_core::Code::LeaseExpired, "too late"));
        status.into_http::<axum::body::Body>()
    };
    Router::new().route("/quorate.test.v1.Test/{*rest}", post(refuse))
}

/// Lets a test hold a request in flight.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    pub(crate) entered: Notify,
    pub(crate) release: Notify,
}

/// A service with every kind of handler.
fn service(hold: Arc<Hold>) -> Router {
    Router::new()
        .route(
            "/echo",
            post(async |Json(echo): Json<Echo>| axum::Json(echo)),
        )
        .route("/raw", put(async |Raw(bytes): Raw| bytes.len().to_string()))
        .route(
            "/list",
            get(async |Query(page): Query<Page>| page.limit.to_string()),
        )
        .route(
            "/whoami",
            get(async |axum::Extension(who): axum::Extension<Principal>| who.0.to_string()),
        )
        .route(
            "/hold",
            get(async move || {
                hold.entered.notify_one();
                hold.release.notified().await;
                "done"
            }),
        )
        .route(
            "/queues/{name}",
            get(async |Path(name): Path<Name>| name.to_string()),
        )
        .merge(grpc())
        .route(
            "/panic",
            get(async || -> &'static str { panic!("on purpose") }),
        )
        .route(
            "/refuse",
            get(async || -> Error {
                Error::new(quorate_core::Code::OverQuota, "wait a little").retry_after_ms(1200)
            }),
        )
}

pub(crate) struct Running {
    pub(crate) api: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) ended: JoinHandle<Exit>,
    /// Lets the service start; dropped or sent.
    pub(crate) start: Option<oneshot::Sender<()>>,
    /// Holds `/hold`.
    pub(crate) hold: Arc<Hold>,
    /// Whether the service's own stop ran.
    pub(crate) stopped: watch::Receiver<bool>,
}

pub(crate) fn ready() -> Status {
    Status {
        ready: true,
        reason: String::new(),
        cluster_id: None,
        node_id: Some(NodeId(1)),
        leader: Some(NodeId(2)),
    }
}

/// A container whose service starts when told, ready or not.
pub(crate) fn launch(settings: Settings, first: Status) -> Running {
    let local = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (api, ops) = (local(), local());
    let addresses = (api.local_addr().unwrap(), ops.local_addr().unwrap());
    let spec = Spec {
        api: Some(api),
        ops: Some(ops),
        ..Spec::new(Pattern::WorkQueue, "serve", "1.2.3")
    };
    let shutdown = Shutdown::manual();
    let (status, watching) = watch::channel(first);
    let (start, may_start) = oneshot::channel();
    let (stop, stopped) = watch::channel(false);
    let hold = Arc::new(Hold::default());
    let held = Arc::clone(&hold);
    let service = async move |_: Starting| {
        let _ = may_start.await;
        Ok::<_, Failure>(Service {
            api: service(held),
            grpc_services: vec!["quorate.test.v1.Test".into()],
            status: watching,
            stop: Box::pin(async move {
                stop.send_replace(true);
            }),
        })
    };
    let ended = tokio::spawn(run(spec, settings, shutdown.clone(), service));
    Running {
        api: addresses.0,
        ops: addresses.1,
        shutdown,
        status,
        ended,
        start: Some(start),
        hold,
        stopped,
    }
}

/// A container that is ready.
pub(crate) async fn launch_ready(settings: Settings) -> Running {
    let token = settings
        .token_file
        .clone()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let mut running = launch(settings, ready());
    running.start.take().unwrap().send(()).unwrap();
    let auth = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let wait =
        format!("GET /v1/wait HTTP/1.1\r\nHost: localhost\r\n{auth}Connection: close\r\n\r\n");
    assert_eq!(send(running.api, wait.as_bytes()).await.status, 200);
    running
}

impl Running {
    /// Stops it and gives its exit.
    pub(crate) async fn end(self) -> Exit {
        self.shutdown.order();
        tokio::time::timeout(HANG, self.ended)
            .await
            .unwrap()
            .unwrap()
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// Checks that this is a problem with this code, and gives its detail.
    pub(crate) fn problem(&self, code: &str) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["code"], code, "{self:?}");
        assert_eq!(problem["status"], self.status, "{self:?}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes on a new connection and reads one answer to the end of the connection.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has taken everything.
    let _ = stream.write_all(bytes).await;
    read(stream).await
}

/// Reads one answer to the end of the connection.
pub(crate) async fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(HANG, stream.read_to_end(&mut bytes))
        .await
        .expect("the server hangs");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) async fn get_from(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "", b"").await
}

/// One request with `headers`, each ended by CRLF.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    let host = if headers.to_ascii_lowercase().contains("host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    let mut bytes =
        format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n")
            .into_bytes();
    bytes.extend_from_slice(body);
    send(address, &bytes).await
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";
