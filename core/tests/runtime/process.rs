//! A real process: signals, exit codes, log lines on stdout, and the probe for images without a shell.
//!
//! The child is this test binary itself, running the ignored test [`child`].

use crate::harness::{HANG, get_from, ready, settings};
use quorate_core::runtime::app::{Service, Spec};
use quorate_core::runtime::telemetry::{self, Destination};
use quorate_core::runtime::{Failure, Pattern, Shutdown, Starting, healthcheck, run};
use rustix::process::{Pid, Signal, kill_process};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
#[ignore = "runs as the child process of the other tests"]
fn child() {
    let Ok(ops) = std::env::var("CHILD_OPS") else {
        return;
    };
    let grace = std::env::var("CHILD_GRACE_MS").unwrap();
    let settings = settings(&[
        ("QUORATE_LISTEN", "127.0.0.1:0"),
        ("QUORATE_OPS_LISTEN", &ops),
        ("QUORATE_SHUTDOWN_GRACE_MS", &grace),
        ("QUORATE_LOG_FORMAT", "json"),
    ]);
    telemetry::init(&settings, Destination::Stdout).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let exit = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().unwrap();
        let spec = Spec::new(Pattern::WorkQueue, "serve", "1");
        let hangs = std::env::var_os("CHILD_HANGS").is_some();
        let start = async |_: Starting| {
            let (status, watching) = tokio::sync::watch::channel(ready());
            Ok::<_, Failure>(Service {
                api: axum::Router::new(),
                grpc_services: Vec::new(),
                status: watching,
                stop: Box::pin(async move {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    drop(status);
                }),
            })
        };
        run(spec, settings, shutdown, start).await
    });
    std::process::exit(i32::from(exit.code()));
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn spawn(ops: SocketAddr, grace_ms: &str, hangs: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["process::child", "--exact", "--ignored", "--nocapture"])
        .env("CHILD_OPS", ops.to_string())
        .env("CHILD_GRACE_MS", grace_ms)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if hangs {
        command.env("CHILD_HANGS", "1");
    }
    command.spawn().unwrap()
}

fn wait_ready(ops: SocketAddr) {
    let end = Instant::now() + HANG;
    let probe = settings(&[("QUORATE_OPS_LISTEN", &ops.to_string())]);
    while healthcheck::check(&probe, "/readyz", Duration::from_secs(1)).is_err() {
        assert!(Instant::now() < end, "the child does not get ready");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

#[test]
fn sigterm_drains_and_exits_0_with_its_log_on_stdout() {
    // Proves: exit 0 after SIGTERM, JSON lines on stdout, and what healthcheck says before and after.
    let ops = free_port();
    let child = spawn(ops, "60000", false);
    wait_ready(ops);
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |what: &str| {
        lines
            .iter()
            .any(|line| line["message"].as_str().is_some_and(|m| m.contains(what)))
    };
    assert!(
        said("listening") && said("ready") && said("draining") && said("stopped"),
        "{text}"
    );
    let probe = settings(&[("QUORATE_OPS_LISTEN", &ops.to_string())]);
    let gone = healthcheck::check(&probe, "/readyz", Duration::from_secs(1)).unwrap_err();
    assert_eq!(gone.exit.code(), 69);
}

#[test]
fn a_second_signal_exits_at_once() {
    // Proves: a service that does not stop holds the process only until the second signal (exit 75),
    // long before the grace is over.
    let ops = free_port();
    let child = spawn(ops, "600000", true);
    wait_ready(ops);
    signal(&child, Signal::TERM);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        while get_from(ops, "/readyz").await.status == 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    signal(&child, Signal::INT);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(75));
}
