//! The Compose files as their readers start them: one command, and the example comes to its end.

use super::Images;
use super::docker::{docker, inspect, log_tail, output};
use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// An example comes to its end within this, from its first container on.
const FINISHED_MAX: Duration = Duration::from_secs(150);

/// One way to start a file.
struct Example {
    /// Its project on the engine, so that nobody's own is touched.
    project: &'static str,
    /// Files under `deploy/compose`, the later ones change the earlier ones.
    files: &'static [&'static str],
    /// The services that end with 0 when the example has done what it is for.
    finishes: &'static [&'static str],
}

pub(super) async fn work_queue(_: Images) -> anyhow::Result<String> {
    finishes(&Example {
        project: "quorate-e2e-queue",
        files: &["work-queue/docker-compose.yml"],
        finishes: &["producer"],
    })
    .await
}

pub(super) async fn beside(_: Images) -> anyhow::Result<String> {
    finishes(&Example {
        project: "quorate-e2e-beside",
        files: &["work-queue/docker-compose.yml", "work-queue/beside.yml"],
        finishes: &["producer"],
    })
    .await
}

pub(super) async fn election(_: Images) -> anyhow::Result<String> {
    finishes(&Example {
        project: "quorate-e2e-elected",
        files: &["election/docker-compose.yml"],
        finishes: &["app-a", "app-b"],
    })
    .await
}

pub(super) async fn transcode(_: Images) -> anyhow::Result<String> {
    finishes(&Example {
        project: "quorate-e2e-transcode",
        files: &["transcode/docker-compose.yml"],
        finishes: &["film"],
    })
    .await
}

pub(super) async fn search(_: Images) -> anyhow::Result<String> {
    finishes(&Example {
        project: "quorate-e2e-search",
        files: &["search/docker-compose.yml"],
        finishes: &["client"],
    })
    .await
}

/// A project that is started; dropping it removes it with its volumes.
struct Up<'a> {
    example: &'a Example,
    dir: PathBuf,
}

impl Up<'_> {
    fn compose(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("docker-compose");
        command.args(["--project-name", self.example.project]);
        for file in self.example.files {
            command.arg("--file").arg(self.dir.join(file));
        }
        let output = output(command.args(arguments))
            .context("docker-compose cannot be started: apt-get install docker-compose")?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        bail!(
            "docker-compose {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        )
    }

    fn down(&self) -> anyhow::Result<()> {
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "10"])
            .map(|_| ())
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        // The next start removes what is left.
        let _ = self.down();
    }
}

async fn finishes(example: &Example) -> anyhow::Result<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/compose");
    let up = Up { example, dir };
    up.down()?;
    let begin = Instant::now();
    // Blocks until what others wait for is healthy.
    up.compose(&["up", "--detach"])
        .inspect_err(|_| tell_logs(&up))?;
    let started = begin.elapsed();
    for service in example.finishes {
        let container = up.compose(&["ps", "--quiet", service])?;
        ensure!(!container.is_empty(), "{service} was not started");
        let end = begin + FINISHED_MAX;
        loop {
            let state = inspect(&container, "{{.State.Status}} {{.State.ExitCode}}")?;
            match state.as_str() {
                "exited 0" => break,
                state if state.starts_with("exited") => {
                    tell_logs(&up);
                    bail!("{service} {state}:\n{}", log_tail(&container))
                }
                _ if Instant::now() > end => {
                    tell_logs(&up);
                    bail!("{service} is still {state}:\n{}", log_tail(&container))
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
    let took = begin.elapsed();
    // What is a server must still serve: an example that takes its cluster down has proved nothing.
    let running = docker(&[
        "ps",
        "--quiet",
        "--filter",
        &format!("label=com.docker.compose.project={}", example.project),
    ])?;
    ensure!(
        running.lines().count() >= 3,
        "only {} containers are left",
        running.lines().count()
    );
    Ok(format!(
        "up after {:.1} s, finished after {:.1} s",
        started.as_secs_f64(),
        took.as_secs_f64()
    ))
}

/// What all services said, for whoever looks into a failure.
fn tell_logs(up: &Up<'_>) {
    if let Ok(logs) = up.compose(&["logs", "--no-color", "--tail", "15"]) {
        eprintln!("{logs}");
    }
}
