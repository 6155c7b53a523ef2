//! Snapshots: the log stays short, a follower that has nothing catches up, and what is restored is
//! what was saved.

use super::cluster::{Cluster, Outcome, client, keyed, name};
use super::counter::{Command, Reply};
use crate::machine::OpKey;
use crate::replica::Config;
use crate::types::LogIndex;
use std::collections::BTreeSet;
use std::time::Duration;

fn small(config: &mut Config) {
    config.snapshot_after_bytes = 20_000;
    config.log_slack_bytes = 2_000;
    config.snapshot_slice_bytes = 100;
}

fn fill(cluster: &mut Cluster, rounds: u64) {
    for n in 0..rounds {
        let leader = cluster.elect();
        let counter = format!("c{}", n % 40);
        let key = OpKey::Idempotency {
            key: u128::from(n),
            body: 1,
        };
        let add = cluster.propose(
            leader,
            keyed(Command::Add(name(&counter), 1), Some(key)),
            None,
        );
        let pad = cluster.propose(leader, client(Command::Pad(vec![7; 1000])), None);
        cluster.wait(add);
        cluster.wait(pad);
    }
}

#[test]
fn the_log_is_shortened_and_a_restart_begins_with_the_snapshot() {
    let mut cluster = Cluster::tuned(3, 51, small);
    fill(&mut cluster, 100);
    cluster.run(1_000);
    for node in 0..3 {
        let boot = &cluster.nodes[node].disk.boot;
        let snapshot = boot.snapshot.as_ref().expect("one was taken").index;
        let first = boot
            .entries
            .first()
            .map_or(LogIndex(u64::MAX), |entry| entry.index);
        assert!(
            snapshot.0 > 100 && first.0 > 80,
            "node {}: {snapshot}, {first}",
            node + 1
        );
        let bytes: usize = boot.entries.iter().map(|entry| entry.data.len()).sum();
        assert!(bytes < 30_000, "{bytes} bytes of entries are left");
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start(node));
    assert_eq!(cluster.get("c7"), 3);
    cluster.run(500);
    assert_eq!(cluster.hash(0), cluster.hash(1));
    let replayed = cluster.execute(keyed(
        Command::Add(name("c7"), 1),
        Some(OpKey::Idempotency { key: 7, body: 1 }),
    ));
    assert_eq!(
        replayed,
        Outcome::Reply(Ok(Reply::Value(1)), true),
        "remembered answers are part of it"
    );
    cluster.assert_healthy();
}

#[test]
fn a_follower_with_an_empty_disk_catches_up_by_snapshot_and_then_votes() {
    let mut cluster = Cluster::tuned(3, 52, small);
    let empty = 2;
    cluster.kill(empty);
    let leader = cluster.elect();
    fill(&mut cluster, 100);
    cluster.start(empty);
    let sent = cluster.snapshots_sent;
    cluster.run_until(Duration::from_secs(5), |cluster| {
        cluster.nodes[empty]
            .status
            .as_ref()
            .is_some_and(|status| status.ready && status.applied.0 > 150)
    });
    assert!(
        cluster.snapshots_sent > sent,
        "the log alone does not reach back so far"
    );
    fill(&mut cluster, 5);
    cluster.run(200);
    assert_eq!(cluster.hash(empty), cluster.hash(leader));
    let third = 3 - empty - leader;
    cluster.kill(third);
    assert_eq!(
        cluster.execute(client(Command::Add(name("x"), 1))).reply(),
        Reply::Value(1),
        "a majority with it"
    );
    cluster.kill(empty);
    cluster.start(empty);
    assert_eq!(cluster.get("x"), 1, "it kept what it was sent");
    cluster.assert_healthy();
}

