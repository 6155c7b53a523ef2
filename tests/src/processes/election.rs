//! Sidecars in front of a cluster, all of them processes, killed, stopped and cut off from each other, while
//! somebody beside each sidecar asks it all the time whether it leads: no two may be told so for
//! overlapping times.

use super::cluster::{Cluster, get, signal};
use super::link::Link;
use crate::sim::Rng;
use anyhow::{Context as _, bail};
use quorate_core::clock;
use quorate_core::types::Mono;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sidecars.
const SIDECARS: usize = 3;
/// The election that all of them stand for.
const ELECTION: &str = "chaos";
/// Length of their sessions.
const TTL_MS: u64 = 1_000;
/// Between two questions to one sidecar.
const ASK_EVERY: Duration = Duration::from_millis(3);
/// For a leader to be there again when all faults are over.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to do to sidecars and servers.
#[derive(Clone, Copy, Debug)]
pub struct ElectionChaos {
    /// Seeds victims and times.
    pub seed: u64,
    /// How many faults strike, one after the other.
    pub faults: u32,
}

/// A stretch of time during which an application was told that it leads: from the answer until its validity
/// is over, by the clock of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The sidecar.
    pub who: usize,
    /// The token.
    pub token: u64,
    /// When the answer came.
    pub from: Mono,
    /// The reading before the question was sent, and the validity that was answered.
    pub until: Mono,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Answers that said leader.
    pub answers: u64,
    /// Leaderships that were told, by their tokens.
    pub leaderships: usize,
    /// Pairs of beliefs of different sidecars that overlap; empty is good.
    pub overlaps: Vec<(Belief, Belief)>,
}

impl Seen {
    /// Nobody was told that it leads while another one was, and leadership did change.
    pub fn is_good(&self) -> bool {
        self.overlaps.is_empty() && self.leaderships > 2
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} answers said leader, {} leaderships, {} overlaps",
            self.answers,
            self.leaderships,
            self.overlaps.len()
        )?;
        for (one, other) in &self.overlaps {
            write!(f, "\n  {one:?} and {other:?}")?;
        }
        Ok(())
    }
}

impl ElectionChaos {
    /// Runs the faults, then waits for a leader.
    ///
    /// # Errors
    /// A process does not start, or nobody leads within 30 s after the last fault.
    pub async fn run(&self) -> anyhow::Result<Seen> {
        let mut cluster = Cluster::start("leader-election", 3).await?;
        let mut sidecars = Vec::new();
        for number in 0..SIDECARS {
            sidecars.push(Sidecar::start(&cluster, number).await?);
        }
        let record = Arc::new(Mutex::new(Record::default()));
        let asking: Vec<_> = sidecars
            .iter()
            .map(|sidecar| ask(sidecar.number, sidecar.api, Arc::clone(&record)))
            .map(|asking| Asking(tokio::spawn(asking)))
            .collect();
        led_after(&record, clock::boottime()).await?;
        let mut rng = Rng::new(self.seed);
        for fault in 0..self.faults {
            strike(fault, &mut cluster, &mut sidecars, &record, &mut rng).await?;
            tokio::time::sleep(Duration::from_millis(rng.range(200, 900))).await;
        }
        led_after(&record, clock::boottime()).await?;
        drop(asking);
        let record = record.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Seen {
            answers: record.answers,
            leaderships: record.tokens().len(),
            overlaps: overlaps(&record.beliefs),
        })
    }
}

