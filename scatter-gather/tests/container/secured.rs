//! Leaves behind https://.

use crate::support::{Container, Leaf, PATIENCE, json};
use quorate_core::tls::certs::Authority;
use quorate_core::types::Name;
use quorate_scatter_gather::server;
use serde_json::json as value;
use std::time::Duration;

/// Proves that leaves are called over TLS when their authority is trusted and their certificate names them, over
/// HTTP/2 and HTTP/1.1 as agreed upon, and that without that nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn leaves_behind_tls() {
    let dir = tempfile::tempdir().unwrap();
    let keep = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let cluster = Name::new("search").unwrap();
    let authority = Authority::create(&cluster).unwrap();
    let other = Authority::create(&cluster).unwrap();
    let (ca, foreign) = (
        keep("ca", &authority.issued().cert),
        keep("foreign", &other.issued().cert),
    );
    let issued = authority.server(&["localhost".to_owned()], 1).unwrap();
    let (cert, key) = (keep("cert", &issued.cert), keep("key", &issued.key));
    let leaf = Leaf::start(json(&value!({"value": 7}))).await;
    let upstream = leaf.url();
    let variables = [
        ("QUORATE_UPSTREAM", upstream.as_str()),
        ("QUORATE_TLS_CERT", cert.as_str()),
        ("QUORATE_TLS_KEY", key.as_str()),
    ];
    let gate = Container::start("sidecar", &variables, server::gate);
    let port = gate.address.port();
    let over = |host: &str, protocol: &str| {
        value!({
            "shards": [{"id": "0", "replicas": [format!("https://{host}:{port}")]}],
            "merge": {"sum": {"pointer": "/value"}}, "timeout_ms": 20_000, "protocol": protocol
        })
    };
    let trusting =
        async |ca: &str| Container::run("serve", &[("QUORATE_SERVERS_CA", ca)], server::root).await;
    let root = trusting(&ca).await;
    for protocol in ["auto", "http1", "http2"] {
        root.define(protocol, &over("localhost", protocol)).await;
        let until_ready = async {
            loop {
                let response = root.query(protocol, &[], "{}").await;
                if response.status == 200 {
                    return response.text().to_owned();
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let told = tokio::time::timeout(PATIENCE, until_ready).await.unwrap();
        assert_eq!(told, r#"{"value":7}"#, "{protocol}");
    }
    let calls = leaf.calls();
    // The certificate names localhost and not its address; and this one trusts somebody else.
    root.define("unnamed", &over("127.0.0.1", "auto")).await;
    let misled = trusting(&foreign).await;
    misled.define("misled", &over("localhost", "auto")).await;
    for (root, name) in [(&root, "unnamed"), (&misled, "misled")] {
        let response = root.query(name, &[], "{}").await;
        assert_eq!(response.status, 502, "{}", response.text());
        assert!(
            response.text().contains("no TLS with"),
            "{}",
            response.text()
        );
    }
    assert_eq!(leaf.calls(), calls);
    let plain = Container::root().await;
    let response = plain.put("/v1/fanouts/x", &over("localhost", "auto")).await;
    assert_eq!(response.status, 400);
    assert!(
        response.text().contains("QUORATE_SERVERS_CA"),
        "{}",
        response.text()
    );
}
