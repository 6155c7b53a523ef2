//! Three queue nodes and three workers, as processes of their own on this machine.

use super::http;
use super::ports::Ports;
use super::process::{Process, Recipe};
use anyhow::{Context as _, anyhow, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Replicas: three survive the loss of one.
pub const NODES: usize = 3;
/// Workers, one chunk at a time each.
pub const WORKERS: usize = 3;
/// How often the nodes are started on new ports when one of theirs was taken meanwhile.
const STARTS: usize = 5;
/// How long nodes may take to elect a leader and to be ready.
const READY: Duration = Duration::from_secs(30);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long processes may take to end when they are asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The programs and places of a demonstration.
#[derive(Clone, Debug)]
pub struct Site {
    /// The `quorate` binary.
    pub quorate: PathBuf,
    /// The `transcode` binary.
    pub transcode: PathBuf,
    /// Everything lies here.
    pub dir: PathBuf,
    /// The queue that workers serve.
    pub queue: String,
}

impl Site {
    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The address of the blob store.
    pub fn blobs(&self) -> String {
        format!("file://{}", self.dir.join("blobs").display())
    }

    /// A clean place: what an earlier demonstration left is removed, its film aside.
    pub fn clear(&self) -> anyhow::Result<()> {
        for name in ["nodes", "blobs", "work", "logs", "scratch"] {
            let dir = self.dir.join(name);
            match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", dir.display()));
                }
                _ => {}
            }
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        Ok(())
    }
}

/// One queue node.
pub struct Node {
    /// Its process.
    pub process: Process,
    /// Its number, from 1.
    pub id: u64,
    api: u16,
    ops: u16,
}

/// The running processes.
pub struct Cluster {
    site: Site,
    ports: Ports,
    /// The queue nodes.
    pub nodes: Vec<Node>,
    /// The workers.
    pub workers: Vec<Process>,
}

impl Cluster {
    /// Starts the nodes and waits until all are ready.
    pub async fn start(site: &Site) -> anyhow::Result<Self> {
        let mut ports = Ports::default();
        for _ in 1..STARTS {
            match Self::try_start(site, &mut ports).await {
                Err(error) if port_was_taken(site) => {
                    // Somebody was faster: the next try takes other ports.
                    drop(error);
                    site.clear()?;
                }
                started => {
                    let nodes = started?;
                    return Ok(Self {
                        site: site.clone(),
                        ports,
                        nodes,
                        workers: Vec::new(),
                    });
                }
            }
        }
        bail!("every port was taken again before a node could use it; try again")
    }

    async fn try_start(site: &Site, ports: &mut Ports) -> anyhow::Result<Vec<Node>> {
        let mut addresses = Vec::new();
        for _ in 0..NODES {
            addresses.push((ports.pick()?, ports.pick()?, ports.pick()?));
        }
        let peers: Vec<String> = addresses
            .iter()
            .zip(1..)
            .map(|((_, _, peer), id)| format!("{id}=127.0.0.1:{peer}"))
            .collect();
        let peers = peers.join(",");
        let mut nodes = Vec::new();
        for ((api, ops, peer), id) in addresses.into_iter().zip(1_u64..) {
            let name = format!("node-{id}");
            let local = |port| format!("127.0.0.1:{port}");
            let recipe = Recipe {
                program: site.quorate.clone(),
                args: vec!["serve".into(), "work-queue".into()],
                env: environment([
                    ("QUORATE_NODE_ID", id.to_string()),
                    ("QUORATE_PEERS", peers.clone()),
                    (
                        "QUORATE_DATA_DIR",
                        path(&site.dir.join("nodes").join(&name)),
                    ),
                    ("QUORATE_LISTEN", local(api)),
                    ("QUORATE_OPS_LISTEN", local(ops)),
                    ("QUORATE_PEER_LISTEN", local(peer)),
                ]),
                log: site.logs().join(format!("{name}.log")),
                name,
            };
            nodes.push(Node {
                process: recipe.start()?,
                id,
                api,
                ops,
            });
        }
        for node in &mut nodes {
            node.wait_ready().await?;
        }
        Ok(nodes)
    }

