//! Proves that one client observes more elections than a connection carries streams, and that none of them
//! misses a change when the connection breaks, or when it is not read for a while.
#![allow(clippy::unwrap_used, reason = "a test")]

mod container;

use container::Container;
use container::link::Link;
use futures::StreamExt as _;
use quorate_core::error::Code;
use quorate_core::types::Name;
use quorate_leader_election::client::{Client, Config};
use quorate_leader_election::election::Election;
use quorate_leader_election::machine::{Campaign, Command, Liveness, Reply, SessionId};
use quorate_leader_election::service::{Caller, ElectionService as _, Observation, Observed};
use quorate_proto::election as pb;
use std::time::Duration;

const ELECTIONS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

fn name(number: usize) -> Name {
    Name::new(&format!("e{number}")).unwrap()
}

async fn open(client: &Client) -> SessionId {
    let open = Command::OpenSession {
        ttl_ms: 3_600_000,
        label: "test".into(),
    };
    match client
        .execute(&Caller::default(), open)
        .await
        .unwrap()
        .reply
    {
        Reply::Session(opened) => opened.session,
        other => panic!("{other:?}"),
    }
}

/// Campaigns everywhere, or says something else of itself; gives the revision of each change.
async fn say(client: &Client, session: SessionId, metadata: &str) -> Vec<u64> {
    let said = futures::stream::iter(0..ELECTIONS).map(|number| async move {
        let campaign = Command::Campaign(Campaign {
            election: name(number),
            candidate: Name::new("a").unwrap(),
            liveness: Liveness::Session(session),
            priority: 0,
            metadata: metadata.into(),
        });
        match client
            .execute(&Caller::default(), campaign)
            .await
            .unwrap()
            .reply
        {
            Reply::Campaigned(campaigned) => campaigned.revision,
            other => panic!("{other:?}"),
        }
    });
    said.buffered(64).collect().await
}

async fn next_revision(observation: &mut Observation) -> (u64, u64) {
    let observed = tokio::time::timeout(PATIENCE, observation.next()).await;
    match observed.expect("told in time").unwrap().unwrap() {
        Observed::Change(change) => (change.previous, change.revision),
        other => panic!("a change should come, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_elections_are_observed_without_a_gap_over_one_client() {
    let server = Container::start().await;
    let link = Link::to(server.address).await;
    let (driver, session) = {
        let driver = server.client();
        let session = open(&driver).await;
        (driver, session)
    };
    let mut last = say(&driver, session, "0").await;
    let client = Client::new(&Config::servers(&link.address.to_string())).unwrap();
    let mut observed = Vec::new();
    for (number, revision) in last.iter().enumerate() {
        let observing = client
            .observe(&Caller::default(), name(number), Some(*revision))
            .await;
        observed.push(observing.unwrap());
    }
    for round in 1..=4 {
        // Now and then nobody is there to hear it.
        link.cut(round % 2 == 0);
        let told = say(&driver, session, &round.to_string()).await;
        link.cut(false);
        let heard = futures::future::join_all(observed.iter_mut().map(next_revision)).await;
        for ((heard, last), told) in heard.into_iter().zip(&mut last).zip(told) {
            assert_eq!(heard, (*last, told), "round {round}");
            *last = told;
        }
    }
    // One that is not read holds nobody up, and misses nothing either.
    let mut expected = Vec::new();
    for number in 0..200 {
        let said = Command::Campaign(Campaign {
            election: name(0),
            candidate: Name::new("a").unwrap(),
            liveness: Liveness::Session(session),
            priority: 0,
            metadata: format!("more {number}").into(),
        });
        match driver
            .execute(&Caller::default(), said)
            .await
            .unwrap()
            .reply
        {
            Reply::Campaigned(campaigned) => expected.push(campaigned.revision),
            other => panic!("{other:?}"),
        }
    }
    let told = say(&driver, session, "last").await;
    for ((observation, last), told) in observed.iter_mut().zip(&mut last).zip(told).skip(1) {
        assert_eq!(next_revision(observation).await, (*last, told));
        *last = told;
    }
    for revision in expected {
        assert_eq!(next_revision(&mut observed[0]).await, (last[0], revision));
        last[0] = revision;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handle_stands_for_hundreds_of_elections() {
    let server = Container::start().await;
    let election = Election::connect(&server.address.to_string())
        .unwrap()
        .ttl(Duration::from_secs(60));
    let campaigns = (0..300).map(|number| {
        let campaign = election.campaign(&format!("many-{number}"));
        async move { tokio::time::timeout(PATIENCE, campaign).await.unwrap() }
    });
    let guards = futures::future::join_all(campaigns).await;
    for guard in &guards {
        assert!(guard.as_ref().unwrap().is_leader());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_watches_says_what_it_refuses_and_takes_numbers_again() {
    let server = Container::start().await;
    let driver = server.client();
    let session = open(&driver).await;
    let revisions = say(&driver, session, "0").await;
    let begin = |watch: u64, election: &str, after| pb::WatchRequest {
        watch,
        what: Some(pb::watch_request::What::Begin(pb::ObserveRequest {
            election: election.to_owned(),
            after,
        })),
    };
    let end = |watch| pb::WatchRequest {
        watch,
        what: Some(pb::watch_request::What::End(pb::WatchEnd {})),
    };
    let (up, requests) = tokio::sync::mpsc::channel(16);
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut grpc = server.grpc();
    let mut down = grpc.watch(requests).await.unwrap().into_inner();
    let mut said = async || {
        let message = tokio::time::timeout(PATIENCE, down.message()).await;
        let response = message.unwrap().unwrap().unwrap();
        (response.watch, response.what.unwrap())
    };
    use pb::watch_response::What as Said;
    up.send(begin(7, "e1", Some(revisions[1]))).await.unwrap();
    assert!(matches!(said().await, (7, Said::Begun(_))));
    let refused = Code::InvalidArgument.as_str();
    for bad in [
        begin(7, "e2", None),
        begin(8, "Not A Name", None),
        pb::WatchRequest {
            watch: 9,
            what: None,
        },
    ] {
        let number = bad.watch;
        up.send(bad).await.unwrap();
        let (watch, what) = said().await;
        let Said::Failed(error) = what else {
            panic!("{what:?}");
        };
        assert_eq!((watch, error.code.as_str()), (number, refused));
        assert!(error.detail.len() > 20, "says nothing: {error:?}");
    }
    // Its number is free again, and what is told under it is the new one's.
    up.send(end(7)).await.unwrap();
    up.send(begin(7, "e2", None)).await.unwrap();
    assert!(matches!(said().await, (7, Said::Begun(_))));
    let (watch, what) = said().await;
    let Said::Told(pb::Observed {
        what: Some(pb::observed::What::State(state)),
    }) = what
    else {
        panic!("{what:?}");
    };
    assert_eq!((watch, state.name.as_str()), (7, "e2"));
}
