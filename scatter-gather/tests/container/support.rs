//! What the tests of the containers share: a running container, leaves of every kind, a small client.

use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{
    Exit, Failure, Pattern, Service, Settings, Shutdown, Spec, Starting, run,
};
use quorate_scatter_gather::server;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing in these tests takes this long on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running container.
pub struct Container {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub ended: tokio::task::JoinHandle<Exit>,
}

impl Container {
    /// A root without definitions.
    pub async fn root() -> Self {
        Self::run("serve", &[], server::root).await
    }

    /// A container of any kind, when it is ready.
    pub async fn run<F>(
        role: &'static str,
        variables: &[(&str, &str)],
        service: impl FnOnce(Starting) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Service, Failure>> + Send + 'static,
    {
        let container = Self::start(role, variables, service);
        let ready = container.get("/v1/wait?timeout_ms=30000").await;
        assert_eq!(ready.status, 200, "{ready:?}");
        container
    }

    /// The same as soon as it listens.
    pub fn start<F>(
        role: &'static str,
        variables: &[(&str, &str)],
        service: impl FnOnce(Starting) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Service, Failure>> + Send + 'static,
    {
        let environment = Environment::of(variables.iter().copied());
        let settings =
            Settings::load_from(Pattern::ScatterGather, &FlagValues::none(), &environment).unwrap();
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let api = bind();
        let address = api.local_addr().unwrap();
        let spec = Spec {
            api: Some(api),
            ops: Some(bind()),
            ..Spec::new(Pattern::ScatterGather, role, "test")
        };
        let shutdown = Shutdown::manual();
        let ended = tokio::spawn(run(spec, settings, shutdown.clone(), service));
        Self {
            address,
            shutdown,
            ended,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        request(self.address, "GET", path, &[], "").await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Response {
        let json = [("content-type", "application/json")];
        request(self.address, "PUT", path, &json, &body.to_string()).await
    }

    /// Defines a fan-out that must be good.
    pub async fn define(&self, name: &str, definition: &Value) {
        let response = self.put(&format!("/v1/fanouts/{name}"), definition).await;
        assert_eq!(response.status, 200, "{}", response.text());
    }

    pub async fn query(&self, name: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let path = format!("/v1/fanouts/{name}/query");
        request(self.address, "POST", &path, headers, body).await
    }

    /// Asks for the account.
    pub async fn account(&self, name: &str) -> Value {
        let headers = [
            ("accept", "application/vnd.quorate.answer+json"),
            ("quorate-explain", "1"),
        ];
        self.query(name, &headers, "{}").await.json()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One request over a connection of its own.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).await.unwrap();
        whole
    };
    let whole = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let end = whole.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&whole[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_ascii_lowercase(), value.to_owned()))
    });
    Response {
        status,
        headers: headers.collect(),
        body: whole[end + 4..].to_vec(),
    }
}

/// A leaf that sends these bytes to each request and closes: any service there is, good or broken. It
/// speaks no HTTP/2, as many do not.
pub struct Leaf {
    pub address: SocketAddr,
    pub calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

/// How a leaf behaves.
#[derive(Clone)]
pub enum Manner {
    /// Sends bytes and closes.
    Bytes(Vec<u8>),
    /// Takes the request and never answers.
    Hang,
    /// Sends a head and then one byte at a time, slowly, without end.
    Drip,
    /// Closes without an answer.
    Close,
    /// Sends what came, as a body.
    Echo,
}

/// A whole answer with this body.
pub fn ok(content_type: &str, body: &str) -> Manner {
    answer(200, &[("content-type", content_type)], body)
}

pub fn json(body: &Value) -> Manner {
    ok("application/json", &body.to_string())
}

pub fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Manner {
    let mut text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    Manner::Bytes(format!("{text}connection: close\r\n\r\n{body}").into_bytes())
}

impl Leaf {
    pub async fn start(manner: Manner) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&counted)));
            }
        });
        Self {
            address,
            calls,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// From now on connections are refused.
    pub fn kill(&self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, calls: Arc<AtomicUsize>) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let (head, length) = loop {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        seen.extend_from_slice(&buffer[..n]);
        if seen.starts_with(b"PRI ") {
            let _ = stream
                .write_all(b"HTTP/1.1 505 X\r\nconnection: close\r\n\r\n")
                .await;
            return;
        }
        if let Some(end) = seen.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |n| n.trim().parse::<usize>().unwrap());
            break (end + 4, length);
        }
    };
    while seen.len() < head + length {
        let Ok(n @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        seen.extend_from_slice(&buffer[..n]);
    }
    calls.fetch_add(1, Ordering::SeqCst);
    match manner {
        Manner::Bytes(bytes) => drop(stream.write_all(&bytes).await),
        Manner::Hang => std::future::pending().await,
        Manner::Close => {}
        Manner::Drip => {
            let head = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n";
            let _ = stream.write_all(head).await;
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Manner::Echo => {
            let text = String::from_utf8_lossy(&seen).into_owned();
            let Manner::Bytes(bytes) = ok("text/plain", &text) else {
                return;
            };
            let _ = stream.write_all(&bytes).await;
        }
    }
    let _ = stream.shutdown().await;
    // What is not read may cost the other side what was sent.
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
