//! Proves that nodes over real sockets and real files form a cluster, answer from any node, survive
//! the loss of the leader and a restart of all, and refuse what is not theirs.
#![cfg(feature = "replica")]
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_core::codec::{self, CodecError};
use quorate_core::error::{Code, Error};
use quorate_core::machine::{Context, Duties, Machine, OpKey, Origin, WaitKey};
use quorate_core::node::{Config, Node, NodeState};
use quorate_core::types::{LogTime, Mono, Name, NodeId, Principal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// A row of named sums, with a command that waits for one to become positive.
#[derive(Debug)]
struct Sums {
    sums: BTreeMap<String, i64>,
    slices: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Command {
    Add(String, i64),
    Take(String),
}

#[derive(Debug)]
struct NoDuties;

impl Machine for Sums {
    type Command = Command;
    type Reply = i64;
    type Query = String;
    type Answer = i64;
    type Renewal = ();
    type Renewed = ();
    type Event = String;
    type Duties = NoDuties;
    const LEVEL: u16 = 1;

    fn new() -> Self {
        Self {
            sums: BTreeMap::new(),
            slices: Vec::new(),
        }
    }
    fn advance(&mut self, _: &mut Context<'_, String>) {}
    fn apply(&mut self, ctx: &mut Context<'_, String>, command: Command) -> Result<i64, Error> {
        match command {
            Command::Add(name, n) => {
                let sum = self.sums.entry(name.clone()).or_default();
                *sum += n;
                ctx.events.push(name);
                Ok(*sum)
            }
            Command::Take(name) => Ok(self.sums.remove(&name).unwrap_or(0)),
        }
    }
    fn next_deadline(&self) -> Option<LogTime> {
        None
    }
    fn query(&self, _: &NoDuties, _: LogTime, name: String) -> Result<i64, Error> {
        self.sums
            .get(&name)
            .copied()
            .ok_or_else(|| Error::not_found("no such sum"))
    }
    fn parks(&self, command: &Command) -> Option<WaitKey> {
        match command {
            Command::Take(name) if !self.sums.contains_key(name) => Name::new(name).ok(),
            _ => None,
        }
    }
    fn wakes(event: &String) -> Option<WaitKey> {
        Name::new(event).ok()
    }
    fn parked_reply(_: &Command) -> i64 {
        -1
    }
    fn snapshot_begin(&mut self) {
        self.slices = vec![codec::encode(&self.sums)];
    }
    fn snapshot_slice(&mut self, _: usize) -> Option<Vec<u8>> {
        self.slices.pop()
    }
    fn restore_slice(&mut self, slice: &[u8]) -> Result<(), CodecError> {
        self.sums = codec::decode(slice)?;
        Ok(())
    }
    fn restore_end(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
    fn digest(&self) -> u64 {
        self.sums.values().map(|sum| sum.unsigned_abs()).sum()
    }
}

impl Duties<Sums> for NoDuties {
    fn new(_: &Sums, _: Mono) -> Self {
        Self
    }
    fn arrived(&mut self, _: &Sums, (): &(), _: Mono) {}
    fn confirmed(&mut self, _: &Sums, (): (), _: Mono) -> Result<(), Error> {
        Ok(())
    }
    fn abandoned(&mut self, _: &Sums, (): &()) {}
    fn applied(&mut self, _: &Sums, _: &String, _: Mono) {}
    fn stalled(&mut self, _: Duration) {}
    fn due(&mut self, _: &Sums, _: Mono, _: &mut Vec<Command>) {}
    fn next_due(&self) -> Option<Mono> {
        None
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn add(name: &str, n: i64) -> Command {
    Command::Add(name.to_owned(), n)
}

fn client(key: Option<OpKey>) -> Origin {
    Origin::Client {
        principal: Principal::anonymous(),
        key,
    }
}

async fn execute(node: &Node<Sums>, command: Command) -> i64 {
    node.execute(client(None), command, Duration::ZERO, PATIENCE)
        .await
        .unwrap()
        .0
}

fn free_addresses(count: u64) -> BTreeMap<NodeId, SocketAddr> {
    let held: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    (1..)
        .map(NodeId)
        .zip(held.iter().map(|listener| listener.local_addr().unwrap()))
        .collect()
}

fn configs(dir: &std::path::Path, count: u64) -> Vec<Config> {
    let addresses = free_addresses(count);
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

async fn start_all(configs: &[Config]) -> Vec<Node<Sums>> {
    let mut nodes = Vec::new();
    for config in configs {
        nodes.push(Node::start(config.clone()).await.unwrap());
    }
    for node in &nodes {
        node.ready(PATIENCE).await.unwrap();
    }
    nodes
}

#[tokio::test]
async fn a_single_node_in_memory_executes_answers_and_waits() {
    let node: Node<Sums> = Node::start(Config::in_memory()).await.unwrap();
    assert_eq!(execute(&node, add("a", 2)).await, 2);
    assert_eq!(execute(&node, add("a", 3)).await, 5);
    assert_eq!(node.query("a".to_owned(), PATIENCE).await, Ok(5));
    assert_eq!(
        node.query("b".to_owned(), PATIENCE).await.unwrap_err().code,
        Code::NotFound
    );
    assert_eq!(node.renew((), PATIENCE).await, Ok(()));

    let waiting = {
        let node = node.clone();
        tokio::spawn(async move {
            node.execute(
                client(None),
                Command::Take("w".to_owned()),
                PATIENCE,
                PATIENCE,
            )
            .await
        })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "nothing to take yet");
    execute(&node, add("w", 7)).await;
    assert_eq!(waiting.await.unwrap().unwrap().0, 7);
    let in_vain = node
        .execute(
            client(None),
            Command::Take("x".to_owned()),
            Duration::from_millis(50),
            PATIENCE,
        )
        .await;
    assert_eq!(in_vain, Ok((-1, false)), "the wait ends by itself");
    node.shutdown().await;
    assert_eq!(node.status().borrow().state, NodeState::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_dropped_stops_and_gives_its_directory_free() {
    let dir = tempfile::tempdir().unwrap();
    let config = || configs(dir.path(), 1).remove(0);
    let node: Node<Sums> = Node::start(config()).await.unwrap();
    assert_eq!(execute(&node, add("a", 2)).await, 2);
    let clone = node.clone();
    drop(node);
    assert_eq!(execute(&clone, add("a", 3)).await, 5, "a clone is left");
    drop(clone);
    let again = async {
        loop {
            match Node::<Sums>::start(config()).await {
                Ok(node) => break node,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let node = tokio::time::timeout(PATIENCE, again).await.unwrap();
    assert_eq!(node.query("a".to_owned(), PATIENCE).await, Ok(5));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_answer_from_any_survive_the_leader_and_a_restart_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let configs = configs(dir.path(), 3);
    let nodes = start_all(&configs).await;
    for (n, node) in nodes.iter().enumerate() {
        let n = i64::try_from(n).unwrap();
        assert_eq!(
            execute(node, add("a", 1)).await,
            n + 1,
            "every node answers"
        );
        assert_eq!(
            node.query("a".to_owned(), PATIENCE).await,
            Ok(n + 1),
            "and reads its own write"
        );
    }

    // The same operation under a key is executed once, wherever it is sent.
    let key = || client(Some(OpKey::Idempotency { key: 7, body: 7 }));
    let first = nodes[0]
        .execute(key(), add("keyed", 5), Duration::ZERO, PATIENCE)
        .await;
    let again = nodes[1]
        .execute(key(), add("keyed", 5), Duration::ZERO, PATIENCE)
        .await;
    assert_eq!((first, again), (Ok((5, false)), Ok((5, true))));
    let stream = nodes[2]
        .open_stream(&Principal::anonymous(), PATIENCE)
        .await
        .unwrap();
    let op = || {
        client(Some(OpKey::Stream {
            stream,
            seq: 1,
            done_below: 0,
        }))
    };
    let first = nodes[0]
        .execute(op(), add("streamed", 5), Duration::ZERO, PATIENCE)
        .await;
    let again = nodes[1]
        .execute(op(), add("streamed", 5), Duration::ZERO, PATIENCE)
        .await;
    assert_eq!((first, again), (Ok((5, false)), Ok((5, true))));

    // A caller that waits at a node that does not lead, and goes away, takes nothing.
    let leader = nodes[0].status().borrow().leader.unwrap();
    let follower = nodes
        .iter()
        .find(|node| node.status().borrow().node != leader)
        .unwrap();
    let gone = follower.execute(
        client(None),
        Command::Take("left".to_owned()),
        PATIENCE,
        PATIENCE,
    );
    let waited = tokio::time::timeout(Duration::from_millis(200), gone).await;
    assert!(waited.is_err(), "there was nothing to take");
    assert_eq!(execute(follower, add("left", 7)).await, 7);
    assert_eq!(follower.query("left".to_owned(), PATIENCE).await, Ok(7));

    let (leading, rest): (Vec<_>, Vec<_>) = nodes
        .iter()
        .partition(|node| node.status().borrow().node == leader);
    leading[0].shutdown().await;
    for node in rest {
        assert!(execute(node, add("a", 1)).await > 3, "two of three go on");
    }
    for node in &nodes {
        node.shutdown().await;
    }

    let nodes = start_all(&configs).await;
    assert_eq!(
        nodes[0].query("a".to_owned(), PATIENCE).await,
        Ok(5),
        "all of it was on disk"
    );
    assert_eq!(nodes[1].query("keyed".to_owned(), PATIENCE).await, Ok(5));
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_is_refused_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let configs = configs(dir.path(), 3);
    let nodes = start_all(&configs).await;
    execute(&nodes[0], add("a", 1)).await;
    nodes[2].shutdown().await;
    std::fs::remove_dir_all(dir.path().join("3")).unwrap();

    let wiped: Node<Sums> = Node::start(configs[2].clone()).await.unwrap();
    let mut status = wiped.status();
    let failed = status.wait_for(|status| status.state == NodeState::Failed);
    let reason = tokio::time::timeout(PATIENCE, failed)
        .await
        .unwrap()
        .unwrap()
        .reason
        .clone();
    assert!(
        reason.contains("another disk") && reason.contains("new id"),
        "{reason}"
    );
    assert_eq!(execute(&nodes[0], add("a", 1)).await, 2);
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_foreign_or_shared_directory_and_a_port_in_use_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let foreign = Node::<Sums>::start(Config::single(dir.path()))
        .await
        .unwrap_err();
    assert!(
        foreign.is_configuration() && foreign.to_string().contains("notes.txt"),
        "{foreign}"
    );

    let dir = tempfile::tempdir().unwrap();
    let node: Node<Sums> = Node::start(Config::single(dir.path())).await.unwrap();
    let shared = Node::<Sums>::start(Config::single(dir.path()))
        .await
        .unwrap_err();
    assert!(shared.to_string().contains("in use"), "{shared}");
    node.shutdown().await;

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut config = configs(dir.path(), 3).remove(0);
    config.peer_listen = Some(taken.local_addr().unwrap());
    let in_use = Node::<Sums>::start(config).await.unwrap_err();
    assert!(
        in_use.to_string().contains("QUORATE_PEER_LISTEN"),
        "{in_use}"
    );
}
