//! The binary as process 1 of an application's container: orphans are reaped, signals arrive, exit codes come through.

use super::Images;
use super::docker::{Run, docker, inspect, log_tail};
use anyhow::ensure;
use std::time::{Duration, Instant};

/// The example image with a shell and our binary in it (`deploy/worker/image`).
const IMAGE: &str = "example/worker:0.1.0";

/// Leaves three orphans behind, which end by themselves, and runs on until it is told to stop; then exits 7.
const APPLICATION: &str = r#"
trap 'exit 7' TERM
for n in 1 2 3; do (sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo orphan ended' &); done
echo started
while :; do i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done; done
"#;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn process_one(_: Images) -> anyhow::Result<String> {
    let e2e = Run::new("quorate-e2e-init");
    let (name, label) = (e2e.named("one"), e2e.label());
    #[rustfmt::skip]
    docker(&[
        "run", "--detach", "--name", &name, "--label", &label, "--network", "none", "--read-only", "--cpus", "0.5",
        IMAGE,
        "run", "work-queue", "--servers", "http://127.0.0.1:1", "--wait", "100ms", "--", "/bin/sh", "-c", APPLICATION,
    ])?;
    let end = Instant::now() + PATIENCE;
    loop {
        let ended = log_tail(&name).matches("orphan ended").count();
        if ended == 3 {
            break;
        }
        ensure!(
            Instant::now() < end,
            "{ended} of 3 orphans have ended:\n{}",
            log_tail(&name)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The last one is reaped right after its end.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let processes = docker(&["top", &name, "-eo", "pid,stat,args"])?;
    let zombies = processes
        .lines()
        .skip(1)
        .filter(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|stat| stat.starts_with('Z'))
        })
        .count();
    ensure!(zombies == 0, "orphans were not reaped:\n{processes}");
    ensure!(
        processes.contains("/bin/sh"),
        "the application is gone:\n{processes}"
    );

    let begin = Instant::now();
    docker(&["stop", "-t", "20", &name])?;
    let exit = inspect(&name, "{{.State.ExitCode}}")?;
    ensure!(exit == "7", "exits {exit}:\n{}", log_tail(&name));
    Ok(format!(
        "3 orphans reaped, stopped with the application's code in {} ms",
        begin.elapsed().as_millis()
    ))
}
