//! `quorate run`: application and sidecar, in order.

use crate::support::{Dev, quorate, text};
use quorate_cli::measure::free_ports;
use quorate_core::runtime::healthcheck;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// `quorate run work-queue` in front of a server, with a shell script as the application.
fn run(dev: &Dev, script: &str) -> Command {
    let ports = free_ports(2).unwrap();
    let listen = format!("127.0.0.1:{}", ports[0]);
    let ops = format!("127.0.0.1:{}", ports[1]);
    let mut command = dev.command(&[
        "run",
        "work-queue",
        "--listen",
        &listen,
        "--ops-listen",
        &ops,
        "--",
        "sh",
        "-c",
        script,
    ]);
    command
        .env("Q", quorate())
        .env("DIR", dev.path(""))
        .env("QUORATE_SHUTDOWN_GRACE_MS", "10000")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn wait(mut child: Child) -> i32 {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_application_starts_behind_a_ready_sidecar_and_its_code_is_the_end() {
    // Proves: the first request of the application succeeds, it finds its sidecar and no credential, and its exit code is
    // that of the command.
    let dev = Dev::start();
    let script = r#"set -e
        "$Q" submit chain '{"n":1}' >/dev/null
        env | grep ^QUORATE_ | cut -d= -f1 > "$DIR/variables"
        exit 7"#;
    let output = run(&dev, script)
        .env("QUORATE_SERVERS_TOKEN_FILE", "/dev/null/no-such-file")
        .output()
        .unwrap();
    // The sidecar reads the token and cannot: it says so, and the application is never started.
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(!dev.path("variables").exists());

    let output = run(&dev, script)
        .env("QUORATE_BLOBS", "file:///x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", text(&output.stderr));
    let variables = std::fs::read_to_string(dev.path("variables")).unwrap();
    assert_eq!(variables, "QUORATE_SERVERS\n");
    assert_eq!(dev.json(&["queue", "get", "chain"])["counts"]["ready"], 1);
}

#[test]
fn the_sidecar_serves_until_the_application_has_ended() {
    // Proves: on SIGTERM the application is told first, and what it does while it stops still finds its sidecar.
    let dev = Dev::start();
    let script = r#"trap '"$Q" submit chain "{\"last\":true}" >/dev/null && exit 3' TERM
        touch "$DIR/started"
        while :; do sleep 0.05; done"#;
    let child = run(&dev, script).spawn().unwrap();
    let end = Instant::now() + PATIENCE;
    while !dev.path("started").exists() {
        assert!(Instant::now() < end, "the application does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(child), 3);
    assert_eq!(dev.json(&["queue", "get", "chain"])["counts"]["ready"], 1);
}

#[test]
fn an_application_that_does_not_stop_is_killed_after_the_grace() {
    // Proves: a deaf application holds nobody up for longer than the grace.
    let dev = Dev::start();
    let mut command = run(
        &dev,
        r#"trap '' TERM; touch "$DIR/deaf"; while :; do sleep 0.05; done"#,
    );
    let child = command
        .env("QUORATE_SHUTDOWN_GRACE_MS", "300")
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    while !dev.path("deaf").exists() {
        assert!(Instant::now() < end, "the application does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(
        Pid::from_raw(child.id().cast_signed()).unwrap(),
        Signal::TERM,
    )
    .unwrap();
    assert_eq!(wait(child), 128 + 9);
}

#[test]
fn a_leaf_runs_behind_its_gate() {
    // Proves: the gate of `run scatter-gather` stands before the application, which is told no address, and ends with it.
    // The leaf is a root without definitions: any HTTP service will do.
    let ports = free_ports(4).unwrap();
    let address = |port: u16| format!("127.0.0.1:{port}");
    let (listen, ops) = (address(ports[0]), address(ports[1]));
    let upstream = format!("http://{}", address(ports[2]));
    let dir = quorate_cli::measure::temp_dir(None, "quorate-leaf-").unwrap();
    let script = r#"test -z "$QUORATE_SERVERS" || exit 9
        "$Q" serve scatter-gather --listen "$LEAF" --ops-listen "$LEAF_OPS" >/dev/null 2>&1 & leaf=$!
        until [ -e "$DIR/stop" ]; do sleep 0.05; done
        kill $leaf; wait $leaf
        exit 5"#;
    let args = [
        "run",
        "scatter-gather",
        "--listen",
        &listen,
        "--ops-listen",
        &ops,
        "--upstream",
        &upstream,
        "--",
        "sh",
        "-c",
        script,
    ];
    let child = crate::support::command(&args)
        .env("Q", quorate())
        .env("DIR", dir.path())
        .env("LEAF", address(ports[2]))
        .env("LEAF_OPS", address(ports[3]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let gate = listen.parse().unwrap();
        let got = healthcheck::get(gate, "/v1/fanouts", Duration::from_secs(2));
        if let Ok((200, body)) = &got {
            assert!(body.contains("\"items\":[]"), "{body}");
            break;
        }
        assert!(Instant::now() < end, "the gate passes nothing on: {got:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::write(dir.path().join("stop"), "").unwrap();
    assert_eq!(wait(child), 5);
}
