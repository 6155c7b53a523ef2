//! What a replica does whose disk lost synced entries, as far as it can tell.

use super::cluster::{Cluster, client, name};
use super::counter::Command;
use crate::machine::Op;
use crate::replica::BootError;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn add() -> Op<Command> {
    client(Command::Add(name("a"), 1))
}

/// Three nodes, of which the leader and `holder` hold an acknowledged addition and `without` does not;
/// all but `without` are down, and the disk of `holder` lost it.
fn lost_at_one_of_two() -> (Cluster, usize, usize, usize) {
    let mut cluster = Cluster::new(3, 7);
    let leader = cluster.elect();
    cluster.execute(add()).reply();
    cluster.run(500);
    let (holder, without) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.cut.insert(without);
    cluster.execute(add()).reply();
    let held = cluster.nodes[leader].disk.boot.entries.len()
        - cluster.nodes[without].disk.boot.entries.len();
    cluster.kill(leader);
    cluster.kill(holder);
    cluster.damage(holder, held);
    cluster.cut.clear();
    (cluster, leader, holder, without)
}

#[test]
fn what_two_of_three_acknowledged_and_one_lost_waits_for_the_other() {
    let (mut cluster, leader, holder, _) = lost_at_one_of_two();
    cluster.start(holder);
    assert!(
        !cluster.run_until(PATIENCE, |cluster| cluster.leader().is_some()),
        "a majority that does not hold an acknowledged operation elected a leader"
    );
    cluster.start(leader);
    assert!(cluster.run_until(PATIENCE, |cluster| cluster.leader().is_some()));
    assert_eq!(cluster.get("a"), 2);
    cluster.execute(add()).reply();
    cluster.run(500);
    assert!(!cluster.nodes[holder].disk.boot.doubt, "it has caught up");
    cluster.assert_healthy();
}

#[test]
fn without_doubt_the_same_loss_would_go_unseen() {
    let (mut cluster, _, holder, _) = lost_at_one_of_two();
    cluster.nodes[holder].disk.boot.doubt = false;
    cluster.start(holder);
    assert!(cluster.run_until(PATIENCE, |cluster| cluster.leader().is_some()));
    assert_eq!(cluster.get("a"), 1, "so the test above can fail");
}

#[test]
fn a_replica_in_doubt_catches_up_with_the_leader_of_its_earlier_life() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        let leader = cluster.elect();
        (0..5).for_each(|_| {
            cluster.execute(add()).reply();
        });
        let follower = (leader + 1) % 3;
        cluster.kill(follower);
        cluster.damage(follower, 2);
        cluster.start(follower);
        cluster.run(2_000);
        assert!(!cluster.nodes[follower].disk.boot.doubt, "seed {seed}");
        assert_eq!(cluster.get("a"), 5);
        // Its vote counts again.
        let leader = cluster.elect();
        cluster.kill(
            (0..3)
                .find(|node| *node != follower && *node != leader)
                .unwrap(),
        );
        cluster.execute(add()).reply();
        cluster.assert_healthy();
    }
}

#[test]
fn when_all_are_in_doubt_the_longest_log_leads() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(3, seed);
        cluster.elect();
        (0..5).for_each(|_| {
            cluster.execute(add()).reply();
        });
        cluster.run(500);
        (0..3).for_each(|node| cluster.kill(node));
        (0..3).for_each(|node| cluster.damage(node, 1 + node));
        (0..3).for_each(|node| cluster.start(node));
        assert!(
            cluster.run_until(PATIENCE, |cluster| cluster.leader().is_some()),
            "seed {seed}"
        );
        assert_eq!(cluster.get("a"), 4, "seed {seed}: one is lost everywhere");
        cluster.run(500);
        assert!(cluster.nodes.iter().all(|node| !node.disk.boot.doubt));
        cluster.assert_healthy();
    }
}

#[test]
fn a_single_node_in_doubt_has_nobody_to_ask_and_says_what_to_do() {
    let mut cluster = Cluster::new(1, 3);
    cluster.elect();
    cluster.execute(add()).reply();
    cluster.kill(0);
    cluster.damage(0, 1);
    let error = cluster.try_start(0).unwrap_err();
    assert_eq!(error, BootError::NobodyToAsk);
    assert!(error.to_string().contains("delete the file"), "{error}");
}
