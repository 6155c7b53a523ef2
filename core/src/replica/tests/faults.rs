//! What survives: crashes, partitions, slow disks, a disk that lost what it had synced.

use super::cluster::{Cluster, Outcome, client, name};
use super::counter::{Command, Reply};
use crate::error::Code;
use crate::replica::{BootError, Input};
use crate::types::NodeId;
use std::time::Duration;

fn add() -> crate::machine::Op<Command> {
    client(Command::Add(name("a"), 1))
}

fn code(outcome: &Outcome) -> Option<Code> {
    outcome.error().map(|error| error.code)
}

#[test]
fn what_was_acknowledged_survives_a_crash_of_all_nodes() {
    let mut cluster = Cluster::new(3, 21);
    for n in 1..=30 {
        assert_eq!(cluster.execute(add()).reply(), Reply::Value(n));
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start(node));
    assert_eq!(cluster.get("a"), 30);
    cluster.assert_healthy();
}

#[test]
fn what_an_isolated_leader_proposed_is_undecided_until_a_bound_and_then_unknown() {
    let mut cluster = Cluster::new(3, 22);
    let old = cluster.elect();
    cluster.execute(add());
    cluster.cut.insert(old);
    let under_way = cluster.propose(old, add(), None);
    let waiting = cluster.propose(old, add(), None);
    let read = cluster.query(old, "a");
    cluster.run_until(Duration::from_secs(3), |cluster| {
        cluster.outcomes.contains_key(&read)
    });
    assert_eq!(
        code(&cluster.wait(read)),
        Some(Code::NoQuorum),
        "a read is never answered from the past"
    );
    assert_eq!(
        code(&cluster.wait(waiting)),
        Some(Code::NoQuorum),
        "it was never proposed"
    );
    assert!(
        !cluster.outcomes.contains_key(&under_way),
        "it may still be decided"
    );
    assert_eq!(code(&cluster.wait(under_way)), Some(Code::OutcomeUnknown));
}

#[test]
fn what_a_newer_leader_superseded_is_certainly_not_done() {
    let mut cluster = Cluster::new(3, 23);
    let old = cluster.elect();
    cluster.execute(add());
    cluster.cut.insert(old);
    let lost = cluster.propose(old, add(), None);
    // Long enough for another leader, short enough for the old one to find out before it gives up.
    cluster.run_until(Duration::from_secs(2), |cluster| cluster.leader().is_some());
    let new = cluster.leader().expect("another leader");
    let id = cluster.propose(new, add(), None);
    assert_eq!(cluster.wait(id).reply(), Reply::Value(2));
    cluster.cut.clear();
    assert_eq!(code(&cluster.wait(lost)), Some(Code::NoQuorum));
    assert_eq!(cluster.get("a"), 2);
}

#[test]
fn a_hand_over_loses_no_request_and_takes_no_election_timeout() {
    let mut cluster = Cluster::new(3, 24);
    let old = cluster.elect();
    cluster.run(300);
    let ids: Vec<_> = (0..50).map(|_| cluster.propose(old, add(), None)).collect();
    let to = (old + 1) % 3;
    cluster.input(old, Input::Transfer(NodeId(to as u64 + 1)));
    let late = cluster.propose(old, add(), None);
    let begun = cluster.now;
    cluster.run_until(Duration::from_secs(1), |cluster| {
        cluster.leader() == Some(to)
    });
    assert!(
        cluster.now - begun < 50_000_000,
        "{} ns",
        cluster.now - begun
    );
    let done = ids
        .iter()
        .filter(|id| code(&cluster.wait(**id)).is_none())
        .count() as u64;
    assert_eq!(code(&cluster.wait(late)), Some(Code::NoQuorum));
    assert_eq!(
        cluster.get("a"),
        done,
        "the others were refused, and not done"
    );
}

/// A process that stood still finds the end of a write waiting for it: its disk was well.
#[test]
fn a_leader_that_stood_still_with_a_write_under_way_goes_on_leading() {
    let mut cluster = Cluster::new(1, 28);
    cluster.elect();
    cluster.execute(add());
    let term = cluster.nodes[0].status.as_ref().unwrap().term;
    // The tick after the pause comes before the end of the write.
    cluster.nodes[0].disk_delay = 70_000_000;
    let under_way = cluster.propose(0, add(), None);
    cluster.pause(0, 5_000);
    assert_eq!(cluster.wait(under_way).reply(), Reply::Value(2));
    let after = cluster.nodes[0].status.as_ref().unwrap();
    assert_eq!(after.term, term, "there was no other election");
}

#[test]
fn a_leader_whose_disk_hangs_steps_down_and_another_takes_over() {
    let mut cluster = Cluster::new(3, 25);
    let old = cluster.elect();
    cluster.execute(add());
    cluster.nodes[old].disk_delay = 60_000_000_000;
    let stuck = cluster.propose(old, add(), None);
    cluster.run(3_000);
    let new = cluster.elect();
    assert_ne!(new, old);
    assert!(!cluster.nodes[old].status.as_ref().unwrap().ready);
    assert!(
        cluster.outcomes.contains_key(&stuck),
        "the caller is not left waiting"
    );
    let id = cluster.propose(new, add(), None);
    assert!(code(&cluster.wait(id)).is_none());
    cluster.assert_healthy();
}

