//! A rolling restart costs the clients nothing: a node that is asked to stop hands over and answers what is under way.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_tests::load::Load;
use quorate_tests::processes::Cluster;
use quorate_work_queue::queue::Queue;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_fails_while_each_node_is_restarted_in_turn() {
    let mut cluster = Cluster::start("work-queue", 3).await.unwrap();
    let queue = Queue::connect(&cluster.urls().join(",")).unwrap();
    let load = Load::start(queue, 5).unwrap();
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
    let outcome = load.finish(PATIENCE, 6).await.unwrap();
    let logs: Vec<_> = cluster
        .ids()
        .iter()
        .map(|id| cluster.log_tail(*id))
        .collect();
    assert!(
        outcome.is_good() && outcome.failed + outcome.failed_leases == 0,
        "{outcome}; the last failure: {}; stops in ms: {stops:?}\n{}",
        outcome.failure,
        logs.join("\n")
    );
    println!("{outcome}; stops in ms: {stops:?}");
}
