//! What survives: crashes, lost messages, partitions, slow disks.

use super::cluster::{Cluster, client, name};
use super::counter::{Command, Reply};

#[test]
fn what_was_acknowledged_survives_a_crash_of_all_nodes() {
    let mut cluster = Cluster::new(3, 21);
    for n in 1..=30 {
        assert_eq!(
            cluster.execute(client(Command::Add(name("a"), 1))).reply(),
            Reply::Value(n)
        );
    }
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start(node));
    assert_eq!(cluster.get("a"), 30);
    cluster.assert_healthy();
}