/// A task that ends with its handle.
struct Asking(tokio::task::JoinHandle<()>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One fault, and its end: at the sidecar that leads or the server that coordinates.
async fn strike(
    fault: u32,
    cluster: &mut Cluster,
    sidecars: &mut [Sidecar],
    record: &Mutex<Record>,
    rng: &mut Rng,
) -> anyhow::Result<()> {
    let leader = record
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .leader();
    let away = Duration::from_millis(rng.range(200, 2_500));
    let coordinator = cluster.leader().await.unwrap_or(1);
    match fault % 7 {
        0 => {
            sidecars[leader].cut(None, true);
            tokio::time::sleep(away).await;
            sidecars[leader].cut(None, false);
        }
        1 => {
            sidecars[leader].pause(true);
            tokio::time::sleep(away).await;
            sidecars[leader].pause(false);
        }
        2 => {
            cluster.cut(coordinator, true);
            tokio::time::sleep(away).await;
            cluster.cut(coordinator, false);
        }
        3 => {
            sidecars[leader].kill();
            tokio::time::sleep(away).await;
            sidecars[leader].spawn(cluster)?;
        }
        4 => {
            cluster.pause(coordinator, true);
            tokio::time::sleep(away).await;
            cluster.pause(coordinator, false);
        }
        5 => {
            // It reaches nobody but a coordinator that is cut off from its peers.
            for other in cluster.ids().into_iter().filter(|id| *id != coordinator) {
                sidecars[leader].cut(Some(other), true);
            }
            cluster.cut(coordinator, true);
            tokio::time::sleep(away).await;
            sidecars[leader].cut(None, false);
            cluster.cut(coordinator, false);
        }
        _ => {
            cluster.kill(coordinator);
            tokio::time::sleep(away).await;
            cluster.start_node(coordinator)?;
        }
    }
    Ok(())
}

/// A sidecar, and its links to the servers.
struct Sidecar {
    number: usize,
    api: SocketAddr,
    ops: SocketAddr,
    links: Vec<(u64, Link)>,
    process: Option<Child>,
}

impl Sidecar {
    async fn start(cluster: &Cluster, number: usize) -> anyhow::Result<Self> {
        let mut links = Vec::new();
        for (id, address) in cluster.apis() {
            links.push((id, Link::new(address).await?));
        }
        let mut sidecar = Self {
            number,
            api: super::cluster::free_address()?,
            ops: super::cluster::free_address()?,
            links,
            process: None,
        };
        sidecar.spawn(cluster)?;
        Ok(sidecar)
    }

    /// Starts the process. The application that it stands for is this one, which lives.
    fn spawn(&mut self, cluster: &Cluster) -> anyhow::Result<()> {
        let servers: Vec<String> = self
            .links
            .iter()
            .map(|(_, link)| link.address().to_string())
            .collect();
        let log = cluster.log(&format!("sidecar-{}", self.number))?;
        let child = Command::new(cluster.binary())
            .args(["sidecar", "leader-election"])
            .env("QUORATE_SERVERS", servers.join(","))
            .env("QUORATE_LISTEN", self.api.to_string())
            .env("QUORATE_OPS_LISTEN", self.ops.to_string())
            .env("QUORATE_ELECTION", ELECTION)
            .env("QUORATE_CANDIDATE_ID", format!("app-{}", self.number))
            .env("QUORATE_APP_PID", std::process::id().to_string())
            .env("QUORATE_SESSION_TTL_MS", TTL_MS.to_string())
            .env("QUORATE_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start a sidecar")?;
        self.process = Some(child);
        Ok(())
    }

    /// Cuts it off from one server or from all, or joins it again.
    fn cut(&self, server: Option<u64>, cut: bool) {
        for (id, link) in &self.links {
            if server.is_none_or(|server| server == *id) {
                link.cut(cut);
            }
        }
    }

    fn pause(&self, paused: bool) {
        if let Some(process) = &self.process {
            signal(process, if paused { Signal::STOP } else { Signal::CONT });
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the sidecars told.
#[derive(Debug, Default)]
struct Record {
    answers: u64,
    beliefs: Vec<Belief>,
}

impl Record {
    fn add(&mut self, belief: Belief) {
        self.answers += 1;
        let last = self
            .beliefs
            .iter_mut()
            .rev()
            .find(|last| last.who == belief.who);
        match last {
            Some(last) if last.token == belief.token && belief.from <= last.until => {
                last.until = last.until.max(belief.until);
            }
            _ => self.beliefs.push(belief),
        }
    }

    /// The sidecar that was told last that it leads.
    fn leader(&self) -> usize {
        self.beliefs
            .iter()
            .max_by_key(|belief| belief.until)
            .map_or(0, |belief| belief.who)
    }

    fn tokens(&self) -> BTreeSet<u64> {
        self.beliefs.iter().map(|belief| belief.token).collect()
    }
}

/// Asks a sidecar all the time.
async fn ask(who: usize, api: SocketAddr, record: Arc<Mutex<Record>>) {
    loop {
        let sent = clock::boottime();
        if let Ok((200, body)) = get(api, &format!("/v1/elections/{ELECTION}")).await
            && let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&body)
            && answer["self"] == "leader"
            && let (Some(valid_for_ms), Some(token)) = (
                answer["valid_for_ms"].as_u64(),
                answer["fencing_token"].as_u64(),
            )
        {
            let belief = Belief {
                who,
                token,
                from: clock::boottime(),
                until: sent + Duration::from_millis(valid_for_ms),
            };
            if belief.from < belief.until {
                let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
                record.add(belief);
            }
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Waits until somebody was told so after this instant.
async fn led_after(record: &Mutex<Record>, instant: Mono) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let led = {
            let record = record.lock().unwrap_or_else(PoisonError::into_inner);
            // A validity is at most a session's, so this one was told later.
            let told = instant + Duration::from_millis(TTL_MS);
            record.beliefs.iter().any(|belief| belief.until > told)
        };
        if led {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("nobody leads within {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn overlaps(beliefs: &[Belief]) -> Vec<(Belief, Belief)> {
    let mut found = Vec::new();
    for (number, one) in beliefs.iter().enumerate() {
        for other in beliefs.iter().skip(number + 1) {
            let overlap = one.from < other.until && other.from < one.until;
            if one.who != other.who && overlap {
                found.push((*one, *other));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_beliefs_of_two_are_found_and_touching_ones_are_not() {
        let belief = |who, from, until| Belief {
            who,
            token: 1,
            from: Mono(from),
            until: Mono(until),
        };
        let mut record = Record::default();
        record.add(belief(0, 0, 100));
        record.add(belief(0, 50, 200));
        record.add(belief(1, 200, 300));
        assert_eq!(overlaps(&record.beliefs), []);
        record.add(belief(2, 299, 301));
        assert_eq!(overlaps(&record.beliefs).len(), 1);
    }
}
