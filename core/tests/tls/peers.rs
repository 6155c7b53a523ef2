//! Between replicas.

use super::machine::Sum;
use super::{authority, keep};
use quorate_core::machine::Origin;
use quorate_core::node::{Config, Node, NodeState, StartError};
use quorate_core::tls::CertFiles;
use quorate_core::tls::certs::Authority;
use quorate_core::types::{Name, NodeId, Principal};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(30);

/// Long enough for a node that may join to have joined many times over.
const LONG: Duration = Duration::from_secs(3);

fn addresses() -> BTreeMap<NodeId, SocketAddr> {
    let held: Vec<TcpListener> = (0..3)
        .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    (1..)
        .map(NodeId)
        .zip(held.iter().map(|held| held.local_addr().unwrap()))
        .collect()
}

fn files(dir: &Path, authority: &Authority, node: NodeId) -> CertFiles {
    let ca = dir.join("ca.crt");
    std::fs::write(&ca, authority.issued().cert).unwrap();
    let (cert, key) = keep(
        dir,
        &format!("node-{node}"),
        &authority.peer(node, 1).unwrap(),
    );
    CertFiles { cert, key, ca }
}

fn config(
    dir: &Path,
    at: &BTreeMap<NodeId, SocketAddr>,
    node: u64,
    tls: Option<CertFiles>,
) -> Config {
    let node = NodeId(node);
    Config {
        node,
        peers: at.iter().map(|(n, at)| (*n, at.to_string())).collect(),
        peer_listen: Some(at[&node]),
        peer_tls: tls,
        data_dir: Some(dir.join(format!("data-{node}"))),
        ..Config::in_memory()
    }
}

async fn add(node: &Node<Sum>, n: u64) -> u64 {
    let origin = Origin::Client {
        principal: Principal::anonymous(),
        key: None,
    };
    node.execute(origin, n, Duration::ZERO, PATIENCE)
        .await
        .unwrap()
        .0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_with_certificates_work_and_refuse_plain_text_and_strangers() {
    // Proves: three nodes with certificates of one cluster form and answer from any; on their peer port, plain text and
    // a silent stranger get nothing, and hold nobody up.
    let dir = tempfile::tempdir().unwrap();
    let at = addresses();
    let authority = authority("payments");
    let mut nodes = Vec::new();
    for n in 1..=3 {
        let tls = files(dir.path(), &authority, NodeId(n));
        nodes.push(
            Node::<Sum>::start(config(dir.path(), &at, n, Some(tls)))
                .await
                .unwrap(),
        );
    }
    // More silent strangers than there are handshakes at a time.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(at[&NodeId(2)]).await.unwrap());
    }
    for node in &nodes {
        node.ready(PATIENCE).await.unwrap();
    }
    for (n, node) in (1..).zip(&nodes) {
        assert_eq!(add(node, 1).await, n);
    }
    let mut plain = TcpStream::connect(at[&NodeId(1)]).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut answer = Vec::new();
    // Closed or reset; a server of HTTP/2 in the clear would send its settings and wait.
    let ended = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection stays open");
    assert!(
        !answer.starts_with(&[0, 0]),
        "an answer in the clear: {answer:?}"
    );
    drop(silent);
    for node in &nodes {
        node.shutdown().await;
    }
}

