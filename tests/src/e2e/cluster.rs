//! Three nodes as containers on a network of their own: peer TLS, API TLS and a token, as an operator would run
//! them, with a read-only root and without any capability.

use super::docker::{self, Network, Run, docker, mounted};
use anyhow::bail;
use quorate_core::runtime::{Pattern, healthcheck};
use quorate_core::tls::certs::Authority;
use quorate_core::tls::upstream::Upstream;
use quorate_core::types::{Name, NodeId};
use quorate_leader_election::client as election;
use quorate_leader_election::election::Election;
use quorate_leader_election::service::ElectionService as _;
use quorate_work_queue::client as queue;
use quorate_work_queue::queue::Queue;
use quorate_work_queue::service::QueueService as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the certificates are in a container.
const TLS_DIR: &str = "/run/quorate/tls";

/// A node that does not start within this never will.
const READY_MAX: Duration = Duration::from_secs(60);

/// What is different from the usual three nodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    /// Further arguments of `docker run`.
    pub(super) run: Vec<String>,
    /// Further variables.
    pub(super) env: Vec<(String, String)>,
    /// Bytes of each data volume, in memory; on the engine's disk otherwise.
    pub(super) volume_bytes: Option<u64>,
    /// Bytes of memory of each container.
    pub(super) memory_bytes: Option<u64>,
}

/// The nodes. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Cluster {
    run: Run,
    pattern: Pattern,
    image: String,
    network: Network,
    dir: tempfile::TempDir,
    authority: Authority,
    options: Options,
}

impl Cluster {
    /// Starts the nodes and waits until they serve.
    ///
    /// # Errors
    /// One that does not come up, with the end of its log.
    pub(super) async fn start(
        name: &str,
        (pattern, image): (Pattern, String),
        options: Options,
    ) -> anyhow::Result<Self> {
        let run = Run::new(name);
        let network = run.network("net")?;
        let cluster_name = Name::new("e2e").map_err(|error| anyhow::anyhow!(error))?;
        let authority = Authority::create(&cluster_name)?;
        let dir = tempfile::tempdir()?;
        let cluster = Self {
            run,
            pattern,
            image,
            network,
            dir,
            authority,
            options,
        };
        cluster.secrets()?;
        for id in Self::ids() {
            let volume = format!("data-{id}");
            cluster.run.volume(&volume, cluster.options.volume_bytes)?;
            cluster.create(id)?;
        }
        cluster.wait_ready(READY_MAX).await?;
        Ok(cluster)
    }

    /// The numbers of the nodes.
    pub(super) fn ids() -> std::ops::RangeInclusive<u64> {
        1..=3
    }

    /// Name of a node's container.
    pub(super) fn container(&self, id: u64) -> String {
        self.run.named(&format!("node-{id}"))
    }

