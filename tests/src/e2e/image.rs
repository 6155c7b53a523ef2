//! One container, seen from outside.

use super::Images;
use super::docker::{Run, docker, inspect, logs, run};
use anyhow::{Context as _, ensure};
use std::time::{Duration, Instant};

/// The grace of `docker stop` in seconds; a drain takes a fraction of it.
const STOP_SECONDS: &str = "20";

/// Waits for the engine's own health check.
const HEALTHY_MAX: Duration = Duration::from_secs(40);

pub(super) async fn from_outside(images: Images) -> anyhow::Result<String> {
    let (_, image) = images.work_queue();
    let image = image.as_str();
    let e2e = Run::new("quorate-e2e-image");
    let (name, label) = (e2e.named("one"), e2e.label());
    let data = format!("{}:/var/lib/quorate", e2e.volume("data", None)?);
    docker(&[
        "run",
        "--detach",
        "--name",
        &name,
        "--label",
        &label,
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--volume",
        &data,
        image,
    ])?;
    let end = Instant::now() + HEALTHY_MAX;
    loop {
        let health = inspect(&name, "{{.State.Health.Status}}")?;
        if health == "healthy" {
            break;
        }
        ensure!(
            Instant::now() < end,
            "the health check says {health}: {}\n{}",
            inspect(&name, "{{json .State.Health.Log}}")?,
            logs(&name)?
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    // What the kernel says, not what was asked for.
    let pid = inspect(&name, "{{.State.Pid}}")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context(
        "this test must see the engine's processes: run it on the engine's host, as root",
    )?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .with_context(|| format!("no {name} in the status of process {pid}"))
    };
    ensure!(
        field("Uid")? == "65532 65532 65532 65532",
        "uid {}",
        field("Uid")?
    );
    ensure!(
        field("Gid")? == "65532 65532 65532 65532",
        "gid {}",
        field("Gid")?
    );
    for set in ["CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"] {
        let bits = u64::from_str_radix(&field(set)?, 16)?;
        ensure!(bits == 0, "{set} is {bits:x}");
    }
    ensure!(field("NoNewPrivs")? == "1", "privileges may be gained");
    ensure!(field("Seccomp")? == "2", "no seccomp filter");
    let mounts = std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))?;
    let root = mounts
        .lines()
        .find(|line| line.split(' ').nth(4) == Some("/"))
        .context("no root in the mounts")?;
    ensure!(
        root.split(' ')
            .nth(5)
            .is_some_and(|options| options.split(',').any(|o| o == "ro")),
        "the root can be written: {root}"
    );
    let labels = inspect(image, "{{json .Config.Labels}}")?;
    for label in [
        "title",
        "description",
        "version",
        "revision",
        "source",
        "licenses",
    ] {
        ensure!(
            labels.contains(&format!("org.opencontainers.image.{label}")),
            "no label {label}"
        );
    }
    let ports = inspect(image, "{{json .Config.ExposedPorts}}")?;
    for port in ["7072/tcp", "7172/tcp", "7272/tcp"] {
        ensure!(ports.contains(port), "{port} is not exposed: {ports}");
    }

    let begin = Instant::now();
    docker(&["stop", "-t", STOP_SECONDS, &name])?;
    let took = begin.elapsed();
    let exit = inspect(&name, "{{.State.ExitCode}} {{.State.OOMKilled}}")?;
    ensure!(
        exit == "0 false",
        "after docker stop: {exit}\n{}",
        logs(&name)?
    );
    let printed = logs(&name)?;
    ensure!(
        printed.contains("\"stopped\""),
        "no orderly end in the log:\n{printed}"
    );
    // It comes back on the same volume.
    docker(&["start", &name])?;
    docker(&["stop", "-t", STOP_SECONDS, &name])?;
    ensure!(
        inspect(&name, "{{.State.ExitCode}}")? == "0",
        "the second time:\n{}",
        logs(&name)?
    );

    let wrong = run(&[
        "run",
        "--rm",
        "--label",
        &label,
        "--env",
        "QUORATE_LISTN=x",
        image,
    ])?;
    ensure!(
        wrong.status.code() == Some(78),
        "a wrong setting exits {:?}",
        wrong.status.code()
    );
    let open = run(&[
        "run",
        "--rm",
        "--label",
        &label,
        "--env",
        "QUORATE_LISTEN=0.0.0.0:7072",
        image,
    ])?;
    ensure!(
        open.status.code() == Some(78),
        "an open door exits {:?}",
        open.status.code()
    );
    Ok(format!("drained in {} ms", took.as_millis()))
}