/// A follower answers heartbeats while its disk is at work: with disks slower than an election timeout
/// the leader stays, and reads do not wait for any disk.
#[test]
fn slow_disks_cost_no_leader_and_delay_no_read() {
    let mut cluster = Cluster::new(3, 31);
    let leader = cluster.elect();
    cluster.run(100);
    let term = |cluster: &Cluster| cluster.nodes[leader].status.as_ref().unwrap().term;
    let elected_in = term(&cluster);
    for node in 0..3 {
        // Longer than a leader waits to hear of a majority, shorter than it waits for its own disk.
        cluster.nodes[node].disk_delay = 250_000_000;
    }
    for _ in 0..5 {
        let write = cluster.propose(leader, add(), None);
        cluster.run(30);
        let read = cluster.query(leader, "a");
        cluster.run(50);
        assert!(
            cluster.outcomes.contains_key(&read),
            "reads wait for no disk"
        );
        assert!(!cluster.outcomes.contains_key(&write), "writes do");
        cluster.run(900);
        assert!(cluster.outcomes.contains_key(&write));
    }
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(term(&cluster), elected_in, "no election was held");
    cluster.assert_healthy();
}

#[test]
fn a_single_node_whose_disk_hangs_comes_back_when_it_has_caught_up() {
    let mut cluster = Cluster::new(1, 26);
    cluster.execute(add());
    cluster.nodes[0].disk_delay = 2_000_000_000;
    let slow = cluster.propose(0, add(), None);
    cluster.run(1_000);
    assert_eq!(cluster.leader(), None);
    cluster.nodes[0].disk_delay = 200_000;
    cluster.run(3_000);
    assert_eq!(cluster.get("a"), 2, "the entry was kept all the same");
    assert!(cluster.outcomes.contains_key(&slow));
    cluster.assert_healthy();
}

#[test]
fn a_follower_that_lost_synced_entries_stops_instead_of_voting_or_panicking() {
    let mut cluster = Cluster::new(3, 27);
    for _ in 0..20 {
        cluster.execute(add());
    }
    let leader = cluster.elect();
    cluster.run(200);
    let victim = (leader + 1) % 3;
    cluster.kill(victim);
    let boot = &mut cluster.nodes[victim].disk.boot;
    boot.entries.truncate(5);
    assert!(
        matches!(
            cluster.try_start(victim),
            Err(BootError::LostEntries { .. })
        ),
        "the hard state tells"
    );
    let boot = &mut cluster.nodes[victim].disk.boot;
    boot.hard_state.commit = boot.entries.last().unwrap().index;
    cluster.start(victim);
    cluster.run(500);
    let reason = cluster.nodes[victim].fatal.as_ref().expect("it stops");
    assert!(reason.contains("lost synced data"), "{reason}");
    assert_eq!(cluster.get("a"), 20, "the others go on");
}

#[test]
fn a_replica_whose_state_differs_from_the_leaders_stops() {
    let mut cluster = Cluster::new(3, 28);
    let leader = cluster.elect();
    cluster.run(200);
    let victim = (leader + 1) % 3;
    cluster.nodes[victim]
        .replica
        .as_mut()
        .unwrap()
        .state
        .machine
        .applied += 1;
    cluster.execute(add());
    cluster.run(1_500);
    cluster.execute(add());
    cluster.run(300);
    let reason = cluster.nodes[victim].fatal.as_ref().expect("it stops");
    assert!(reason.contains("differs from the leader's"), "{reason}");
    assert!(cluster.nodes[leader].fatal.is_none());
}

#[test]
fn load_beyond_the_bound_is_refused_with_when_to_try_again_and_not_done() {
    let mut cluster = Cluster::tuned(3, 29, |config| config.pending_ops_max = 10);
    let leader = cluster.elect();
    cluster.run(300);
    let ids: Vec<_> = (0..30)
        .map(|_| cluster.propose(leader, add(), None))
        .collect();
    let refused: Vec<_> = ids
        .iter()
        .filter_map(|id| cluster.wait(*id).error().cloned())
        .collect();
    assert_eq!(refused.len(), 19, "one under way, ten waiting");
    assert!(
        refused
            .iter()
            .all(|error| error.code == Code::OverQuota && error.retry_after_ms.is_some())
    );
    assert_eq!(cluster.get("a"), 11);
}

#[test]
fn an_operation_too_large_for_the_log_is_refused_and_its_neighbours_are_not() {
    let mut cluster = Cluster::tuned(3, 31, |config| config.op_bytes_max = 1000);
    let leader = cluster.elect();
    let ops = [
        add(),
        client(Command::Pad(vec![0; 1000])),
        add(),
        client(Command::Pad(vec![0; 900])),
    ];
    let ids: Vec<_> = ops
        .into_iter()
        .map(|op| cluster.propose(leader, op, None))
        .collect();
    let codes: Vec<_> = ids.into_iter().map(|id| code(&cluster.wait(id))).collect();
    assert_eq!(codes, [None, Some(Code::TooLarge), None, None]);
    assert_eq!(cluster.get("a"), 2);
}

#[test]
fn a_boot_state_that_contradicts_itself_is_refused() {
    let mut cluster = Cluster::new(3, 30);
    for _ in 0..5 {
        cluster.execute(add());
    }
    cluster.run(200);
    cluster.kill(0);
    let good = cluster.nodes[0].disk.boot.clone();
    type Spoil = fn(&mut crate::replica::Boot);
    let spoils: [Spoil; 5] = [
        |boot| drop(boot.entries.remove(2)),
        |boot| boot.entries[3].term.0 = 0,
        |boot| boot.entries[2].kind = 1,
        |boot| boot.hard_state.term.0 = 0,
        |boot| boot.voters[0].node = NodeId(2),
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        cluster.nodes[0].disk.boot = good.clone();
        spoil(&mut cluster.nodes[0].disk.boot);
        assert!(cluster.try_start(0).is_err(), "spoil {n}");
    }
    cluster.nodes[0].disk.boot = good;
    cluster.start(0);
    cluster.run(500);
    cluster.assert_healthy();
}
