//! `quorate election` against a real server: what it shows, and that `exec` runs its command only while
//! leading, whatever happens to it.

use crate::support::{Dev, text};
use quorate_core::runtime::healthcheck;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn command(dev: &Dev, args: &[&str]) -> Command {
    let mut command = dev.command(&[&["election"], args].concat());
    command.env("QUORATE_SERVERS", &dev.election);
    command
}

fn ends(dev: &Dev, code: i32, args: &[&str]) -> Output {
    let output = command(dev, args).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
    output
}

fn json(dev: &Dev, args: &[&str]) -> Value {
    let output = ends(dev, 0, &[args, &["-o", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A server whose elections are ready.
fn start() -> Dev {
    let dev = Dev::start();
    until("leader election is ready", || {
        let address = dev
            .election
            .strip_prefix("http://")
            .unwrap()
            .parse()
            .unwrap();
        let ready = healthcheck::get(address, "/v1/wait?timeout_ms=1000", PATIENCE);
        ready.ok().filter(|(status, _)| *status == 200)
    });
    dev
}

/// A process of `election exec`, gone when dropped.
struct Exec(Child);

impl Exec {
    fn start(dev: &Dev, args: &[&str], script: &str) -> Self {
        let args = [&["exec"], args, &["--", "sh", "-c", script]].concat();
        let mut command = command(dev, &args);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap()).unwrap()
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let _ = kill_process(self.pid(), Signal::CONT);
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The process that a script wrote of itself.
fn written(path: &Path) -> Pid {
    until("a process id", || {
        let text = std::fs::read_to_string(path).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    })
}

fn is_gone(pid: Pid) -> Option<()> {
    test_kill_process(pid).is_err().then_some(())
}

#[test]
fn a_command_runs_while_leading_and_its_exit_code_is_passed_on() {
    let dev = start();
    // Codes, environment, and a command that is not there.
    ends(&dev, 7, &["exec", "e", "--", "sh", "-c", "exit 7"]);
    ends(
        &dev,
        128 + 9,
        &["exec", "e", "--", "sh", "-c", "kill -9 $$"],
    );
    ends(&dev, 127, &["exec", "e", "--", "no-such-command"]);
    ends(
        &dev,
        2,
        &[
            "exec",
            "e",
            "--ttl",
            "1s",
            "--kill-grace",
            "1s",
            "--",
            "true",
        ],
    );
    let said = ends(
        &dev,
        0,
        &[
            "exec",
            "e",
            "--candidate",
            "me",
            "--",
            "sh",
            "-c",
            "echo $ELECTION_NAME $ELECTION_CANDIDATE $ELECTION_FENCING_TOKEN",
        ],
    );
    let said = text(&said.stdout);
    let token = said.strip_prefix("e me ").unwrap().trim().to_owned();
    let token: u64 = token.parse().unwrap();

    // While one leads, the other waits; what is shown is what the API answers.
    let (first, second) = (dev.path("first"), dev.path("second"));
    let script = |path: &Path| format!("echo $$ > {}; sleep 1000 & wait", path.display());
    let one = Exec::start(&dev, &["e", "--candidate", "one"], &script(&first));
    let leading = written(&first);
    let _two = Exec::start(&dev, &["e", "--candidate", "two"], &script(&second));
    let shown = until("two candidates", || {
        let shown = json(&dev, &["get", "e"]);
        (shown["candidates"].as_array().unwrap().len() == 2).then_some(shown)
    });
    assert_eq!(shown["leader"]["id"], "one");
    let current = shown["fencing_token"].as_u64().unwrap();
    assert!(current > token);
    assert_eq!(json(&dev, &["list"])["items"][0]["leader"]["id"], "one");
    ends(&dev, 0, &["check", "e", &current.to_string()]);
    ends(&dev, 1, &["check", "e", &token.to_string()]);
    ends(&dev, 1, &["transfer", "e", "nobody"]);
    assert!(!second.exists());

    // A hand-over: the command is gone before the other one starts.
    let moved = json(&dev, &["transfer", "e", "two"]);
    assert_eq!(moved["leader"]["id"], "two");
    let next = written(&second);
    assert!(is_gone(leading).is_some(), "both ran");
    until("the first stands again", || {
        let shown = json(&dev, &["get", "e"]);
        (shown["candidates"].as_array().unwrap().len() == 2).then_some(())
    });
    // An operator's word.
    std::fs::remove_file(&first).unwrap();
    ends(&dev, 0, &["resign", "e", "--reason", "test"]);
    written(&first);
    assert!(is_gone(next).is_some(), "both ran");
    drop(one);
}

#[test]
fn a_command_is_gone_before_the_lease_is_when_its_parent_stands_still_or_is_killed() {
    // A helper that stands still itself kills late, which no lease prevents: of three rounds one must be clean.
    let dev = start();
    assert!((0..3).any(|round| is_gone_in_time(&dev, round)), "both ran");
}

/// Whether the command of a parent that stood still was gone when the next one ran.
fn is_gone_in_time(dev: &Dev, round: u32) -> bool {
    let election = format!("e{round}");
    let file = |id: &str| dev.path(&format!("{id}{round}"));
    let start = |id: &str| {
        let script = format!("echo $$ > {}; sleep 1000 & wait", file(id).display());
        let args = [
            election.as_str(),
            "--candidate",
            id,
            "--ttl",
            "5s",
            "--kill-grace",
            "1s",
        ];
        Exec::start(dev, &args, &script)
    };
    // Stopped for longer than its lease: its helper ends the command, the next one leads.
    let one = start("one");
    let stopped = written(&file("one"));
    kill_process(one.pid(), Signal::STOP).unwrap();
    let mut two = start("two");
    let next = written(&file("two"));
    let in_time = is_gone(stopped).is_some();
    until("the command of who stands still is gone", || {
        is_gone(stopped)
    });
    drop(one);
    // Killed: the pipe closes, and the command is gone at once.
    let _three = start("three");
    two.0.kill().unwrap();
    until("the command is gone with its parent", || is_gone(next));
    written(&file("three"));
    in_time
}

#[test]
fn a_watch_says_unknown_when_the_cluster_is_gone() {
    let dev = start();
    let mut watch = command(&dev, &["watch", "e", "-o", "json"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["state"], "vacant");
    drop(dev);
    let unknown = next();
    assert_eq!(
        (&unknown["state"], &unknown["leader"]),
        (&Value::from("unknown"), &Value::Null),
        "{unknown}"
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}
