//! Log time and levels across a cluster.

use super::cluster::{Cluster, WALL_MS, client, name};
use super::counter::{Command, Reply};

const DAY_MS: u64 = 86_400_000;

fn log_time(cluster: &mut Cluster) -> u64 {
    cluster.execute(client(Command::Add(name("t"), 1)));
    let leader = cluster.elect();
    cluster.nodes[leader].status.as_ref().unwrap().log_time.0
}

#[test]
fn a_delay_is_over_on_time_though_nobody_asks() {
    let mut cluster = Cluster::new(3, 61);
    let leader = cluster.elect();
    cluster.execute(client(Command::Later(name("a"), 700)));
    let begun = cluster.now;
    let waiter = cluster.propose(leader, client(Command::Take(name("a"))), Some(10_000));
    assert_eq!(cluster.wait(waiter).reply(), Reply::Value(1));
    let took = (cluster.now - begun) / 1_000_000;
    assert!((695..760).contains(&took), "{took} ms");
}

#[test]
fn an_idle_cluster_without_a_deadline_logs_nothing() {
    let mut cluster = Cluster::new(3, 62);
    let leader = cluster.elect();
    cluster.run(500);
    let before = cluster.applied(leader);
    cluster.run(10_000);
    assert_eq!(cluster.applied(leader), before);
}

#[test]
fn a_clock_a_day_ahead_poisons_nothing_whoever_leads() {
    for ahead in 0..3 {
        let mut cluster = Cluster::new(3, 63);
        cluster.nodes[ahead].wall_ahead_ms = DAY_MS;
        for _ in 0..4 {
            let time = log_time(&mut cluster);
            assert!(
                time < WALL_MS + 3_600_000,
                "log time is {} s ahead",
                (time - WALL_MS) / 1000
            );
            let leader = cluster.elect();
            cluster.kill(leader);
            cluster.elect();
            cluster.start(leader);
            cluster.run(500);
        }
    }
}

#[test]
fn log_time_never_goes_back_when_a_leader_with_a_late_clock_follows() {
    let mut cluster = Cluster::new(3, 64);
    cluster
        .nodes
        .iter_mut()
        .for_each(|node| node.wall_ahead_ms = 10_000);
    let first = log_time(&mut cluster);
    cluster
        .nodes
        .iter_mut()
        .for_each(|node| node.wall_ahead_ms = 0);
    let leader = cluster.elect();
    cluster.kill(leader);
    let second = log_time(&mut cluster);
    assert!(second >= first, "{second} after {first}");
    cluster.run(1_000);
    let third = log_time(&mut cluster);
    assert!(
        (400..700).contains(&(third - second)),
        "half the speed until it is right: {}",
        third - second
    );
}

#[test]
fn a_level_is_activated_when_all_builds_know_it_and_not_before() {
    let mut cluster = Cluster::new(3, 65);
    cluster.old_build = Some((1, 1));
    let level = |cluster: &mut Cluster| cluster.execute(client(Command::Level)).reply();
    cluster.run(1_000);
    assert_eq!(
        level(&mut cluster),
        Reply::Value(1),
        "as old as the oldest build"
    );
    cluster.old_build = None;
    cluster.run(1_000);
    // The old build may be the one that leads: its own level is what counts there.
    assert_eq!(level(&mut cluster), Reply::Value(2));
}
