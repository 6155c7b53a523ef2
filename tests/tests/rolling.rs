//! A rolling restart costs the clients nothing: a node that is asked to stop hands over and answers what is under way.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_tests::load::{Load, Outcome};
use quorate_tests::processes::Cluster;
use quorate_work_queue::queue::Queue;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Restarts in turn in which a leader may also be missed because the machine is busy: one round without that is enough.
const ROUNDS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_fails_while_each_node_is_restarted_in_turn() {
    let mut cluster = Cluster::start("work-queue", 3).await.unwrap();
    let mut told = Vec::new();
    for round in 0..ROUNDS {
        let (outcome, stops) = round_of_restarts(&mut cluster, 5 + round).await;
        let logs: Vec<_> = cluster
            .ids()
            .iter()
            .map(|id| cluster.log_tail(*id))
            .collect();
        told.push(format!(
            "{outcome}; the last failure: {}; stops in ms: {stops:?}\n{}",
            outcome.failure,
            logs.join("\n")
        ));
        // Nothing excuses a job that is lost or done twice.
        assert!(outcome.is_good(), "{}", told.join("\n"));
        if outcome.failed + outcome.failed_leases == 0 {
            println!("{outcome}; stops in ms: {stops:?}; rounds: {}", round + 1);
            return;
        }
    }
    panic!("operations failed in every round:\n{}", told.join("\n"));
}

/// Stops and starts each node twice under load; gives what came of the load, and how long the stops took in ms.
async fn round_of_restarts(cluster: &mut Cluster, seed: u64) -> (Outcome, Vec<u128>) {
    let queue = Queue::connect(&cluster.urls().join(",")).unwrap();
    let load = Load::start(queue, seed).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut stops = Vec::new();
    for _ in 0..2 {
        for id in cluster.ids() {
            let begin = Instant::now();
            cluster.stop(id, PATIENCE).await.unwrap();
            stops.push(begin.elapsed().as_millis());
            cluster.start_node(id).unwrap();
            cluster.wait_ready(PATIENCE).await.unwrap();
        }
    }
    (load.finish(PATIENCE, 6).await.unwrap(), stops)
}