/// Starts nodes 1 and 2 as they should be, and 3 with other certificates; 3 must not get in, for this reason.
async fn third_is_refused(
    third: impl FnOnce(&Path, &Authority) -> Option<CertFiles>,
    reason: &str,
) {
    let dir = tempfile::tempdir().unwrap();
    let at = addresses();
    let authority = authority("payments");
    let own = tempfile::tempdir().unwrap();
    let third = third(own.path(), &authority);
    let mut nodes = Vec::new();
    for n in 1..=2 {
        let tls = files(dir.path(), &authority, NodeId(n));
        nodes.push(
            Node::<Sum>::start(config(dir.path(), &at, n, Some(tls)))
                .await
                .unwrap(),
        );
    }
    let stranger = Node::<Sum>::start(config(dir.path(), &at, 3, third))
        .await
        .unwrap();
    let end = Instant::now() + PATIENCE;
    let mut seen = String::new();
    while !seen.contains(reason) {
        assert!(Instant::now() < end, "expected {reason:?}, got {seen:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        for node in nodes.iter().chain([&stranger]) {
            seen.push_str(&node.status().borrow().reason);
        }
    }
    tokio::time::sleep(LONG / 3).await;
    for node in nodes.iter().chain([&stranger]) {
        assert_eq!(node.status().borrow().state, NodeState::Forming);
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_another_cluster_and_plain_text_are_refused() {
    // Proves: none of them becomes part of the cluster, and the nodes say why.
    let other = |dir: &Path, _: &Authority| {
        let foreign = authority("foreign");
        let name = Name::new("payments").unwrap();
        let issued = foreign.peer_of(&name, NodeId(3), 1).unwrap();
        let (cert, key) = keep(dir, "node-3", &issued);
        let ca = dir.join("ca.crt");
        std::fs::write(&ca, foreign.issued().cert).unwrap();
        Some(CertFiles { cert, key, ca })
    };
    third_is_refused(other, "UnknownIssuer").await;
    let cluster = |dir: &Path, ours: &Authority| {
        // The same authority, so that the name alone decides.
        let issued = ours.issued();
        let orders = Name::new("orders").unwrap();
        let (cert, key) = keep(dir, "node-3", &ours.peer_of(&orders, NodeId(3), 1).unwrap());
        let ca = dir.join("ca.crt");
        std::fs::write(&ca, issued.cert).unwrap();
        Some(CertFiles { cert, key, ca })
    };
    third_is_refused(cluster, "expected quorate://").await;
    third_is_refused(|_, _| None, "cannot be reached").await;
}

#[tokio::test]
async fn a_certificate_of_another_node_stops_the_start() {
    // Proves: a node never runs under another's name, and half a set of files is told by its name.
    let dir = tempfile::tempdir().unwrap();
    let at = addresses();
    let authority = authority("payments");
    let tls = files(dir.path(), &authority, NodeId(2));
    let refusal = Node::<Sum>::start(config(dir.path(), &at, 1, Some(tls.clone())))
        .await
        .unwrap_err();
    assert!(matches!(refusal, StartError::Config(_)));
    assert!(
        refusal.to_string().contains("but this is node 1"),
        "{refusal}"
    );
    std::fs::remove_file(&tls.key).unwrap();
    let refusal = Node::<Sum>::start(config(dir.path(), &at, 2, Some(tls)))
        .await
        .unwrap_err();
    assert!(refusal.to_string().contains("node-2.key"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_without_a_restart() {
    // Proves: with both authorities trusted for a while, every node moves to certificates of the new one while all of
    // them run, and a node that starts with the new ones alone gets in.
    let dir = tempfile::tempdir().unwrap();
    let at = addresses();
    let (old, new) = (authority("payments"), authority("payments"));
    let mut nodes = Vec::new();
    let mut certs = Vec::new();
    for n in 1..=3 {
        let own = dir.path().join(format!("tls-{n}"));
        std::fs::create_dir(&own).unwrap();
        let tls = files(&own, &old, NodeId(n));
        let config = config(dir.path(), &at, n, Some(tls.clone()));
        nodes.push(Node::<Sum>::start(config.clone()).await.unwrap());
        certs.push((own, tls, config));
    }
    for node in &nodes {
        node.ready(PATIENCE).await.unwrap();
    }
    assert_eq!(add(&nodes[0], 1).await, 1);
    let both = format!("{}{}", old.issued().cert, new.issued().cert);
    for (_, tls, _) in &certs {
        std::fs::write(&tls.ca, &both).unwrap();
    }
    for (n, (own, _, _)) in (1..).zip(&certs) {
        keep(own, &format!("node-{n}"), &new.peer(NodeId(n), 1).unwrap());
    }
    // Node 3 comes back trusting the new authority alone; the others have not been restarted.
    nodes[2].shutdown().await;
    std::fs::write(&certs[2].1.ca, new.issued().cert).unwrap();
    // The files are looked at once a second.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let end = Instant::now() + PATIENCE;
    let back = loop {
        match Node::<Sum>::start(certs[2].2.clone()).await {
            Ok(node) => break node,
            // The streams of the other nodes into the one that was stopped are just ending.
            Err(StartError::Log(error)) if Instant::now() < end => {
                assert!(error.to_string().contains("in use"), "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    back.ready(PATIENCE).await.unwrap();
    assert_eq!(add(&back, 1).await, 2);
    back.shutdown().await;
    for node in &nodes[..2] {
        node.shutdown().await;
    }
}
