//! Secrets are planted everywhere a secret may stand, and everything that is printed is searched for them.

use crate::support::{command, text};
use quorate_cli::measure::{Server, free_ports, temp_dir};
use quorate_core::runtime::healthcheck;
use std::path::Path;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// What must never be seen: the tokens, and every line of every private key.
fn canaries(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".key") || name.contains("token") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("-----"));
            found.extend(lines.map(str::to_owned));
        }
    }
    assert!(
        found.len() > 12 && found.iter().all(|line| line.len() > 16),
        "{}",
        found.len()
    );
    found
}

fn free_address() -> String {
    format!("127.0.0.1:{}", free_ports(1).unwrap()[0])
}

#[test]
fn no_secret_is_ever_printed() {
    // Proves: with every log at its most talkative, neither a token nor a line of a private key shows in logs, metrics,
    // answers, errors, `config show` or the arguments of a process, also not when they are wrong or in the wrong place.
    let dir = temp_dir(None, "quorate-canary-").unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let certs = command(&[
        "cluster",
        "certs",
        "--dir",
        dir.path().to_str().unwrap(),
        "--cluster",
        "canary",
        "--client",
        "app",
    ])
    .output()
    .unwrap();
    assert!(certs.status.success(), "{}", text(&certs.stderr));
    std::fs::write(path("wrong-token"), "canary-wrong-token-0123456789abcdef").unwrap();

    let (api, ops, peer) = (free_address(), free_address(), free_address());
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let server = [
        pair("QUORATE_LISTEN", &api),
        pair("QUORATE_OPS_LISTEN", &ops),
        pair("QUORATE_PEER_LISTEN", &peer),
        pair("QUORATE_DATA_DIR", &path("data")),
        pair("QUORATE_TOKEN_FILE", &path("token")),
        pair("QUORATE_TLS_CERT", &path("api.crt")),
        pair("QUORATE_TLS_KEY", &path("api.key")),
        pair("QUORATE_TLS_CA", &path("ca.crt")),
        pair("QUORATE_PEER_TLS_CERT", &path("node-1.crt")),
        pair("QUORATE_PEER_TLS_KEY", &path("node-1.key")),
        pair("QUORATE_PEER_TLS_CA", &path("ca.crt")),
        pair("RUST_LOG", "trace"),
    ];
    let serve = ["serve", "work-queue"].map(str::to_owned).to_vec();
    let log = dir.path().join("server.log");
    let running = Server::start(
        "serve",
        &crate::support::quorate(),
        serve,
        server.to_vec(),
        log.clone(),
    )
    .unwrap();
    let end = Instant::now() + PATIENCE;
    let ops = ops.parse().unwrap();
    let get = |path| healthcheck::get(ops, path, PATIENCE);
    while !matches!(get("/readyz"), Ok((200, _))) {
        assert!(Instant::now() < end, "not ready: {}", running.log_tail());
        std::thread::sleep(Duration::from_millis(20));
    }

    let mut seen = String::new();
    let mut asked = |token: &str, key: &str, args: &[&str]| {
        let output = command(args)
            .env("QUORATE_SERVERS", format!("https://{api}"))
            .env("QUORATE_SERVERS_CA", path("ca.crt"))
            .env("QUORATE_SERVERS_CERT", path("client-app.crt"))
            .env("QUORATE_SERVERS_KEY", path(key))
            .env("QUORATE_SERVERS_TOKEN_FILE", path(token))
            .env("RUST_LOG", "trace")
            .output()
            .unwrap();
        seen.push_str(&text(&output.stdout));
        seen.push_str(&text(&output.stderr));
        output.status.code()
    };
    let submit = ["submit", "hello", "{}"];
    assert_eq!(asked("token", "client-app.key", &submit), Some(0));
    assert_ne!(asked("wrong-token", "client-app.key", &submit), Some(0));
    // Files in each other's place: a key where a token belongs, a token where a key belongs.
    assert_ne!(asked("api.key", "client-app.key", &submit), Some(0));
    assert_ne!(asked("token", "token", &submit), Some(0));
    assert_ne!(asked("token", "api.key", &submit), Some(0));
    assert_eq!(
        asked("token", "client-app.key", &["config", "show", "--origin"]),
        Some(0)
    );
    for path in ["/metrics", "/readyz", "/livez"] {
        seen.push_str(&get(path).unwrap().1);
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        // Processes end while one looks.
        let arguments = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        seen.push_str(&text(&arguments));
    }
    drop(running);
    seen.push_str(&std::fs::read_to_string(log).unwrap());
    assert!(
        seen.len() > 10_000,
        "only {} bytes were searched",
        seen.len()
    );
    for canary in canaries(dir.path()) {
        // The finding itself must not print it.
        assert!(
            !seen.contains(&canary),
            "a line of {} characters was printed",
            canary.len()
        );
    }
}
