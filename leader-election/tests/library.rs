//! Proves what the Rust library promises, over a replica in this process and over a cluster's API.
#![allow(clippy::unwrap_used, reason = "a test")]

use futures::StreamExt as _;
use quorate_core::node::Node;
use quorate_leader_election::election::{Election, Guard, NodeConfig, Why};
use quorate_leader_election::machine::What;
use quorate_leader_election::node::ElectionNode;
use quorate_leader_election::service::{Caller, Observed};
use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough for any noise: what is awaited happens or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what)
        .await
        .expect("it happens in time")
}

/// Another process, as far as the cluster can tell: a session and a candidate of its own.
fn other(election: &Election, id: &str) -> Election {
    Election::from_service(election.service())
        .candidate(id)
        .unwrap()
        .ttl(Duration::from_secs(20))
}

async fn first() -> Election {
    let election = Election::in_memory().await.unwrap();
    election
        .candidate("first")
        .unwrap()
        .ttl(Duration::from_secs(20))
}

#[tokio::test]
async fn one_leads_and_the_next_follows_when_it_gives_up() {
    // Proves: leadership is exclusive, tokens grow, and a guard that resigned or was dropped is followed.
    let one = first().await;
    let two = other(&one, "second");
    let guard = soon(one.campaign("planner").metadata("here").into_future())
        .await
        .unwrap();
    assert!(guard.is_leader() && !guard.valid_for().is_zero());
    let view = one.get("planner").await.unwrap();
    assert_eq!(view.leader.unwrap().metadata.as_ref(), "here");
    let waiting = tokio::spawn(async move {
        let guard = two.campaign("planner").await.unwrap();
        (two, guard)
    });
    soon(async {
        while one.get("planner").await.unwrap().candidates.len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(guard.is_leader() && !waiting.is_finished());
    let old = guard.token();
    guard.resign().await.unwrap();
    let (two, guard) = soon(waiting).await.unwrap();
    assert!(guard.token() > old && guard.is_leader());
    assert!(!one.check("planner", old).await.unwrap());
    assert!(one.check("planner", guard.token()).await.unwrap());
    // Given up before it was won, or dropped and campaigned for again at once: nothing is left behind.
    let given_up = tokio::time::timeout(
        Duration::from_millis(50),
        one.campaign("planner").into_future(),
    );
    assert!(given_up.await.is_err());
    drop(guard);
    let guard = soon(one.campaign("planner").into_future()).await.unwrap();
    assert!(guard.is_leader());
    drop(guard);
    let guard = soon(two.campaign("planner").into_future()).await.unwrap();
    assert!(guard.is_leader());
    one.shutdown().await;
}

#[tokio::test]
async fn a_hand_over_stops_the_work_before_the_successor_leads() {
    let one = first().await;
    let two = other(&one, "second");
    let guard = soon(one.campaign("e").into_future()).await.unwrap();
    let working = Arc::new(AtomicBool::new(false));
    struct Standstill(Arc<AtomicBool>);
    impl Drop for Standstill {
        fn drop(&mut self) {
            self.0.store(false, Ordering::SeqCst);
        }
    }
    let work = {
        let working = Arc::clone(&working);
        async move {
            let lost = guard
                .run(|_| async {
                    working.store(true, Ordering::SeqCst);
                    let _standstill = Standstill(Arc::clone(&working));
                    std::future::pending::<()>().await;
                })
                .await
                .unwrap_err();
            (guard, lost)
        }
    };
    let work = tokio::spawn(work);
    let successor = {
        let (two, working) = (two.clone(), Arc::clone(&working));
        tokio::spawn(async move {
            let guard = two.campaign("e").await.unwrap();
            assert!(!working.load(Ordering::SeqCst), "both were at work");
            guard
        })
    };
    soon(async {
        loop {
            match one.transfer("e", "second", Duration::from_secs(30)).await {
                Ok(_) => return,
                Err(error) => assert_eq!(error.code.as_str(), "not_a_candidate", "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (guard, lost) = soon(work).await.unwrap();
    assert_eq!(lost.why, Why::HandedOver);
    assert!(!guard.is_leader());
    let successor: Guard = soon(successor).await.unwrap();
    assert!(successor.is_leader() && successor.token() > guard.token());
    one.shutdown().await;
}

#[tokio::test]
async fn work_that_drains_ends_in_its_own_time() {
    // Proves: run_draining tells the work, waits for it, and acknowledges with its end.
    let one = first().await;
    let two = other(&one, "second");
    let guard = soon(one.campaign("e").into_future()).await.unwrap();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let work = tokio::spawn(async move {
        let done = guard
            .run_draining(|token, drain| async move {
                drain.cancelled().await;
                gone.await.unwrap();
                token
            })
            .await;
        (guard, done)
    });
    let successor = tokio::spawn(async move { two.campaign("e").await.unwrap() });
    soon(async {
        while one.transfer("e", "second", PATIENCE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let draining = one.get("e").await.unwrap().leader.unwrap();
    assert_eq!(
        draining.candidate.as_str(),
        "first",
        "it leads while it drains"
    );
    go.send(()).unwrap();
    let (guard, done) = soon(work).await.unwrap();
    assert_eq!(done.unwrap(), guard.token());
    assert!(!guard.is_leader());
    assert!(soon(successor).await.unwrap().is_leader());
    one.shutdown().await;
}

#[tokio::test]
async fn what_is_taken_away_is_noticed_by_its_holder() {
    // Proves: a revocation, a release by force and the loss of the session each end the guard's belief
    // and its work, and one of many leaderships that is lost takes none of the others along.
    let one = first().await;
    let mut guards = Vec::new();
    for name in ["a", "b", "c", "d"] {
        guards.push(soon(one.campaign(name).into_future()).await.unwrap());
    }
    let service = one.service();
    let name = |text| quorate_core::types::Name::new(text).unwrap();
    use quorate_leader_election::machine::Command;
    let revoke = Command::Revoke {
        election: name("a"),
        token: None,
        reason: "because".into(),
    };
    service.execute(&Caller::default(), revoke).await.unwrap();
    let run = guards[0].run(|_| std::future::pending::<()>());
    assert_eq!(soon(run).await.unwrap_err().why, Why::Revoked);
    let force = Command::ForceRelease {
        election: name("b"),
        token: None,
        reason: "because".into(),
    };
    service.execute(&Caller::default(), force).await.unwrap();
    let run = guards[1].run(|_| std::future::pending::<()>());
    assert_eq!(soon(run).await.unwrap_err().why, Why::Ended);
    assert!(guards[2].is_leader() && guards[3].is_leader());
    one.close().await;
    assert!(!guards[2].is_leader() && !guards[3].is_leader());
    assert!(
        soon(guards[2].run(|_| std::future::pending::<()>()))
            .await
            .is_err()
    );
    one.shutdown().await;
}

#[tokio::test]
async fn observers_miss_nothing() {
    let one = first().await;
    let two = other(&one, "second");
    // Revisions of a cluster begin with its first change.
    soon(one.campaign("warm").into_future())
        .await
        .unwrap()
        .resign()
        .await
        .unwrap();
    let mut told = one.observe("e").await.unwrap();
    let Observed::State(state) = soon(told.next()).await.unwrap().unwrap() else {
        panic!("the state comes first");
    };
    assert!(state.leader.is_none() && state.changed == 0);
    let mut tokens = Vec::new();
    for handle in [&one, &two, &one, &two] {
        let guard = soon(handle.campaign("e").into_future()).await.unwrap();
        tokens.push(guard.token());
        guard.resign().await.unwrap();
    }
    let (mut elected, mut previous) = (Vec::new(), 0);
    while elected.len() < tokens.len() {
        let Observed::Change(change) = soon(told.next()).await.unwrap().unwrap() else {
            panic!("a reset within a few changes");
        };
        assert!(
            previous == 0 || change.previous == previous,
            "a gap before {change:?}"
        );
        // Without a candidate the election goes, and begins anew with the next one.
        previous = match change.what {
            What::Removed => 0,
            _ => change.revision,
        };
        if change.what == What::Elected {
            elected.push(change.leader.as_ref().unwrap().token);
        }
    }
    assert_eq!(elected, tokens);
    one.shutdown().await;
}

#[tokio::test]
async fn work_stops_before_the_lease_does_when_the_cluster_is_gone() {
    // Proves: without renewals the work is dropped while the lease still stands, by the margin.
    let node = Node::start(NodeConfig::in_memory()).await.unwrap();
    let node = ElectionNode::new(node);
    let one = Election::from_service(Arc::new(node.clone())).ttl(Duration::from_secs(8));
    let guard = soon(
        one.campaign("e")
            .margin(Duration::from_millis(3_500))
            .into_future(),
    )
    .await
    .unwrap();
    struct LeftAtDrop<'a>(&'a Guard, Arc<AtomicBool>);
    impl Drop for LeftAtDrop<'_> {
        fn drop(&mut self) {
            self.1.store(self.0.is_leader(), Ordering::SeqCst);
        }
    }
    let led = Arc::new(AtomicBool::new(false));
    let shutdown = async {
        // The cluster stops without a word to the guard.
        node.replica().shutdown().await;
    };
    let work = guard.run(|_| {
        let left = LeftAtDrop(&guard, Arc::clone(&led));
        async move {
            let _left = left;
            std::future::pending::<()>().await;
        }
    });
    let (lost, ()) = soon(async { tokio::join!(work, shutdown) }).await;
    assert_eq!(lost.unwrap_err().why, Why::Expired);
    assert!(
        led.load(Ordering::SeqCst),
        "it was stopped while it still led"
    );
    assert!(!guard.is_leader());
}
