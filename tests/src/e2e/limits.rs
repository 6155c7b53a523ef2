//! Too little disk, too little memory.

use super::Images;
use super::cluster::{Cluster, Options};
use super::docker::{inspect, log_tail};
use crate::load::Load;
use anyhow::{Context as _, bail, ensure};
use quorate_core::error::Code;
use quorate_core::types::Name;
use quorate_work_queue::machine::{Answer, Command, NewJob, Query, Settings};
use quorate_work_queue::service::Caller;
use std::path::PathBuf;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Room of a data volume: some thousand jobs of the load.
const VOLUME_BYTES: u64 = 48 << 20;

/// Memory of a container: an idle node takes about a quarter of it.
const MEMORY_BYTES: u64 = 192 << 20;

/// What the queue may hold in it.
const QUEUE_BYTES: u64 = 32 << 20;

pub(super) async fn full_disk(images: Images) -> anyhow::Result<String> {
    let options = Options {
        volume_bytes: Some(VOLUME_BYTES),
        // Ballast lies beside the data directory, on the same volume.
        env: vec![(
            "QUORATE_DATA_DIR".to_owned(),
            "/var/lib/quorate/data".to_owned(),
        )],
        ..Options::default()
    };
    let cluster = Cluster::start("quorate-e2e-disk", images.work_queue(), options).await?;
    let load = Load::start(cluster.queue()?, 3)?;
    tokio::time::sleep(Duration::from_secs(1)).await;

    // One full node, the leader: the others go on.
    let leader = cluster.wait_leader().await?;
    let one = Ballast::drop_on(&cluster, leader)?;
    wait_for_more(&load, "one disk was full").await?;
    runs(&cluster, leader)?;
    one.lift()?;
    cluster.wait_ready(PATIENCE).await?;

    // All full: nothing is acknowledged any more, and nobody dies.
    let all = Cluster::ids()
        .map(|id| Ballast::drop_on(&cluster, id))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut last = load.acknowledged();
    let mut quiet = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = load.acknowledged();
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        if quiet == 6 {
            break;
        }
    }
    ensure!(quiet == 6, "still acknowledging with every disk full");
    for id in Cluster::ids() {
        runs(&cluster, id)?;
    }
    for ballast in all {
        ballast.lift()?;
    }
    cluster.wait_ready(PATIENCE).await?;
    wait_for_more(&load, "there was room again").await?;
    let outcome = load.finish(PATIENCE, 4).await?;
    ensure!(outcome.is_good(), "{outcome}");
    Ok(outcome.to_string())
}

async fn wait_for_more(load: &Load, when: &str) -> anyhow::Result<()> {
    let before = load.acknowledged();
    for _ in 0..300 {
        let now = load.acknowledged();
        if now.0 > before.0 + 20 && now.1 > before.1 + 20 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("nothing was acknowledged after {when}")
}

fn runs(cluster: &Cluster, id: u64) -> anyhow::Result<()> {
    let name = cluster.container(id);
    let state = inspect(&name, "{{.State.Running}} {{.RestartCount}}")?;
    ensure!(
        state == "true 0",
        "node {id} is not running:\n{}",
        log_tail(&name)
    );
    Ok(())
}

/// A file that fills a volume.
struct Ballast(PathBuf);

impl Ballast {
    fn drop_on(cluster: &Cluster, id: u64) -> anyhow::Result<Self> {
        use std::io::Write as _;
        let volume = cluster.run().named(&format!("data-{id}"));
        let dir = inspect(&volume, "{{.Mountpoint}}")?;
        let path = PathBuf::from(dir).join("ballast");
        let mut file = std::fs::File::create(&path).with_context(|| {
            format!(
                "cannot write {}: this test must run on the engine's host, as root",
                path.display()
            )
        })?;
        let block = vec![0x55; 64 << 10];
        // A block at a time, then a byte at a time, to the last one.
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..1]).is_ok() {}
        Ok(Self(path))
    }

    fn lift(self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.0)?)
    }
}

pub(super) async fn memory(images: Images) -> anyhow::Result<String> {
    let options = Options {
        memory_bytes: Some(MEMORY_BYTES),
        ..Options::default()
    };
    let cluster = Cluster::start("quorate-e2e-memory", images.work_queue(), options).await?;
    let service = cluster.queue()?.service();
    let name = Name::new("bounded").map_err(|error| anyhow::anyhow!(error))?;
    let caller = Caller::default();
    let settings = Settings {
        max_bytes: QUEUE_BYTES,
        ..Settings::default()
    };
    let configure = Command::Configure {
        queue: name.clone(),
        settings,
    };
    service.execute(&caller, configure).await?;
    let jobs: Vec<NewJob> = (0..16)
        .map(|_| NewJob {
            payload: vec![b'x'; 60 << 10].into(),
            ..NewJob::default()
        })
        .collect();
    let mut taken = 0;
    let refused = loop {
        let command = Command::Enqueue {
            queue: name.clone(),
            jobs: jobs.clone(),
        };
        match service.execute(&caller, command).await {
            Ok(_) => taken += jobs.len(),
            Err(error) if error.code == Code::OverQuota => break error,
            Err(error) => bail!("after {taken} jobs: {error}"),
        }
        ensure!(
            taken < 4 * usize::try_from(QUEUE_BYTES)? / (60 << 10),
            "{taken} jobs were taken over a limit of {QUEUE_BYTES} bytes"
        );
    };
    cluster.wait_ready(PATIENCE).await?;
    for id in Cluster::ids() {
        let state = inspect(
            &cluster.container(id),
            "{{.State.Running}} {{.State.OOMKilled}}",
        )?;
        ensure!(state == "true false", "node {id}: {state}");
    }
    // It still works within the limit: what is settled makes room.
    let Answer::Queue(view) = service
        .query(
            &caller,
            Query::Queue {
                queue: name.clone(),
            },
        )
        .await?
    else {
        bail!("another answer than a queue");
    };
    ensure!(
        view.counts.ready == taken as u64,
        "{} of {taken} jobs",
        view.counts.ready
    );
    Ok(format!("{taken} jobs taken, then: {}", refused.detail))
}
