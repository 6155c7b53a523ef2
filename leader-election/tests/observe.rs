//! Proves that observers of a replica in this process miss nothing: from the beginning, from a revision,
//! on any node, when they do not keep up, and when their revision is none of this cluster's.
#![cfg(feature = "node")]
#![allow(clippy::unwrap_used, reason = "a test")]

use futures::StreamExt as _;
use quorate_core::error::Code;
use quorate_core::node::{Config, Node};
use quorate_core::types::{Name, NodeId};
use quorate_leader_election::machine::{
    Campaign, Change, Command, Liveness, Renewal, Reply, SessionId, What,
};
use quorate_leader_election::node::ElectionNode;
use quorate_leader_election::service::{Caller, ElectionService, Observation, Observed};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

fn caller() -> Caller {
    Caller {
        timeout: PATIENCE,
        ..Caller::default()
    }
}

async fn run(node: &ElectionNode, command: Command) -> Reply {
    node.execute(&caller(), command).await.unwrap().reply
}

async fn open(node: &ElectionNode) -> SessionId {
    let open = Command::OpenSession {
        ttl_ms: 3_600_000,
        label: Arc::from("test"),
    };
    match run(node, open).await {
        Reply::Session(opened) => opened.session,
        other => panic!("{other:?}"),
    }
}

/// Campaigns, or says something else of itself.
async fn campaign(node: &ElectionNode, candidate: &str, session: SessionId, metadata: &str) -> u64 {
    let campaign = Command::Campaign(Campaign {
        election: name("e"),
        candidate: name(candidate),
        liveness: Liveness::Session(session),
        priority: 0,
        metadata: Arc::from(metadata),
    });
    match run(node, campaign).await {
        Reply::Campaigned(campaigned) => campaigned.revision,
        other => panic!("{other:?}"),
    }
}

async fn next(observation: &mut Observation) -> Observed {
    tokio::time::timeout(PATIENCE, observation.next())
        .await
        .expect("something is told in time")
        .expect("an observation does not end by itself")
        .unwrap()
}

async fn next_change(observation: &mut Observation) -> Arc<Change> {
    match next(observation).await {
        Observed::Change(change) => change,
        other => panic!("a change should come, not {other:?}"),
    }
}

#[tokio::test]
async fn an_observer_sees_the_state_and_then_every_change() {
    let node = ElectionNode::new(Node::start(Config::in_memory()).await.unwrap());
    let mut seen = node.observe(&caller(), name("e"), None).await.unwrap();
    let Observed::State(state) = next(&mut seen).await else {
        panic!("the state comes first");
    };
    assert!(
        state.changed == 0 && state.leader.is_none(),
        "there is no such election yet"
    );
    let session = open(&node).await;
    campaign(&node, "a", session, "").await;
    let joined = next_change(&mut seen).await;
    assert!(matches!(joined.what, What::Joined { .. }));
    let elected = next_change(&mut seen).await;
    assert_eq!(elected.what, What::Elected);
    assert_eq!((joined.previous, elected.previous), (0, joined.revision));
    // Renewals make no event: the next one is the end.
    let renewal = Renewal {
        sessions: vec![session],
        elections: vec![name("e")],
    };
    let renewed = node.renew(&caller(), renewal).await.unwrap();
    assert_eq!(renewed.live.len(), 1);
    assert_eq!(renewed.elections[0].leader, elected.leader);
    run(&node, Command::CloseSession { session }).await;
    let whats = [
        next_change(&mut seen).await,
        next_change(&mut seen).await,
        next_change(&mut seen).await,
    ]
    .map(|change| change.what.clone());
    assert!(
        matches!(
            whats,
            [What::Ended { .. }, What::Left { .. }, What::Removed]
        ),
        "{whats:?}"
    );
    // From a revision in the past, the same again.
    let mut again = node
        .observe(&caller(), name("e"), Some(joined.revision))
        .await
        .unwrap();
    assert_eq!(next_change(&mut again).await, elected);
    // From one of another cluster, the state.
    let mut foreign = node.observe(&caller(), name("e"), Some(7)).await.unwrap();
    assert!(matches!(next(&mut foreign).await, Observed::State(_)));
    let mut ahead = node
        .observe(&caller(), name("e"), Some(u64::MAX))
        .await
        .unwrap();
    assert!(matches!(next(&mut ahead).await, Observed::State(_)));
}

