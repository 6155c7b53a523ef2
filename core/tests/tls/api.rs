//! The API listener, and who calls it.

use super::{authority, keep};
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quorate_core::runtime::app::{Service, Spec, Starting};
use quorate_core::runtime::settings::{Environment, FlagValues};
use quorate_core::runtime::{Exit, Failure, Pattern, Settings, Shutdown, Status, run};
use quorate_core::tls::certs::Authority;
use quorate_core::tls::upstream::Upstream;
use quorate_core::types::Principal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const HANG: Duration = Duration::from_secs(20);

struct Running {
    api: SocketAddr,
    shutdown: Shutdown,
    ended: JoinHandle<Exit>,
    _status: watch::Sender<Status>,
}

fn launch(variables: &[(&str, &Path)]) -> Running {
    let variables = variables
        .iter()
        .map(|(name, path)| (*name, path.to_str().unwrap()));
    let settings = Settings::load_from(
        Pattern::WorkQueue,
        &FlagValues::none(),
        &Environment::of(variables),
    )
    .unwrap();
    let local = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (api, ops) = (local(), local());
    let address = api.local_addr().unwrap();
    let spec = Spec {
        api: Some(api),
        ops: Some(ops),
        ..Spec::new(Pattern::WorkQueue, "serve", "1.2.3")
    };
    let shutdown = Shutdown::manual();
    let (status, watching) = watch::channel(Status {
        ready: true,
        ..Status::default()
    });
    let service = async move |_: Starting| {
        Ok::<_, Failure>(Service {
            api: Router::new().route(
                "/whoami",
                get(async |axum::Extension(who): axum::Extension<Principal>| who.0.to_string()),
            ),
            grpc_services: Vec::new(),
            status: watching,
            stop: Box::pin(async {}),
        })
    };
    Running {
        api: address,
        ended: tokio::spawn(run(spec, settings, shutdown.clone(), service)),
        shutdown,
        _status: status,
    }
}

impl Running {
    async fn end(self) {
        self.shutdown.order();
        let exit = tokio::time::timeout(HANG, self.ended)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(exit, Exit::Ok);
    }

    /// Who the server takes this caller for; the error is that of the connection.
    async fn whoami(&self, upstream: &Upstream, token: Option<&str>) -> Result<String, String> {
        let asking = async {
            let uri = format!("https://{}", self.api).parse().unwrap();
            let connector = upstream.connector().map_err(|e| e.to_string())?;
            let stream = connector.connect(uri).await.map_err(|e| e.to_string())?;
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(|e| e.to_string())?;
            tokio::spawn(connection);
            let mut request = http::Request::get(format!("http://{}/whoami", self.api));
            if let Some(token) = token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let request = request.body(Empty::<Bytes>::new()).unwrap();
            let answer = sender
                .send_request(request)
                .await
                .map_err(|e| e.to_string())?;
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            if status == 503 {
                return Ok("503".to_owned());
            }
            if status != 200 {
                return Ok(status.as_u16().to_string());
            }
            Ok(String::from_utf8(body.to_vec()).unwrap())
        };
        tokio::time::timeout(HANG, asking).await.expect("it hangs")
    }