#[test]
fn a_snapshot_shows_the_state_of_its_beginning_while_the_machine_goes_on() {
    let mut cluster = Cluster::tuned(1, 53, |config| {
        small(config);
        config.snapshot_pace = Duration::from_millis(50);
    });
    fill(&mut cluster, 60);
    cluster.run(20_000);
    let boot = cluster.nodes[0].disk.boot.clone();
    let meta = boot.snapshot.clone().expect("one was taken under load");
    assert!(boot.slices.len() > 5, "in many slices");
    cluster.kill(0);
    cluster.start(0);
    let total: u64 = (0..40).map(|n| cluster.get(&format!("c{n}"))).sum();
    assert_eq!(
        total, 60,
        "snapshot at {} and the entries after it",
        meta.index
    );
    cluster.assert_healthy();
}

fn snapshots_taken(tune: fn(&mut Config)) -> usize {
    let mut cluster = Cluster::tuned(1, 55, tune);
    let mut snapshots = BTreeSet::new();
    for _ in 0..40 {
        fill(&mut cluster, 10);
        let boot = &cluster.nodes[0].disk.boot;
        snapshots.extend(boot.snapshot.as_ref().map(|meta| meta.index));
    }
    cluster.assert_healthy();
    snapshots.len()
}

/// Written anew for every 10,000 bytes of entries, a state of twice that would cost the disk more than the log
/// does.
#[test]
fn a_large_state_is_written_less_often() {
    let often = snapshots_taken(|config| {
        small(config);
        config.snapshot_after_bytes = 10_000;
        config.log_bytes_max = 40_000;
    });
    let rare = snapshots_taken(|config| {
        small(config);
        config.snapshot_after_bytes = 10_000;
        config.log_bytes_max = 10_000_000;
    });
    assert!(
        often > 20 && rare < often * 3 / 4,
        "{rare} and {often} snapshots"
    );
}

/// However slowly snapshots are to be taken, the log does not get full because of one.
#[test]
fn a_snapshot_hurries_when_the_log_fills() {
    let mut cluster = Cluster::tuned(1, 56, |config| {
        small(config);
        config.log_bytes_max = 80_000;
        config.snapshot_pace = Duration::from_secs(3_600);
    });
    for n in 0..300 {
        let leader = cluster.elect();
        let pad = cluster.propose(leader, client(Command::Pad(vec![7; 1_000])), None);
        let outcome = cluster.wait(pad);
        assert_eq!(outcome, Outcome::Reply(Ok(Reply::Done), false), "entry {n}");
    }
    assert!(cluster.nodes[0].disk.boot.snapshot.is_some());
    cluster.assert_healthy();
}

/// A disk that is too full for a snapshot has room again while nothing is asked of the node: it must not wait for
/// operations, which it may refuse just because its log is full.
#[test]
fn a_snapshot_that_failed_is_taken_again_without_new_operations() {
    let mut cluster = Cluster::tuned(1, 57, small);
    cluster.failing_snapshots = 2;
    fill(&mut cluster, 30);
    cluster.run_until(Duration::from_secs(60), |cluster| {
        cluster.nodes[0].disk.boot.snapshot.is_some()
    });
    assert_eq!(cluster.failing_snapshots, 0, "both failed before");
    assert!(cluster.nodes[0].disk.boot.snapshot.is_some());
    cluster.assert_healthy();
}

#[test]
fn a_spoiled_snapshot_is_refused() {
    let mut cluster = Cluster::tuned(1, 54, small);
    fill(&mut cluster, 60);
    cluster.run(2_000);
    cluster.kill(0);
    let good = cluster.nodes[0].disk.boot.clone();
    type Spoil = fn(&mut Vec<Vec<u8>>);
    let spoils: [Spoil; 5] = [
        |slices| drop(slices.remove(0)),
        |slices| drop(slices.pop()),
        |slices| slices[1].clear(),
        |slices| slices[2][0] = 99,
        |slices| slices.clear(),
    ];
    for (n, spoil) in spoils.into_iter().enumerate() {
        cluster.nodes[0].disk.boot = good.clone();
        spoil(&mut cluster.nodes[0].disk.boot.slices);
        assert!(cluster.try_start(0).is_err(), "spoil {n}");
    }
}
