//! How a cluster comes into being: once, from all its initial peers, each with an empty disk.
//!
//! Every unformed node asks every peer who it is. The lowest node, when all have answered, are unformed
//! and were given the same peers, draws the cluster id and syncs the first configuration, which names
//! the disk of every member. The others find it by asking, and join if their own disk is in it. After
//! that the configured peers are only addresses.
//!
//! A node whose disk is not in the configuration of a formed cluster was wiped or is foreign: it must
//! not vote, because its predecessor may have acknowledged what it has forgotten (Ongaro 2014, 4).

use super::peers::{Links, Standing, cluster_from_wire, member_from_wire, why};
use crate::replica::Member;
use crate::types::{ClusterId, NodeId};
use quorate_proto::peer::HelloResponse;
use quorate_proto::peer::peer_client::PeerClient;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tonic::transport::Channel;

/// Pause between rounds of asking.
const PAUSE: Duration = Duration::from_millis(50);

/// How long one peer may take to answer.
const HELLO_TIMEOUT: Duration = Duration::from_secs(1);

/// The first configuration of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Formed {
    pub(super) cluster: ClusterId,
    pub(super) members: Vec<Member>,
}

/// What one round of asking came to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// The cluster exists and this disk is in it, or it is this node's to form.
    Formed(Formed),
    /// Not yet; why, for people.
    Wait(String),
    /// Never, without an operator.
    Refused(String),
}