    /// Starts the workers.
    pub fn start_workers(&mut self) -> anyhow::Result<()> {
        for number in 1..=WORKERS {
            let name = format!("worker-{number}");
            let recipe = Recipe {
                program: self.site.quorate.clone(),
                args: [
                    "work",
                    &self.site.queue,
                    "--name",
                    &name,
                    "--slots",
                    "1",
                    "--work-dir",
                    &path(&self.site.dir.join("work")),
                    "--progress-total",
                    "/frames",
                    "--",
                    &path(&self.site.transcode),
                    "item",
                ]
                .map(str::to_owned)
                .to_vec(),
                env: environment([
                    ("QUORATE_SERVERS", self.servers().join(",")),
                    ("QUORATE_BLOBS", self.site.blobs()),
                    (
                        "QUORATE_OPS_LISTEN",
                        format!("127.0.0.1:{}", self.ports.pick()?),
                    ),
                ]),
                log: self.site.logs().join(format!("{name}.log")),
                name,
            };
            self.workers.push(recipe.start()?);
        }
        Ok(())
    }

    /// Addresses of the API.
    pub fn servers(&self) -> Vec<String> {
        self.nodes
            .iter()
            .map(|node| format!("http://127.0.0.1:{}", node.api))
            .collect()
    }

    /// Fails if a process that should run does not.
    pub fn check(&mut self) -> anyhow::Result<()> {
        let nodes = self.nodes.iter_mut().map(|node| &mut node.process);
        nodes.chain(&mut self.workers).try_for_each(Process::check)
    }

    /// The node that leads, as the first of the nodes that answers says.
    pub async fn leader(&mut self) -> anyhow::Result<&mut Node> {
        let end = Instant::now() + READY;
        let id = loop {
            let mut said = None;
            for node in &self.nodes {
                if let Ok(Some(leader)) = node.says_who_leads().await {
                    said = Some(leader);
                    break;
                }
            }
            match said {
                Some(id) => break id,
                None if Instant::now() > end => bail!("no node knows a leader"),
                None => tokio::time::sleep(INTERVAL).await,
            }
        };
        self.nodes
            .iter_mut()
            .find(|node| node.id == id)
            .ok_or_else(|| anyhow!("node {id} leads and is none of ours"))
    }

    /// Ends everything in order: workers first, then nodes.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        for worker in &mut self.workers {
            worker.stop(GRACE).await?;
        }
        for node in &mut self.nodes {
            node.process.stop(GRACE).await?;
        }
        Ok(())
    }
}

impl Node {
    /// Waits until it serves.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + READY;
        loop {
            self.process.check()?;
            let answer = http::get(self.ops, "/readyz").await;
            match answer {
                Ok((200, _)) => return Ok(()),
                _ if Instant::now() < end => tokio::time::sleep(INTERVAL).await,
                Ok((status, body)) => bail!(
                    "{} is not ready after {READY:?}: {status} {}; its log: {}",
                    self.process.name(),
                    body.trim(),
                    self.process.log().display()
                ),
                Err(error) => {
                    return Err(error).context(format!(
                        "{} is not ready after {READY:?}; its log: {}",
                        self.process.name(),
                        self.process.log().display()
                    ));
                }
            }
        }
    }

    async fn says_who_leads(&self) -> anyhow::Result<Option<u64>> {
        #[derive(serde::Deserialize)]
        struct Info {
            leader: Option<Leader>,
        }
        #[derive(serde::Deserialize)]
        struct Leader {
            node_id: u64,
        }
        let (_, body) = http::get(self.api, "/v1/info").await?;
        let info: Info = serde_json::from_str(&body)?;
        Ok(info.leader.map(|leader| leader.node_id))
    }
}

fn environment<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Whether a node's log says that its port was taken.
fn port_was_taken(site: &Site) -> bool {
    (1..=NODES).any(|id| {
        let log = site.logs().join(format!("node-{id}.log"));
        fs::read_to_string(log).is_ok_and(|text| text.contains("in use"))
    })
}