    /// The run it belongs to.
    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// What signed its certificates.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn secrets(&self) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = self.dir.path();
        // The containers run as another user than this test.
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        std::fs::write(dir.join("ca.crt"), self.authority.issued().cert)?;
        for id in Self::ids() {
            let issued = self.authority.peer(NodeId(id), 2)?;
            std::fs::write(dir.join(format!("node-{id}.crt")), &issued.cert)?;
            std::fs::write(dir.join(format!("node-{id}.key")), &issued.key)?;
        }
        let hosts: Vec<String> = Self::ids().map(|id| self.address(id).to_string()).collect();
        let api = self.authority.server(&hosts, 2)?;
        std::fs::write(dir.join("api.crt"), &api.cert)?;
        std::fs::write(dir.join("api.key"), &api.key)?;
        std::fs::write(dir.join("token"), "e2e-0123456789abcdef0123456789abcdef")?;
        Ok(())
    }

    /// `docker run` of a node.
    fn create(&self, id: u64) -> anyhow::Result<()> {
        let peers: Vec<String> = Self::ids()
            .map(|id| format!("{id}=node-{id}:{}", self.peer_port()))
            .collect();
        let file = |name: &str| format!("{TLS_DIR}/{name}");
        let mut env = vec![
            ("QUORATE_NODE_ID".to_owned(), id.to_string()),
            ("QUORATE_PEERS".to_owned(), peers.join(",")),
            (
                "QUORATE_LISTEN".to_owned(),
                format!("0.0.0.0:{}", self.pattern.api_port()),
            ),
            (
                "QUORATE_PEER_LISTEN".to_owned(),
                format!("0.0.0.0:{}", self.peer_port()),
            ),
            ("QUORATE_TOKEN_FILE".to_owned(), file("token")),
            ("QUORATE_TLS_CERT".to_owned(), file("api.crt")),
            ("QUORATE_TLS_KEY".to_owned(), file("api.key")),
            (
                "QUORATE_PEER_TLS_CERT".to_owned(),
                file(&format!("node-{id}.crt")),
            ),
            (
                "QUORATE_PEER_TLS_KEY".to_owned(),
                file(&format!("node-{id}.key")),
            ),
            ("QUORATE_PEER_TLS_CA".to_owned(), file("ca.crt")),
        ];
        env.extend(self.options.env.iter().cloned());
        self.create_with(id, &env, &format!("data-{id}"), self.dir.path())
    }

    /// The same with other variables, another volume and other secrets, for nodes that must not get in.
    ///
    /// # Errors
    /// As [`docker`].
    pub(super) fn create_with(
        &self,
        id: u64,
        env: &[(String, String)],
        volume: &str,
        secrets: &Path,
    ) -> anyhow::Result<()> {
        let name = self.container(id);
        let label = self.run.label();
        let data = format!("{}:/var/lib/quorate", self.run.named(volume));
        let tls = mounted(secrets, TLS_DIR);
        let (alias, address) = (format!("node-{id}"), self.address(id).to_string());
        let mut arguments: Vec<String> = [
            "run",
            "--detach",
            "--name",
            &name,
            "--label",
            &label,
            "--network",
            &self.network.name,
            "--ip",
            &address,
            "--network-alias",
            &alias,
            "--hostname",
            &alias,
            "--read-only",
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--pids-limit",
            "256",
            "--volume",
            &data,
            "--volume",
            &tls,
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(bytes) = self.options.memory_bytes {
            // Without swap, or the limit would only make it slow.
            arguments.extend(["--memory".to_owned(), bytes.to_string()]);
            arguments.extend(["--memory-swap".to_owned(), bytes.to_string()]);
        }
        for (key, value) in env {
            arguments.extend(["--env".to_owned(), format!("{key}={value}")]);
        }
        arguments.extend(self.options.run.iter().cloned());
        arguments.push(self.image.clone());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        docker(&arguments)?;
        Ok(())
    }

    /// The queue that all nodes serve.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(super) fn queue(&self) -> anyhow::Result<Queue> {
        let config = queue::Config {
            servers: self.servers(Self::ids()),
            token: Some(self.token()?),
            tls: Some(self.upstream()),
        };
        let client = queue::Client::new(&config)?;
        Ok(Queue::from_service(std::sync::Arc::new(client)))
    }

    /// The elections that all nodes serve, for one candidate.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(super) fn election(&self) -> anyhow::Result<Election> {
        Ok(Election::over(self.election_client(Self::ids())?))
    }

    fn election_client(&self, ids: impl Iterator<Item = u64>) -> anyhow::Result<election::Client> {
        let config = election::Config {
            servers: self.servers(ids),
            token: Some(self.token()?),
            tls: Some(self.upstream()),
        };
        Ok(election::Client::new(&config)?)
    }

    fn servers(&self, ids: impl Iterator<Item = u64>) -> Vec<String> {
        ids.map(|id| SocketAddr::new(self.address(id), self.pattern.api_port()))
            .map(|address| format!("https://{address}"))
            .collect()
    }

    fn token(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.dir.path().join("token"))?)
    }

    fn upstream(&self) -> Upstream {
        Upstream {
            ca: self.dir.path().join("ca.crt"),
            own: None,
        }
    }

    /// Both patterns that form clusters have one.
    fn peer_port(&self) -> u16 {
        self.pattern.peer_port().unwrap_or_default()
    }

    /// Whom a node takes for the leader.
    async fn leader_by(&self, id: u64) -> anyhow::Result<Option<u64>> {
        let id = std::iter::once(id);
        Ok(match self.pattern {
            Pattern::LeaderElection => self.election_client(id)?.cluster().await?.leader,
            Pattern::WorkQueue | Pattern::ScatterGather => {
                let config = queue::Config {
                    servers: self.servers(id),
                    token: Some(self.token()?),
                    tls: Some(self.upstream()),
                };
                queue::Client::new(&config)?.cluster().await?.leader
            }
        })
    }

    /// The address of a node.
    pub(super) fn address(&self, id: u64) -> IpAddr {
        // Ids are few; an absurd one gets an address that nobody has.
        self.network
            .address(u8::try_from(id).unwrap_or(100).saturating_add(10))
    }

    /// Cuts a node off from everybody.
    ///
    /// # Errors
    /// As [`docker`].
    pub(super) fn disconnect(&self, id: u64) -> anyhow::Result<()> {
        docker(&[
            "network",
            "disconnect",
            &self.network.name,
            &self.container(id),
        ])
        .map(|_| ())
    }

    /// Joins it again, under its address.
    ///
    /// # Errors
    /// As [`docker`].
    pub(super) fn connect(&self, id: u64) -> anyhow::Result<()> {
        let (alias, address) = (format!("node-{id}"), self.address(id).to_string());
        docker(&[
            "network",
            "connect",
            "--alias",
            &alias,
            "--ip",
            &address,
            &self.network.name,
            &self.container(id),
        ])
        .map(|_| ())
    }

    /// The node that most of the others take for the leader.
    pub(super) async fn leader(&self) -> Option<u64> {
        let mut votes = std::collections::BTreeMap::new();
        for id in Self::ids() {
            let asked = tokio::time::timeout(Duration::from_secs(2), self.leader_by(id)).await;
            if let Ok(Ok(Some(leader))) = asked {
                *votes.entry(leader).or_insert(0_u32) += 1;
            }
        }
        votes
            .into_iter()
            .max_by_key(|(_, votes)| *votes)
            .map(|(leader, _)| leader)
    }

    /// Waits until a leader is known, and names it.
    ///
    /// # Errors
    /// None within a minute.
    pub(super) async fn wait_leader(&self) -> anyhow::Result<u64> {
        let end = Instant::now() + READY_MAX;
        while Instant::now() < end {
            if let Some(leader) = self.leader().await {
                return Ok(leader);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("no leader within {READY_MAX:?}")
    }

    /// Whether a node serves, by its probe.
    pub(super) async fn is_ready(&self, id: u64) -> bool {
        let ops = SocketAddr::new(self.address(id), self.pattern.ops_port());
        let asked = tokio::task::spawn_blocking(move || {
            healthcheck::get(ops, "/readyz", Duration::from_secs(1))
        });
        matches!(asked.await, Ok(Ok((200, _))))
    }

    /// Waits until every node serves.
    ///
    /// # Errors
    /// One does not within `patience`; the error holds the end of its log.
    pub(super) async fn wait_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        for id in Self::ids() {
            while !self.is_ready(id).await {
                if Instant::now() > end {
                    bail!(
                        "node {id} does not become ready; the end of its log:\n{}",
                        docker::log_tail(&self.container(id))
                    );
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}
