//! Three nats-server processes with JetStream on loopback.

use anyhow::Result;
use quorate_cli::measure::{NodeReport, Server, TempDir, free_ports, temp_dir};
use std::path::Path;

/// Servers of the cluster.
pub(crate) const NODES: usize = 3;

/// A running cluster; dropped, its processes and data are gone.
pub(crate) struct Cluster {
    // Fields drop in this order: the processes end before their directory goes.
    servers: Vec<Server>,
    urls: Vec<String>,
    _data: TempDir,
}

impl Cluster {
    /// Starts the processes; they find each other on their own.
    pub(crate) fn start(program: &Path, base: Option<&Path>) -> Result<Self> {
        let data = temp_dir(base, "bench-nats-")?;
        let ports = free_ports(2 * NODES)?;
        let (clients, routes) = ports.split_at(NODES);
        let all_routes: Vec<String> = routes
            .iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        let mut servers = Vec::new();
        for node in 0..NODES {
            let name = format!("nats-{}", node + 1);
            let store = data.path().join(&name);
            let args = [
                "--name",
                &name,
                "--addr",
                "127.0.0.1",
                "--port",
                &clients[node].to_string(),
                "--jetstream",
                "--store_dir",
                &store.to_string_lossy(),
                "--cluster_name",
                "bench",
                "--cluster",
                &all_routes[node],
                "--routes",
                &all_routes.join(","),
            ]
            .map(ToOwned::to_owned);
            let log = data.path().join(format!("{name}.log"));
            servers.push(Server::start(&name, program, args.into(), vec![], log)?);
        }
        Ok(Self {
            servers,
            urls: clients
                .iter()
                .map(|port| format!("nats://127.0.0.1:{port}"))
                .collect(),
            _data: data,
        })
    }

    /// The address of one server; connections are spread over all.
    pub(crate) fn url(&self, connection: u32) -> &str {
        &self.urls[connection as usize % NODES]
    }

    /// What the processes used up.
    pub(crate) fn reports(&self) -> Vec<NodeReport> {
        self.servers
            .iter()
            .map(|server| {
                let usage = server.usage();
                NodeReport {
                    name: server.name().to_owned(),
                    cpu_seconds: usage.cpu_seconds,
                    rss_bytes: usage.rss_bytes,
                    ..NodeReport::default()
                }
            })
            .collect()
    }

    /// The end of every server's log, for a failure to start.
    pub(crate) fn logs(&self) -> String {
        self.servers
            .iter()
            .map(|server| format!("{}:\n{}\n", server.name(), server.log_tail()))
            .collect()
    }
}
