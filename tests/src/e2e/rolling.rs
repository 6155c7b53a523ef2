//! A rolling restart, as an update of the image makes it.

use super::Images;
use super::cluster::{Cluster, Options};
use super::docker::{docker, inspect, log_tail};
use crate::load::Load;
use anyhow::ensure;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn restart(images: Images) -> anyhow::Result<String> {
    let cluster = Cluster::start(
        "quorate-e2e-rolling",
        images.work_queue(),
        Options::default(),
    )
    .await?;
    let load = Load::start(cluster.queue()?, 2)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut stops = Vec::new();
    let mut restarted = 0;
    for id in Cluster::ids() {
        let name = cluster.container(id);
        let begin = std::time::Instant::now();
        docker(&["stop", "-t", "20", &name])?;
        stops.push(begin.elapsed());
        let exit = inspect(&name, "{{.State.ExitCode}}")?;
        ensure!(exit == "0", "node {id} exits {exit}:\n{}", log_tail(&name));
        docker(&["start", &name])?;
        // The next one goes only when this one serves again, as a StatefulSet does it.
        cluster.wait_ready(PATIENCE).await?;
        restarted += 1;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let outcome = load.finish(PATIENCE, restarted).await?;
    ensure!(outcome.is_good(), "{outcome}");
    ensure!(
        outcome.failed + outcome.failed_leases == 0,
        "{} operations failed at the client and {} requests for work, the last: {}",
        outcome.failed,
        outcome.failed_leases,
        outcome.failure
    );
    let longest = stops.iter().max().copied().unwrap_or_default();
    Ok(format!(
        "{outcome}; longest stop {} ms",
        longest.as_millis()
    ))
}
