//! Replicas by names: addresses and services, resolved by a server of names that the test is.

use crate::support::{Leaf, json};
use async_trait::async_trait;
use quorate_core::types::Name;
use quorate_scatter_gather::definition::FanoutSpec;
use quorate_scatter_gather::pool::{AdmissionCaps, Resolve, SystemNames};
use quorate_scatter_gather::root::{Fanout, Origin, Question, Root};
use serde_json::json as value;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UdpSocket;

fn define(root: &Arc<Root>, replicas: &str) -> Arc<Fanout> {
    let spec: FanoutSpec = serde_json::from_value(value!({
        "shards": [{"id": "0", "replicas": [replicas]}],
        "merge": {"sum": {"pointer": "/value"}}, "timeout_ms": 20_000
    }))
    .unwrap();
    root.put(&Name::new("named").unwrap(), spec, Origin::Api)
        .unwrap()
}

async fn ask(root: &Arc<Root>, fanout: &Arc<Fanout>) -> Result<String, quorate_core::Error> {
    let answer = root.ask(fanout, Question::query("".into())).await?;
    Ok(String::from_utf8(answer.merged.body.to_vec()).unwrap())
}

fn replicas(fanout: &Fanout) -> Vec<String> {
    let shards = fanout.targets().shards;
    shards[0]
        .replicas
        .iter()
        .map(|replica| replica.url.clone())
        .collect()
}

/// Names as a test sets them; `None` is a server of names that does not answer.
#[derive(Default)]
struct Set(Mutex<Option<Vec<SocketAddr>>>);

#[async_trait]
impl Resolve for Set {
    async fn addresses(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        let set = self.0.lock().unwrap().clone();
        set.ok_or_else(|| io::Error::other("no answer, on purpose"))
    }

    async fn services(&self, _: &str) -> io::Result<Vec<(String, u16)>> {
        let all = self.addresses("", 0).await?;
        Ok(all.iter().map(|a| (a.ip().to_string(), a.port())).collect())
    }
}

/// Proves that all addresses of a name become replicas, that changes are followed, and that a resolver which
/// fails takes nothing away.
#[tokio::test(flavor = "multi_thread")]
async fn addresses_become_replicas() {
    let leaf = Leaf::start(json(&value!({"value": 7}))).await;
    let names = Arc::new(Set::default());
    let names_of_root = Arc::clone(&names) as Arc<dyn Resolve>;
    let root = Root::with_names(AdmissionCaps::default(), names_of_root);
    let set = |to: Option<Vec<SocketAddr>>| *names.0.lock().unwrap() = to;
    set(Some(vec![leaf.address, "127.0.0.9:9".parse().unwrap()]));
    let fanout = define(&root, "dns+http://leaf.example:80");
    let until = async |count: usize| {
        while replicas(&fanout).len() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, until(2))
        .await
        .unwrap();
    // The next looks come every five seconds: one that fails, and one that says less.
    set(None);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(replicas(&fanout).len(), 2);
    set(Some(vec![leaf.address]));
    tokio::time::timeout(crate::support::PATIENCE, until(1))
        .await
        .unwrap();
    assert_eq!(ask(&root, &fanout).await.unwrap(), r#"{"value":7}"#);
}

/// Proves that services are found by SRV records, of the best priority alone, before the first call is made;
/// and that a name without services is a shard without replicas.
#[tokio::test(flavor = "multi_thread")]
async fn services_become_replicas() {
    let leaf = Leaf::start(json(&value!({"value": 7}))).await;
    let server = name_server(leaf.address.port()).await;
    let names = Arc::new(SystemNames::of_server(server));
    let root = Root::with_names(AdmissionCaps::default(), names);
    let fanout = define(&root, "srv+http://_leaf._tcp.search.example");
    assert_eq!(ask(&root, &fanout).await.unwrap(), r#"{"value":7}"#);
    assert_eq!(
        replicas(&fanout),
        [format!("http://localhost:{}", leaf.address.port())]
    );
    let fanout = define(&root, "srv+http://_nobody._tcp.search.example");
    let error = ask(&root, &fanout).await.unwrap_err();
    assert!(error.detail.contains("no_replica"), "{error}");
}

/// Answers each question for `_leaf._tcp.search.example` with two SRV records and any other with none: a
/// server of names in forty lines (RFC 1035, RFC 2782).
async fn name_server(port: u16) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let asked = &buffer[..length];
            let end = 12 + asked[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
            let question = &asked[12..end];
            let known = question.starts_with(b"\x05_leaf\x04_tcp\x06search\x07example\0\0\x21");
            let records = if known { 2 } else { 0 };
            // The number, a recursive answer without error (or "no such name"), one question, the records.
            let code = if known { 0x80 } else { 0x83 };
            let mut answer = asked[..2].to_vec();
            answer.extend([0x81, code, 0, 1, 0, records, 0, 0, 0, 0]);
            answer.extend(question);
            if known {
                for (priority, port) in [(10_u16, port), (20, 9)] {
                    // The name by reference, SRV, IN, 60 s, 17 bytes.
                    answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 17]);
                    answer.extend(priority.to_be_bytes());
                    answer.extend([0, 1]);
                    answer.extend(port.to_be_bytes());
                    answer.extend(b"\x09localhost\0");
                }
            }
            let _ = socket.send_to(&answer, from).await;
        }
    });
    address
}
