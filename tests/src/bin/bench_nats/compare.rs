//! Quorate's own run of the same load, and the ratios.

use crate::Args;
use anyhow::{Context, Result, bail};
use quorate_cli::measure::Report;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `quorate bench work-queue` with the load of `args`.
pub(crate) fn quorate(program: &Path, args: &Args, http: bool) -> Result<Report> {
    let mut command = Command::new(program);
    command.args(["bench", "work-queue", "-o", "json"]);
    for (flag, value) in [
        ("--jobs", args.jobs),
        ("--connections", args.connections.into()),
        ("--inflight", args.inflight.into()),
        ("--payload", args.payload.into()),
        ("--singles", args.singles),
    ] {
        command.args([flag, &value.to_string()]);
    }
    if http {
        command.arg("--http");
    }
    if let Some(dir) = &args.data_dir {
        command.arg("--data-dir").arg(dir);
    }
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("its report is not one of this version")
}

/// Medians of the rounds of one way of running.
struct Medians {
    enqueue: f64,
    cycle: f64,
    one_p50_ms: f64,
    p99_ms: f64,
    cpu_seconds: f64,
}

/// Medians a way of running, and each of Quorate's over each of the peer's.
pub(crate) fn table(reports: &[Report]) -> String {
    let mut ways = BTreeMap::<String, Vec<&Report>>::new();
    for report in reports {
        ways.entry(format!("{}, {}", report.system, report.transport))
            .or_default()
            .push(report);
    }
    let medians: Vec<(String, Medians)> = ways
        .into_iter()
        .map(|(way, of)| (way, medians(&of)))
        .collect();
    let (peers, ours): (Vec<_>, Vec<_>) =
        medians.iter().partition(|(way, _)| way.starts_with("nats"));

    let mut text = format!(
        "{:<44} {:>12} {:>16} {:>14} {:>14} {:>12}\n",
        "", "enqueue/s", "take+complete/s", "enqueue p99", "1 flying p50", "servers CPU"
    );
    for (way, m) in peers.iter().chain(&ours) {
        let _ = writeln!(
            text,
            "{way:<44} {:>12.0} {:>16.0} {:>11.2} ms {:>11.2} ms {:>10.1} s",
            m.enqueue, m.cycle, m.p99_ms, m.one_p50_ms, m.cpu_seconds
        );
    }
    for (way, m) in &ours {
        for (peer_way, peer) in &peers {
            let _ = writeln!(
                text,
                "{:<44} {:>11.2}x {:>15.2}x {:>13.2}x {:>13.2}x {:>11.2}x",
                format!("{way} / {peer_way}"),
                m.enqueue / peer.enqueue,
                m.cycle / peer.cycle,
                m.p99_ms / peer.p99_ms,
                m.one_p50_ms / peer.one_p50_ms,
                m.cpu_seconds / peer.cpu_seconds,
            );
        }
    }
    text
}

fn medians(reports: &[&Report]) -> Medians {
    let of =
        |figure: fn(&Report) -> f64| median(reports.iter().map(|report| figure(report)).collect());
    Medians {
        enqueue: of(|r| r.enqueue.per_second),
        cycle: of(|r| r.cycle.per_second),
        one_p50_ms: of(|r| r.one_in_flight.p50_ms),
        p99_ms: of(|r| r.enqueue.latency.p99_ms),
        cpu_seconds: of(|r| r.servers.iter().map(|server| server.cpu_seconds).sum()),
    }
}

/// The middle value; of an even number the lower middle. Never called without a value.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}
