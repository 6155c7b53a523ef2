//! The demonstration's processes end with it, however it ends. Its queue nodes are stood in for by a
//! script, because only starting and ending them matters here. Skipped without ffmpeg.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use transcode::ffmpeg::Tools;
use transcode::film::test_film;

const BINARY: &str = env!("CARGO_BIN_EXE_transcode");

/// A demonstration whose nodes run `script`.
struct Demo {
    dir: tempfile::TempDir,
    child: Child,
}

impl Demo {
    fn start(script: &str) -> Option<Self> {
        let tools = Tools::find();
        if let Err(reason) = &tools {
            eprintln!("skipped: {reason}");
        }
        let dir = tempfile::tempdir().unwrap();
        let film = dir.path().join("film.mp4");
        test_film::make(&tools.ok()?, 1, &film).unwrap();
        let quorate = dir.path().join("quorate");
        fs::write(&quorate, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&quorate, fs::Permissions::from_mode(0o755)).unwrap();
        let child = Command::new(BINARY)
            .arg("demo")
            .arg("--dir")
            .arg(dir.path().join("demo"))
            .arg("--quorate")
            .arg(&quorate)
            .arg(&film)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Some(Self { dir, child })
    }

    fn node(&self, id: u32) -> PathBuf {
        self.dir.path().join(format!("demo/nodes/node-{id}"))
    }

    /// Processes that carry this demonstration's directory in their environment: its nodes, and what
    /// they started.
    fn family(&self) -> Vec<PathBuf> {
        let mark = self.node(0).parent().unwrap().to_str().unwrap().to_owned();
        let of_ours = |path: &PathBuf| {
            fs::read(path.join("environ"))
                .is_ok_and(|text| String::from_utf8_lossy(&text).contains(&mark))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|e| e.path());
        processes.filter(of_ours).collect()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node that starts a process of its own in another group, which is the hardest to find again.
const NODES: &str = "setsid sleep 600 &\nsleep 600";

#[test]
fn ctrl_c_and_sigterm_leave_no_process_behind() {
    for signal in ["-INT", "-TERM"] {
        let Some(mut demo) = Demo::start(NODES) else {
            return;
        };
        wait_until("three nodes and their children run", || {
            demo.family().len() >= 9
        });
        demo.signal(signal);
        let status = demo.child.wait().unwrap();
        assert!(!status.success());
        assert_eq!(demo.family(), [] as [&Path; 0], "after {signal}");
    }
}

/// Even SIGKILL, which lets the demonstration do nothing, ends the processes that it started.
#[test]
fn a_killed_demonstration_takes_its_nodes_along() {
    let Some(mut demo) = Demo::start("exec sleep 600") else {
        return;
    };
    wait_until("three nodes run", || demo.family().len() >= 3);
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    wait_until("the nodes are gone", || demo.family().is_empty());
}

/// A node that does not start ends the demonstration with its own words and the place of its log.
#[test]
fn a_node_that_does_not_start_is_reported_with_its_log() {
    let Some(demo) = Demo::start("echo 'the data directory is corrupt' >&2; exit 78") else {
        return;
    };
    let logs = demo.dir.path().join("demo/logs");
    let output = demo.child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the data directory is corrupt"), "{said}");
    assert!(
        said.contains(logs.canonicalize().unwrap().to_str().unwrap()),
        "{said}"
    );
}