#[tokio::test]
async fn an_observer_that_does_not_keep_up_misses_nothing() {
    let node = ElectionNode::new(Node::start(Config::in_memory()).await.unwrap());
    let session = open(&node).await;
    let mut last = campaign(&node, "a", session, "").await;
    let mut seen = node
        .observe(&caller(), name("e"), Some(last))
        .await
        .unwrap();
    let mut expected = Vec::new();
    for number in 0..500 {
        expected.push(campaign(&node, "a", session, &number.to_string()).await);
    }
    for revision in expected {
        let change = next_change(&mut seen).await;
        assert_eq!((change.previous, change.revision), (last, revision));
        last = revision;
    }
}

#[tokio::test]
async fn callers_may_not_log_what_is_the_leaders_own() {
    let node = ElectionNode::new(Node::start(Config::in_memory()).await.unwrap());
    let session = open(&node).await;
    let expire = Command::Expire {
        sessions: vec![session],
    };
    let refused = node.execute(&caller(), expire).await.unwrap_err();
    assert_eq!(refused.code, Code::Forbidden);
}

fn configs(dir: &std::path::Path) -> Vec<Config> {
    let held: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let addresses: BTreeMap<NodeId, SocketAddr> = (1..)
        .map(NodeId)
        .zip(held.iter().map(|listener| listener.local_addr().unwrap()))
        .collect();
    addresses
        .iter()
        .map(|(node, address)| Config {
            node: *node,
            peers: addresses
                .iter()
                .map(|(peer, at)| (*peer, at.to_string()))
                .collect(),
            peer_listen: Some(*address),
            data_dir: Some(dir.join(node.to_string())),
            ..Config::in_memory()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observers_on_every_node_see_the_same_also_after_one_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let configs = configs(dir.path());
    let mut nodes = Vec::new();
    for config in &configs {
        nodes.push(ElectionNode::new(
            Node::start(config.clone()).await.unwrap(),
        ));
    }
    for node in &nodes {
        node.replica().ready(PATIENCE).await.unwrap();
    }
    let mut streams = Vec::new();
    for node in &nodes {
        streams.push(node.observe(&caller(), name("e"), None).await.unwrap());
    }
    for stream in &mut streams {
        assert!(matches!(next(stream).await, Observed::State(_)));
    }
    let session = open(&nodes[0]).await;
    campaign(&nodes[1], "a", session, "").await;
    campaign(&nodes[2], "b", session, "").await;
    let mut told = Vec::new();
    for stream in &mut streams {
        let changes = [
            next_change(stream).await,
            next_change(stream).await,
            next_change(stream).await,
        ];
        told.push(changes.map(|change| (change.revision, change.what.clone())));
    }
    assert!(told.iter().all(|changes| *changes == told[0]), "{told:?}");
    // A node is away while things happen; whoever observed there goes on after the last revision.
    let away = nodes.pop().unwrap();
    away.replica().shutdown().await;
    drop((away, streams));
    let after = told[0][2].0;
    let revision = campaign(&nodes[0], "a", session, "new").await;
    let back = ElectionNode::new(Node::start(configs[2].clone()).await.unwrap());
    back.replica().ready(PATIENCE).await.unwrap();
    let mut seen = back
        .observe(&caller(), name("e"), Some(after))
        .await
        .unwrap();
    let change = next_change(&mut seen).await;
    assert_eq!((change.previous, change.revision), (after, revision));
}
