//! `quorate cluster status`: every node that the settings name, as it sees itself.

use super::NotBuilt;
use super::certs::Certs;
use crate::connect;
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::view::{ClusterDocument, NodeRow};
use clap::{Args, Subcommand};
use quorate_core::error::Code;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::runtime::{Pattern, Settings};
use quorate_leader_election::service::ElectionService as _;
use quorate_work_queue::service::{ClusterInfo, QueueService as _};
use std::time::Duration;

/// Look at the cluster, make its certificates
#[derive(Debug, Args)]
pub(crate) struct Cluster {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(Status),
    Certs(Certs),
    #[command(hide = true)]
    Add(NotBuilt),
    #[command(hide = true)]
    Remove(NotBuilt),
    #[command(hide = true)]
    Replace(NotBuilt),
    #[command(hide = true)]
    Snapshot(NotBuilt),
}

/// Ask every server for its role, term, leader and log; exits 69 unless a leader is known and ready
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate cluster status --servers http://10.0.0.1:7072,http://10.0.0.2:7072,http://10.0.0.3:7072

Work queues and leader elections answer alike.")]
struct Status {
    /// How long to wait for each
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    client: ClientFlags,
}

impl Cluster {
    pub(crate) fn run(self, context: Context) -> Outcome {
        match self.command {
            Command::Status(args) => context.block_on(status(args, context)),
            Command::Certs(args) => args.run(context),
            Command::Add(_) | Command::Remove(_) | Command::Replace(_) => NotBuilt::refuse(
                "changing the members of a cluster",
                "a cluster keeps the members it was formed of; docs/operations.md says what to do when a node is lost for good",
            ),
            Command::Snapshot(_) => NotBuilt::refuse(
                "taking a snapshot by order",
                "nodes take them by themselves, and a copy of one node is no backup: docs/operations.md says why",
            ),
        }
    }
}

async fn status(args: Status, context: Context) -> Outcome {
    let settings = Settings::load(Pattern::WorkQueue, &args.client.values)?;
    let asked = settings.servers.0.iter().map(|server| {
        let settings = &settings;
        async move {
            let asking = ask(settings, server);
            let answer = match tokio::time::timeout(args.timeout, asking).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {:?}", args.timeout)),
            };
            (server.clone(), answer)
        }
    });
    let document = document(futures::future::join_all(asked).await);
    context.output.print(&document)?;
    let serves = document.leader.is_some() && document.nodes.iter().any(|node| node.ready);
    if serves {
        Ok(())
    } else {
        Err(Failure::new(
            Exit::Unavailable,
            "the cluster does not serve: no server is ready and knows a leader",
        ))
    }
}

/// Asks one server. A connection is tried first, because the client would go on trying and leave no
/// time to say why it cannot.
async fn ask(settings: &Settings, server: &str) -> Result<ClusterInfo, String> {
    if let Some(address) = server.strip_prefix("http://") {
        tokio::net::TcpStream::connect(address.trim_end_matches('/'))
            .await
            .map_err(|error| error.to_string())?;
    }
    let client = connect::one(settings, server).map_err(|failure| failure.to_string())?;
    let info = match client.cluster().await {
        // No work queue: the other pattern that is a cluster.
        Err(error) if error.code == Code::Unimplemented => {
            connect::one_election(settings, server)
                .map_err(|failure| failure.to_string())?
                .cluster()
                .await
        }
        info => info,
    };
    info.map_err(|error| error.to_string())
}

/// The leader is the one that the node with the highest term names: a node that was cut off still
/// names the one before.
fn document(answers: Vec<(String, Result<ClusterInfo, String>)>) -> ClusterDocument {
    let newest = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok())
        .filter(|info| info.leader.is_some())
        .max_by_key(|info| info.term);
    let leader = newest.and_then(|info| info.leader);
    let cluster_id = answers
        .iter()
        .filter_map(|(_, answer)| answer.as_ref().ok())
        .map(|info| info.cluster_id.clone())
        .find(|id| !id.is_empty());
    let nodes = answers
        .into_iter()
        .map(|(server, answer)| row(server, answer, leader))
        .collect();
    ClusterDocument {
        cluster_id,
        leader,
        nodes,
    }
}

fn row(server: String, answer: Result<ClusterInfo, String>, leader: Option<u64>) -> NodeRow {
    match answer {
        Ok(info) => NodeRow {
            server,
            node_id: (info.node_id != 0).then_some(info.node_id),
            role: match info.node_id {
                0 => "sidecar",
                id if Some(id) == leader => "leader",
                _ => "follower",
            }
            .to_owned(),
            ready: info.ready,
            term: info.term,
            commit: info.commit,
            applied: info.applied,
            reason: info.reason,
        },
        Err(reason) => NodeRow {
            server,
            role: "unreachable".to_owned(),
            reason,
            ..NodeRow::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_cut_off_does_not_name_the_leader() {
        let info = |node_id, term, leader| {
            Ok(ClusterInfo {
                node_id,
                term,
                leader,
                ready: true,
                ..ClusterInfo::default()
            })
        };
        let document = document(vec![
            ("a".into(), info(1, 4, Some(1))),
            ("b".into(), info(2, 7, Some(3))),
            ("c".into(), Err("refused".into())),
        ]);
        assert_eq!(document.leader, Some(3));
        let roles: Vec<_> = document
            .nodes
            .iter()
            .map(|node| node.role.as_str())
            .collect();
        assert_eq!(roles, ["follower", "follower", "unreachable"]);
    }
}
