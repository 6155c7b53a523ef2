//! The cluster under load: `quorate serve …` as separate processes of this same binary, on
//! free loopback ports, with data on disk.

use crate::errors::{Exit, Failure, Outcome};
use crate::measure::{NodeReport, Server, TempDir, free_ports, temp_dir};
use crate::scrape;
use quorate_core::runtime::healthcheck;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// For a cluster to form, or a killed node to come back.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);
/// For one answer of a server on this machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Ports of one node: API, ops, peers.
const PORTS: usize = 3;

/// One node of the cluster.
struct Node {
    server: Server,
    api: SocketAddr,
    ops: SocketAddr,
}

/// A running cluster. Dropped, its processes end and its data is removed, in this order.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    _data: TempDir,
}

impl Nodes {
    /// Starts `count` nodes and waits until all are ready.
    pub(super) async fn start(
        pattern: &'static str,
        count: u32,
        data_dir: Option<&Path>,
    ) -> Outcome<Self> {
        let program = std::env::current_exe()
            .map_err(|error| failed("cannot find this program to start it as a server", &error))?;
        let data = temp_dir(data_dir, "quorate-bench-").map_err(|error| {
            failed(
                "no directory for the data of the nodes (--data-dir)",
                &error,
            )
        })?;
        let count = count as usize;
        let ports = free_ports(count * PORTS).map_err(|error| failed("no free ports", &error))?;
        let local = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let peers: Vec<String> = (0..count)
            .map(|index| format!("{}={}", index + 1, local(ports[index * PORTS + 2])))
            .collect();

        let mut nodes = Vec::with_capacity(count);
        for (index, ports) in ports.chunks_exact(PORTS).enumerate() {
            let name = format!("node-{}", index + 1);
            let (api, ops, peer) = (local(ports[0]), local(ports[1]), local(ports[2]));
            let dir = data.path().join(&name);
            let mut env = vec![
                ("QUORATE_LISTEN", api.to_string()),
                ("QUORATE_OPS_LISTEN", ops.to_string()),
                ("QUORATE_NODE_ID", (index + 1).to_string()),
                ("QUORATE_DATA_DIR", dir.to_string_lossy().into_owned()),
                ("QUORATE_LOG_FORMAT", "text".to_owned()),
                ("RUST_LOG", "warn".to_owned()),
                ("NO_COLOR", "1".to_owned()),
            ];
            if count > 1 {
                env.push(("QUORATE_PEER_LISTEN", peer.to_string()));
                env.push(("QUORATE_PEERS", peers.join(",")));
            }
            let env = env
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            let args = ["serve", pattern].map(ToOwned::to_owned).into();
            let log = data.path().join(format!("{name}.log"));
            let server = Server::start(&name, &program, args, env, log)
                .map_err(|error| failed("cannot start a node", &error))?;
            nodes.push(Node { server, api, ops });
        }
        let mut nodes = Self { nodes, _data: data };
        nodes.wait_ready().await?;
        Ok(nodes)
    }

    /// Addresses of the API, one a node.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.api).collect()
    }

    /// Waits until every node is ready; fails with a node's own words if one ends.
    pub(super) async fn wait_ready(&mut self) -> Outcome {
        let deadline = Instant::now() + READY_TIMEOUT;
        for node in &mut self.nodes {
            loop {
                node.server
                    .check()
                    .map_err(|error| failed("a node ended", &error))?;
                let why = match get(node.ops, "/readyz").await {
                    Ok((200, _)) => break,
                    Ok((_, body)) => body,
                    Err(error) => error.to_string(),
                };
                if Instant::now() > deadline {
                    return Err(Failure::new(
                        Exit::Unavailable,
                        format!(
                            "{} is not ready after {READY_TIMEOUT:?}: {why}; it said:\n{}",
                            node.server.name(),
                            node.server.log_tail()
                        ),
                    ));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// The index of the node that leads, as a majority of them says.
    pub(super) async fn leader(&self) -> Outcome<usize> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let mut votes = vec![0; self.nodes.len()];
            for node in &self.nodes {
                if let Some(vote) = self
                    .leader_by(node)
                    .await
                    .and_then(|index| votes.get_mut(index))
                {
                    *vote += 1;
                }
            }
            if let Some(leader) = votes.iter().position(|&vote| vote * 2 > self.nodes.len()) {
                return Ok(leader);
            }
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Unavailable,
                    "the nodes agree on no leader",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn leader_by(&self, node: &Node) -> Option<usize> {
        #[derive(Deserialize)]
        struct Info {
            leader: Option<Leader>,
        }
        #[derive(Deserialize)]
        struct Leader {
            node_id: usize,
        }
        let (_, body) = get(node.api, "/v1/info").await.ok()?;
        let info: Info = serde_json::from_str(&body).ok()?;
        info.leader?.node_id.checked_sub(1)
    }

    /// Ends a node with SIGKILL.
    pub(super) fn kill(&mut self, index: usize) -> Outcome {
        self.nodes[index]
            .server
            .kill()
            .map_err(|error| failed("cannot kill a node", &error))
    }

    /// Starts a killed node again.
    pub(super) fn restart(&mut self, index: usize) -> Outcome {
        self.nodes[index]
            .server
            .restart()
            .map_err(|error| failed("cannot start a node again", &error))
    }

    /// What every node used and counted. The counts are those of its present incarnation.
    pub(super) async fn reports(&self) -> Vec<NodeReport> {
        let mut reports = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let usage = node.server.usage();
            let text = match get(node.ops, "/metrics").await {
                Ok((200, body)) => body,
                _ => String::new(),
            };
            reports.push(NodeReport {
                name: node.server.name().to_owned(),
                cpu_seconds: usage.cpu_seconds,
                rss_bytes: usage.rss_bytes,
                syncs: scrape::count(&text, scrape::SYNCS),
                entries: scrape::count(&text, scrape::ENTRIES),
                operations: scrape::count(&text, scrape::OPERATIONS),
            });
        }
        reports
    }
}

/// One GET on a thread that may block, so that the load goes on meanwhile.
async fn get(address: SocketAddr, path: &'static str) -> std::io::Result<(u16, String)> {
    tokio::task::spawn_blocking(move || healthcheck::get(address, path, ANSWER_TIMEOUT))
        .await
        .map_err(std::io::Error::other)?
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Unavailable, format!("{what}: {error}"))
}
