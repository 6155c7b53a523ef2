//! Load on a cluster of processes while they are killed, paused and cut off, with every acknowledged
//! job accounted for at the end.

use super::cluster::Cluster;
use crate::load::{Load, Outcome};
use crate::sim::Rng;
use anyhow::Context as _;
use quorate_work_queue::queue::Queue;
use std::time::Duration;

/// What to do to the cluster.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Seeds victims and times.
    pub seed: u64,
    /// How long the load runs.
    pub duration: Duration,
    /// Times a node is killed (SIGKILL) and started again; every other one is the leader.
    pub kills: u32,
    /// Times a node is stopped for longer than an election.
    pub pauses: u32,
    /// Times a node is cut off from its peers.
    pub partitions: u32,
}

impl Chaos {
    /// Runs the load and the faults, then lets everything come good and counts.
    ///
    /// # Errors
    /// The cluster does not start, or does not come back within 60 s after the last fault.
    pub async fn run(&self, cluster: &mut Cluster) -> anyhow::Result<Outcome> {
        let queue =
            Queue::connect(&cluster.urls().join(",")).context("cannot connect to the cluster")?;
        let load = Load::start(queue, self.seed)?;
        let faults = self.strike(cluster).await?;
        cluster.wait_ready(Duration::from_secs(60)).await?;
        load.finish(Duration::from_secs(60), faults).await
    }

    async fn strike(&self, cluster: &mut Cluster) -> anyhow::Result<u32> {
        let total = self.kills + self.pauses + self.partitions;
        let mut rng = Rng::new(self.seed);
        let mut left = [self.kills, self.pauses, self.partitions];
        let pace = self.duration / (total + 1).max(1);
        for fault in 0..total {
            tokio::time::sleep(pace / 2 + pace.mul_f64(rng.below(500) as f64 / 1000.0)).await;
            let leader = cluster.leader().await;
            let any = rng.range(1, cluster.ids().len() as u64);
            let victim = leader.filter(|_| fault % 2 == 0).unwrap_or(any);
            let kinds: Vec<usize> = (0..3).filter(|kind| left[*kind] > 0).collect();
            let kind = kinds[usize::try_from(rng.below(kinds.len() as u64)).unwrap_or(0)];
            left[kind] -= 1;
            let away = Duration::from_millis(rng.range(100, 1_200));
            match kind {
                0 => {
                    cluster.kill(victim);
                    tokio::time::sleep(away).await;
                    cluster.start_node(victim)?;
                }
                1 => {
                    cluster.pause(victim, true);
                    tokio::time::sleep(away).await;
                    cluster.pause(victim, false);
                }
                _ => {
                    cluster.cut(victim, true);
                    tokio::time::sleep(away).await;
                    cluster.cut(victim, false);
                }
            }
            // A majority must be back before the next fault, or the run only measures waiting.
            cluster.wait_ready(Duration::from_secs(30)).await?;
        }
        Ok(total)
    }
}
