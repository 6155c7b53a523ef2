//! Three nodes of a pattern as separate processes, with cuttable links between their peer ports.

use super::link::Link;
use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The `quorate` binary of this build: beside the running one.
///
/// # Errors
/// It was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe()?;
    let found = exe
        .ancestors()
        .skip(1)
        .take(3)
        .map(|dir| dir.join("quorate"))
        .find(|path| path.is_file());
    found.context(
        "the quorate binary is not built: run cargo build -p quorate with the same profile first",
    )
}

/// A cluster of processes. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    pattern: &'static str,
    dir: tempfile::TempDir,
    nodes: BTreeMap<u64, Node>,
    links: BTreeMap<(u64, u64), Link>,
}

#[derive(Debug)]
struct Node {
    api: SocketAddr,
    ops: SocketAddr,
    peer: SocketAddr,
    process: Option<Child>,
}

pub(super) fn free_address() -> anyhow::Result<SocketAddr> {
    let port = quorate_cli::measure::free_ports(1)?[0];
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

impl Cluster {
    /// Starts `count` nodes of a pattern (`work-queue`, `leader-election`) and waits until they serve.
    ///
    /// # Errors
    /// A node that does not come up within 30 s, with the end of its log.
    pub async fn start(pattern: &'static str, count: u64) -> anyhow::Result<Self> {
        let mut nodes = BTreeMap::new();
        for id in 1..=count {
            let node = Node {
                api: free_address()?,
                ops: free_address()?,
                peer: free_address()?,
                process: None,
            };
            nodes.insert(id, node);
        }
        let mut links = BTreeMap::new();
        for from in 1..=count {
            for (to, node) in nodes.iter().filter(|(to, _)| **to != from) {
                links.insert((from, *to), Link::new(node.peer).await?);
            }
        }
        let dir = tempfile::tempdir()?;
        let mut cluster = Self {
            binary: binary()?,
            pattern,
            dir,
            nodes,
            links,
        };
        for id in 1..=count {
            cluster.start_node(id)?;
        }
        cluster.wait_ready(Duration::from_secs(30)).await?;
        Ok(cluster)
    }

    /// The API endpoints.
    pub fn urls(&self) -> Vec<String> {
        self.nodes
            .values()
            .map(|node| format!("http://{}", node.api))
            .collect()
    }

    /// The API address of each node.
    pub(super) fn apis(&self) -> impl Iterator<Item = (u64, SocketAddr)> + '_ {
        self.nodes.iter().map(|(id, node)| (*id, node.api))
    }

    /// The program that the nodes run.
    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    /// The log of a process of this name, to be appended to.
    pub(super) fn log(&self, name: &str) -> std::io::Result<std::fs::File> {
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{name}.log")))
    }

    /// The ids of the nodes.
    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Where the data and the logs are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        let peers: Vec<String> = self
            .nodes
            .iter()
            .map(|(peer, node)| {
                let address = self
                    .links
                    .get(&(id, *peer))
                    .map_or(node.peer, Link::address);
                format!("{peer}={address}")
            })
            .collect();
        let log = self.log(&format!("node-{id}"))?;
        let data = self.dir.path().join(format!("data-{id}"));
        let node = self.nodes.get_mut(&id).context("no such node")?;
        let child = Command::new(&self.binary)
            .args(["serve", self.pattern])
            .env("QUORATE_NODE_ID", id.to_string())
            .env("QUORATE_PEERS", peers.join(","))
            .env("QUORATE_DATA_DIR", data)
            .env("QUORATE_LISTEN", node.api.to_string())
            .env("QUORATE_OPS_LISTEN", node.ops.to_string())
            .env("QUORATE_PEER_LISTEN", node.peer.to_string())
            .env("QUORATE_LOG_FORMAT", "text")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        node.process = Some(child);
        Ok(())
    }

    /// Kills a node at once (SIGKILL).
    pub fn kill(&mut self, id: u64) {
        if let Some(mut process) = self.nodes.get_mut(&id).and_then(|node| node.process.take()) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Asks a node to stop (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It does not end within `patience`, or not with 0; the error holds the end of its log.
    pub async fn stop(&mut self, id: u64, patience: Duration) -> anyhow::Result<()> {
        let node = self.nodes.get_mut(&id).context("no such node")?;
        let mut process = node.process.take().context("the node does not run")?;
        let pid = rustix::process::Pid::from_raw(process.id().cast_signed());
        let pid = pid.context("the node has no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let deadline = Instant::now() + patience;
        let status = loop {
            match process.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = process.kill();
                    bail!("node {id} does not stop:\n{}", self.log_tail(id));
                }
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        if !status.success() {
            bail!("node {id} ends with {status}:\n{}", self.log_tail(id));
        }
        Ok(())
    }

    /// Stops or continues a node (SIGSTOP, SIGCONT).
    pub fn pause(&self, id: u64, paused: bool) {
        if let Some(process) = self.nodes.get(&id).and_then(|node| node.process.as_ref()) {
            signal(process, if paused { Signal::STOP } else { Signal::CONT });
        }
    }

    /// Cuts a node off from its peers, or joins it again.
    pub fn cut(&self, id: u64, cut: bool) {
        for ((from, to), link) in &self.links {
            if *from == id || *to == id {
                link.cut(cut);
            }
        }
    }

    /// The leader, as the nodes that run say; the newest of them if they differ.
    pub async fn leader(&self) -> Option<u64> {
        let mut votes = BTreeMap::new();
        for node in self.nodes.values().filter(|node| node.process.is_some()) {
            if let Ok(info) = get_json(node.api, "/v1/info").await
                && let Some(leader) = info
                    .pointer("/leader/node_id")
                    .and_then(serde_json::Value::as_u64)
            {
                *votes.entry(leader).or_insert(0_u32) += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .map(|(leader, _)| leader)
    }

    /// Waits until every node that should run serves.
    ///
    /// # Errors
    /// One does not within `patience`; the error holds the end of its log.
    pub async fn wait_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        for (id, node) in self.nodes.iter().filter(|(_, node)| node.process.is_some()) {
            while !is_ready(node.ops).await {
                if Instant::now() > deadline {
                    let logs = self.nodes.keys().map(|id| self.log_tail(*id));
                    let logs = logs.collect::<Vec<_>>().join("\n");
                    bail!("node {id} does not become ready; the ends of all logs:\n{logs}");
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// The end of a node's log.
    pub fn log_tail(&self, id: u64) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(format!("node-{id}.log")))
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in self.ids() {
            self.kill(id);
        }
    }
}

/// Sends a signal to a process that was not waited for yet.
pub(super) fn signal(process: &Child, signal: Signal) {
    if let Some(pid) = Pid::from_raw(process.id().cast_signed()) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

async fn is_ready(ops: SocketAddr) -> bool {
    get(ops, "/readyz")
        .await
        .is_ok_and(|(status, _)| status == 200)
}

async fn get_json(at: SocketAddr, path: &str) -> anyhow::Result<serde_json::Value> {
    let (_, body) = get(at, path).await?;
    Ok(serde_json::from_slice(&body)?)
}

/// One GET over a connection of its own, within a second.
pub(super) async fn get(at: SocketAddr, path: &str) -> anyhow::Result<(u16, bytes::Bytes)> {
    use http_body_util::BodyExt as _;
    let request = async {
        let stream = tokio::net::TcpStream::connect(at).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::get(path)
            .header("host", "localhost")
            .body(http_body_util::Empty::<bytes::Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    };
    tokio::time::timeout(Duration::from_secs(1), request).await?
}