    /// The same, once the service answers.
    async fn whoami_ready(&self, upstream: &Upstream, token: Option<&str>) -> String {
        loop {
            let who = self.whoami(upstream, token).await.unwrap();
            if who != "503" {
                return who;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

struct Files {
    dir: tempfile::TempDir,
    authority: Authority,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

fn files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    let authority = authority("payments");
    let (ca, _) = keep(dir.path(), "ca", &authority.issued());
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let (cert, key) = keep(dir.path(), "api", &authority.server(&hosts, 1).unwrap());
    Files {
        dir,
        authority,
        ca,
        cert,
        key,
    }
}

#[tokio::test]
async fn a_client_is_whom_its_certificate_names_and_nobody_else_gets_in() {
    // Proves: with an authority of clients, the principal is the certificate's name; without a certificate, with one of
    // another authority, and in the clear, no request is answered.
    let files = files();
    let running = launch(&[
        ("QUORATE_TLS_CERT", &files.cert),
        ("QUORATE_TLS_KEY", &files.key),
        ("QUORATE_TLS_CA", &files.ca),
    ]);
    let app = keep(
        files.dir.path(),
        "app",
        &files.authority.client("app", 1).unwrap(),
    );
    let good = Upstream {
        ca: files.ca.clone(),
        own: Some(app),
    };
    assert_eq!(
        running.whoami_ready(&good, None).await,
        "cert:quorate://payments/client/app"
    );
    let nameless = Upstream {
        ca: files.ca.clone(),
        own: None,
    };
    assert!(running.whoami(&nameless, None).await.is_err());
    let foreign = keep(
        files.dir.path(),
        "foreign",
        &authority("payments").client("app", 1).unwrap(),
    );
    let foreign = Upstream {
        ca: files.ca.clone(),
        own: Some(foreign),
    };
    assert!(running.whoami(&foreign, None).await.is_err());
    let (other, _) = keep(files.dir.path(), "other-ca", &authority("x").issued());
    let misled = Upstream {
        ca: other,
        own: good.own.clone(),
    };
    let refusal = running.whoami(&misled, None).await.unwrap_err();
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");

    let mut plain = tokio::net::TcpStream::connect(running.api).await.unwrap();
    plain
        .write_all(b"GET /whoami HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(HANG, plain.read_to_end(&mut answer))
        .await
        .expect("the connection stays open");
    assert!(!answer.starts_with(b"HTTP"), "an answer in the clear");
    running.end().await;
}

#[tokio::test]
async fn a_certificate_is_rotated_while_running_and_tokens_still_name_the_caller() {
    // Proves: with a token file a caller needs a token whatever its certificate; two are valid at a time; a new
    // certificate of a new authority is served to the next connection.
    let files = files();
    let tokens = files.dir.path().join("tokens");
    let (old, new) = ("a".repeat(40), "b".repeat(40));
    std::fs::write(&tokens, format!("{old}\n{new}\n")).unwrap();
    let running = launch(&[
        ("QUORATE_TLS_CERT", &files.cert),
        ("QUORATE_TLS_KEY", &files.key),
        ("QUORATE_TOKEN_FILE", &tokens),
    ]);
    let upstream = Upstream {
        ca: files.ca.clone(),
        own: None,
    };
    let first = running.whoami_ready(&upstream, Some(&old)).await;
    let second = running.whoami_ready(&upstream, Some(&new)).await;
    assert!(first.starts_with("token:") && second.starts_with("token:") && first != second);
    assert_eq!(running.whoami_ready(&upstream, None).await, "401");

    let next = authority("payments");
    let (next_ca, _) = keep(files.dir.path(), "next-ca", &next.issued());
    keep(
        files.dir.path(),
        "api",
        &next.server(&["127.0.0.1".to_owned()], 1).unwrap(),
    );
    // The files are looked at once a second.
    let refusal = async {
        loop {
            match running.whoami(&upstream, Some(&old)).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(refusal) => break refusal,
            }
        }
    };
    let refusal = tokio::time::timeout(HANG, refusal).await;
    let refusal = refusal.expect("the old certificate is served for ever");
    assert!(refusal.contains("invalid peer certificate"), "{refusal}");
    let upstream = Upstream {
        ca: next_ca,
        own: None,
    };
    assert_eq!(running.whoami_ready(&upstream, Some(&old)).await, first);
    running.end().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_stops_the_start() {
    // Proves: a key of another certificate, a file that is no PEM and one that is missing are told by name, exit 78, and
    // no text about a key holds it.
    let files = files();
    let (_, other_key) = keep(
        files.dir.path(),
        "other",
        &files
            .authority
            .server(&["localhost".to_owned()], 1)
            .unwrap(),
    );
    let nonsense = files.dir.path().join("nonsense");
    std::fs::write(&nonsense, "canary-secret").unwrap();
    let missing = files.dir.path().join("missing");
    for key in [&other_key, &nonsense, &missing] {
        let running = launch(&[("QUORATE_TLS_CERT", &files.cert), ("QUORATE_TLS_KEY", key)]);
        let exit = tokio::time::timeout(HANG, running.ended)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(exit, Exit::Config, "{}", key.display());
    }
    let refusal = Upstream {
        ca: nonsense.clone(),
        own: None,
    }
    .connector()
    .unwrap_err()
    .to_string();
    assert!(
        refusal.contains("nonsense") && !refusal.contains("canary"),
        "{refusal}"
    );
}
