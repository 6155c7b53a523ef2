//! Proves what a cluster that holds as many elections as it may answers, by REST and by gRPC.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use container::door::{By, Door, Grpc};
use container::http::Http;
use futures::StreamExt as _;
use quorate_core::node::{Config, Node};
use quorate_core::types::Name;
use quorate_leader_election::api::Api;
use quorate_leader_election::machine::{Command, Settings, limits};
use quorate_leader_election::node::ElectionNode;
use quorate_leader_election::service::{Caller, ElectionService as _};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn one_election_too_many_is_refused_by_its_code_and_those_that_exist_go_on() {
    let node = ElectionNode::new(Node::start(Config::in_memory()).await.unwrap());
    let caller = Caller {
        timeout: Duration::from_secs(120),
        ..Caller::default()
    };
    let filling = futures::stream::iter(0..limits::ELECTIONS_MAX)
        .map(|number| {
            let configure = Command::Configure {
                election: Name::new(&format!("e{number}")).unwrap(),
                settings: Some(Settings::default()),
            };
            node.execute(&caller, configure)
        })
        .buffer_unordered(2_000);
    let filled: Vec<_> = filling.collect().await;
    assert!(filled.iter().all(Result::is_ok));

    let api = Api::new(Arc::new(node), "dev", "test", CancellationToken::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = api.router().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let http = Http::new(address);
    let refused = http
        .put("/v1/elections/new/candidates/a", &json!({"ttl_ms": 20_000}))
        .await;
    let problem = refused.json();
    assert_eq!(
        (refused.status, &problem["code"]),
        (429, &json!("over_quota"))
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(&format!("{} elections", limits::ELECTIONS_MAX)),
        "{detail}"
    );
    assert!(
        detail.contains("forget their settings"),
        "says what to do: {detail}"
    );

    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    for door in [Door::Rest(http), Door::Grpc(Box::new(Grpc::new(channel)))] {
        let by = By::Ttl(20_000);
        let over = door.campaign("new", "a", by, 0).await.unwrap_err();
        assert_eq!(over, "over_quota");
        assert_eq!(door.configure("new", 0).await.unwrap_err(), "over_quota");
        // It opened no session, and what exists is not affected.
        let one = door.campaign("e7", "a", by, 20_000).await.unwrap();
        assert!(one.leads);
        door.close(&one.session).await.unwrap();
    }
}
