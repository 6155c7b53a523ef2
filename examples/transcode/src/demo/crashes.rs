//! Kills a worker that is at work and the node that leads, while the film is being transcoded, and
//! brings both back.

use super::cluster::Cluster;
use super::pulse::Pulse;
use crate::job::history;
use crate::job::remote::Remote;
use crate::job::watch::{self, Standing};
use crate::say::Teller;
use anyhow::{Context as _, bail};
use quorate_core::types::Name;
use quorate_work_queue::machine::{AttemptOutcome, BatchId, JobId, State};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// The share of jobs done at which the worker dies.
const WORKER_AT: f64 = 0.30;
/// The share at which the leader dies.
const LEADER_AT: f64 = 0.45;
/// By this share both must be dead.
const UNTIL: f64 = 0.70;
/// Films of fewer jobs are too short for shares: then the work has only to have begun.
const FEW_JOBS: u64 = 6;
/// How long a killed process stays away.
const AWAY: Duration = Duration::from_secs(1);
/// Tries to kill a worker before its job is done.
const TRIES: usize = 10;
/// Acknowledged operations after which service counts as back.
const BACK_AFTER: u64 = 10;
/// How long service may stay away.
const SERVICE_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// A film under way.
pub struct Film<'a> {
    /// The queue.
    pub remote: &'a Remote,
    /// The name of the queue of its jobs.
    pub queue: &'a Name,
    /// Its key.
    pub key: &'a str,
    /// Its batch.
    pub batch: BatchId,
}

/// What was done to the processes.
#[derive(Clone, Debug)]
pub struct Crashes {
    /// The job whose worker was killed.
    pub robbed: JobId,
    /// How long no operation was acknowledged when the leader died.
    pub outage: Duration,
    /// The shares at which worker and leader died.
    pub shares: [f64; 2],
}

impl Crashes {
    /// Whether both happened in the window that was meant.
    pub fn in_window(&self) -> bool {
        self.shares
            .iter()
            .all(|share| (WORKER_AT..=UNTIL).contains(share))
    }
}

/// Does it all, and answers when everything runs again.
pub async fn make(
    film: &Film<'_>,
    cluster: &mut Cluster,
    pulse: &Pulse,
    teller: &RefCell<Teller>,
) -> anyhow::Result<Crashes> {
    let at_worker = film.wait_for(WORKER_AT).await?;
    let (index, robbed) = kill_worker(film, cluster, teller).await?;
    tokio::time::sleep(AWAY).await;
    let worker = &mut cluster.workers[index];
    worker.restart()?;
    let back = format!("{} is back as process {}", worker.name(), worker.id());
    teller.borrow().fact(back);
    let at_leader = film.wait_for(LEADER_AT).await?;
    let outage = kill_leader(cluster, pulse, at_leader, teller).await?;
    Ok(Crashes {
        robbed,
        outage,
        shares: [at_worker.share(), at_leader.share()],
    })
}

impl Film<'_> {
    async fn wait_for(&self, share: f64) -> anyhow::Result<Standing> {
        loop {
            let (standing, join) =
                watch::look(self.remote, self.queue, self.key, self.batch).await?;
            let begun = standing.jobs < FEW_JOBS && standing.running > 0;
            if standing.share() >= share || begun {
                return Ok(standing);
            }
            if join.is_some() {
                bail!("the film was done before anything could be killed; take a longer one");
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// Kills the worker that took its job last, because that job is the least likely to be done before.
async fn kill_worker(
    film: &Film<'_>,
    cluster: &mut Cluster,
    teller: &RefCell<Teller>,
) -> anyhow::Result<(usize, JobId)> {
    for _ in 0..TRIES {
        let leased = history::jobs(film.remote, film.queue, film.key, Some(State::Leased)).await?;
        let newest = leased
            .iter()
            .filter_map(|job| Some((job, job.attempts.last()?)))
            .max_by_key(|(_, attempt)| attempt.started);
        let Some((job, attempt)) = newest else {
            tokio::time::sleep(INTERVAL).await;
            continue;
        };
        let index = cluster
            .workers
            .iter()
            .position(|worker| worker.name() == &*attempt.worker)
            .with_context(|| format!("{} is none of our workers", attempt.worker))?;
        let worker = &mut cluster.workers[index];
        let pid = worker.id();
        worker.kill().await?;
        let after = history::job(film.remote, job.id).await?;
        if history::outcomes(&after, AttemptOutcome::Completed) > 0 {
            // It was done in the last instant: that is no crash at work.
            worker.restart()?;
            continue;
        }
        teller.borrow().fact(format_args!(
            "kill -9 {pid}: {} while it had {} (attempt {}, {})",
            worker.name(),
            history::name(job),
            attempt.number,
            job.id
        ));
        return Ok((index, job.id));
    }
    bail!("no worker could be killed before its job was done; take a slower --preset")
}

async fn kill_leader(
    cluster: &mut Cluster,
    pulse: &Pulse,
    at: Standing,
    teller: &RefCell<Teller>,
) -> anyhow::Result<Duration> {
    let leader = cluster.leader().await?;
    pulse.mark();
    let pid = leader.process.id();
    leader.process.kill().await?;
    let before = pulse.longest_gap().1;
    teller.borrow().fact(format_args!(
        "kill -9 {pid}: {}, the queue's leader, with {} of {} jobs done",
        leader.process.name(),
        at.done,
        at.jobs
    ));
    let killed = Instant::now();
    let outage = loop {
        let (gap, answered) = pulse.longest_gap();
        if answered >= before + BACK_AFTER && killed.elapsed() > AWAY {
            break gap;
        }
        if killed.elapsed() > SERVICE_PATIENCE {
            bail!("the queue did not answer for {SERVICE_PATIENCE:?} after its leader was killed");
        }
        tokio::time::sleep(INTERVAL).await;
    };
    teller.borrow().fact(format_args!(
        "service was away for {} ms (longest time without an acknowledged operation)",
        outage.as_millis()
    ));
    leader.process.restart()?;
    leader.wait_ready().await?;
    teller.borrow().fact(format_args!(
        "{} is back as process {} and has caught up",
        leader.process.name(),
        leader.process.id()
    ));
    Ok(outage)
}