/// Asks until the cluster is formed. `waiting` hears why it is not.
///
/// # Errors
/// Why this node can never be part of it as it is, and what to do.
pub(super) async fn form(
    standing: &watch::Receiver<Standing>,
    addresses: &BTreeMap<NodeId, String>,
    links: &Links,
    mut waiting: impl FnMut(&str),
) -> Result<Formed, String> {
    let me = standing.borrow().clone();
    let mut channels = BTreeMap::new();
    for (node, address) in addresses.iter().filter(|(node, _)| **node != me.me.node) {
        channels.insert(*node, links.channel(*node, address)?);
    }
    let mut last = String::new();
    loop {
        let answers = ask_all(&me, &channels).await;
        match judge(&me, &answers, ClusterId(rand::random())) {
            Round::Formed(formed) => return Ok(formed),
            Round::Refused(reason) => return Err(reason),
            Round::Wait(reason) => {
                if reason != last {
                    tracing::info!(reason, "the cluster is not formed yet");
                    waiting(&reason);
                    last = reason;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

type Answers = BTreeMap<NodeId, Result<HelloResponse, String>>;

async fn ask_all(me: &Standing, channels: &BTreeMap<NodeId, Channel>) -> Answers {
    let asks = channels.iter().map(|(node, channel)| async move {
        let mut client = PeerClient::new(channel.clone());
        let answer = match tokio::time::timeout(HELLO_TIMEOUT, client.hello(me.hello(*node))).await
        {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable => {
                Err(format!("cannot be reached ({})", why(&status)))
            }
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err("does not answer".to_owned()),
        };
        (*node, answer)
    });
    futures::future::join_all(asks).await.into_iter().collect()
}

fn judge(me: &Standing, answers: &Answers, fresh: ClusterId) -> Round {
    let mut members = vec![me.me];
    let mut missing = Vec::new();
    for (node, answer) in answers {
        let response = match answer {
            Ok(response) => response,
            Err(why) => {
                missing.push(format!("node {node} {why}"));
                continue;
            }
        };
        let Some(identity) = &response.identity else {
            missing.push(format!("node {node} does not say who it is"));
            continue;
        };
        if identity.node_id != node.0 {
            return Round::Wait(format!(
                "the address of node {node} is answered by node {}; correct QUORATE_PEERS",
                identity.node_id
            ));
        }
        if let Some(cluster) = cluster_from_wire(&identity.cluster_id) {
            return join(me, cluster, response);
        }
        let theirs: Vec<NodeId> = response
            .initial_peers
            .iter()
            .map(|node| NodeId(*node))
            .collect();
        if theirs != me.initial_peers {
            return Round::Wait(format!(
                "node {node} was started with the peers {}, this node with {}; make QUORATE_PEERS the same on all",
                list(&theirs),
                list(&me.initial_peers)
            ));
        }
        match member_from_wire(identity.node_id, &identity.disk_id) {
            Some(member) => members.push(member),
            None => missing.push(format!("node {node} has a malformed disk id")),
        }
    }
    if !missing.is_empty() {
        return Round::Wait(format!(
            "a new cluster needs all its nodes once: {}",
            missing.join(", ")
        ));
    }
    if me.initial_peers.first() == Some(&me.me.node) {
        members.sort_by_key(|member| member.node);
        Round::Formed(Formed {
            cluster: fresh,
            members,
        })
    } else {
        Round::Wait("the lowest node forms the cluster at this moment".to_owned())
    }
}

fn join(me: &Standing, cluster: ClusterId, response: &HelloResponse) -> Round {
    let members: Option<Vec<Member>> = response
        .members
        .iter()
        .map(|member| member_from_wire(member.node_id, &member.disk_id))
        .collect();
    match members {
        None => Round::Wait("a peer's member list is malformed".to_owned()),
        Some(members) if members.contains(&me.me) => Round::Formed(Formed { cluster, members }),
        Some(members) if members.iter().any(|member| member.node == me.me.node) => {
            Round::Refused(format!(
                "cluster {cluster} knows node {} with another disk: its data directory was lost or exchanged. A node without its \
             data never votes, because it has forgotten what it acknowledged. Bring the old directory back, or remove \
             node {} from the cluster and add this one under a new id",
                me.me.node, me.me.node
            ))
        }
        Some(_) => Round::Refused(format!(
            "cluster {cluster} is formed and node {} is not a member; add it to the cluster first",
            me.me.node
        )),
    }
}

fn list(nodes: &[NodeId]) -> String {
    nodes
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DiskId;

    fn member(node: u64) -> Member {
        Member {
            node: NodeId(node),
            disk: DiskId(u128::from(node)),
        }
    }

    fn standing(node: u64) -> Standing {
        Standing {
            cluster: None,
            me: member(node),
            members: Vec::new(),
            initial_peers: (1..=3).map(NodeId).collect(),
        }
    }

    fn formed() -> Formed {
        Formed {
            cluster: ClusterId(7),
            members: (1..=3).map(member).collect(),
        }
    }

    fn answers(list: impl IntoIterator<Item = Standing>) -> Answers {
        list.into_iter()
            .map(|standing| (standing.me.node, Ok(standing.hello_response())))
            .collect()
    }

    #[test]
    fn the_lowest_node_forms_once_all_are_there_and_the_others_join_what_it_formed() {
        let all = answers([standing(2), standing(3)]);
        assert_eq!(
            judge(&standing(1), &all, ClusterId(7)),
            Round::Formed(formed())
        );
        let not_lowest = judge(
            &standing(2),
            &answers([standing(1), standing(3)]),
            ClusterId(8),
        );
        assert!(matches!(not_lowest, Round::Wait(_)));
        let first = Standing {
            cluster: Some(ClusterId(7)),
            members: formed().members,
            ..standing(1)
        };
        assert_eq!(
            judge(&standing(2), &answers([first, standing(3)]), ClusterId(8)),
            Round::Formed(formed())
        );
    }

    #[test]
    fn a_missing_or_disagreeing_peer_is_waited_for_and_a_wiped_node_is_refused() {
        let mut one_missing = answers([standing(2)]);
        one_missing.insert(NodeId(3), Err("cannot be reached".to_owned()));
        assert!(
            matches!(judge(&standing(1), &one_missing, ClusterId(7)), Round::Wait(why) if why.contains("node 3"))
        );

        let other_peers = Standing {
            initial_peers: vec![NodeId(1), NodeId(2)],
            ..standing(2)
        };
        let disagree = judge(
            &standing(1),
            &answers([other_peers, standing(3)]),
            ClusterId(7),
        );
        assert!(matches!(disagree, Round::Wait(why) if why.contains("1,2")));

        let first = Standing {
            cluster: Some(ClusterId(7)),
            members: formed().members,
            ..standing(1)
        };
        let wiped = Standing {
            me: Member {
                disk: DiskId(99),
                ..member(2)
            },
            ..standing(2)
        };
        assert!(
            matches!(judge(&wiped, &answers([first.clone()]), ClusterId(8)), Round::Refused(why) if why.contains("another disk"))
        );
        let stranger = Standing {
            me: member(4),
            ..standing(4)
        };
        assert!(
            matches!(judge(&stranger, &answers([first]), ClusterId(8)), Round::Refused(why) if why.contains("not a member"))
        );
    }
}
