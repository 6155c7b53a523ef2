//! Faults of whole containers under load.

use super::Images;
use super::cluster::{Cluster, Options};
use super::docker::docker;
use crate::load::Load;
use anyhow::ensure;
use std::time::Duration;

/// How long a node is away: longer than a client stays with a server that hangs.
pub(super) const AWAY: Duration = Duration::from_millis(4_000);

/// Between two faults, so that the load runs on a whole cluster too.
const WHOLE: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn each_in_turn(images: Images) -> anyhow::Result<String> {
    let cluster = Cluster::start(
        "quorate-e2e-faults",
        images.work_queue(),
        Options::default(),
    )
    .await?;
    let load = Load::start(cluster.queue()?, 1)?;
    let mut faults = 0;
    for kind in Fault::ALL {
        // The leader first, then the two others; each kind meets every node.
        let leader = cluster.wait_leader().await?;
        let others = Cluster::ids().filter(|id| *id != leader);
        for id in std::iter::once(leader).chain(others) {
            tokio::time::sleep(WHOLE).await;
            let before = load.acknowledged();
            kind.begin(&cluster, id)?;
            tokio::time::sleep(AWAY).await;
            let during = load.acknowledged();
            kind.end(&cluster, id)?;
            cluster.wait_ready(PATIENCE).await?;
            ensure!(
                during.0 > before.0 && during.1 > before.1,
                "nothing was acknowledged while node {id} was away ({kind:?})"
            );
            faults += 1;
        }
    }
    let outcome = load.finish(PATIENCE, faults).await?;
    ensure!(outcome.is_good(), "{outcome}");
    Ok(outcome.to_string())
}

/// What happens to a container.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Kill,
    Pause,
    Cut,
}

impl Fault {
    pub(super) const ALL: [Self; 3] = [Self::Kill, Self::Pause, Self::Cut];

    pub(super) fn begin(self, cluster: &Cluster, id: u64) -> anyhow::Result<()> {
        let name = cluster.container(id);
        match self {
            Self::Kill => docker(&["kill", &name]).map(|_| ()),
            Self::Pause => docker(&["pause", &name]).map(|_| ()),
            Self::Cut => cluster.disconnect(id),
        }
    }

    pub(super) fn end(self, cluster: &Cluster, id: u64) -> anyhow::Result<()> {
        let name = cluster.container(id);
        match self {
            Self::Kill => docker(&["start", &name]).map(|_| ()),
            Self::Pause => docker(&["unpause", &name]).map(|_| ()),
            Self::Cut => cluster.connect(id),
        }
    }
}
