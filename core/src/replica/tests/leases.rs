//! Leases through the whole replica: expire before grant, renewals by quorum round.

use super::cluster::{Cluster, Outcome, client};
use super::counter::{Command, Event, Reply};
use crate::types::FencingToken;

fn grant(cluster: &mut Cluster, ms: u64) -> FencingToken {
    match cluster.execute(client(Command::Grant(ms))).reply() {
        Reply::Token(token) => token,
        other => panic!("{other:?}"),
    }
}

/// When the end of the lease was applied at the leader, in milliseconds after `from`.
fn ended_after(
    cluster: &mut Cluster,
    token: FencingToken,
    from: u64,
    at_most_ms: u64,
) -> Option<u64> {
    let ended = |cluster: &Cluster| {
        cluster
            .nodes
            .iter()
            .any(|node| node.events.contains(&Event::Ended(token)))
    };
    let limit = std::time::Duration::from_millis(at_most_ms);
    cluster
        .run_until(limit, ended)
        .then(|| (cluster.now - from) / 1_000_000)
}

#[test]
fn a_silent_lease_ends_after_its_patience_and_not_before() {
    let mut cluster = Cluster::new(3, 11);
    let token = grant(&mut cluster, 1000);
    let granted = cluster.now;
    let ended = ended_after(&mut cluster, token, granted, 5000).expect("it ends");
    assert!(
        (1008..1100).contains(&ended),
        "d(1+rho) is 1010 ms, it ended after {ended}"
    );
    cluster.assert_healthy();
}

#[test]
fn renewals_keep_a_lease_and_log_nothing() {
    let mut cluster = Cluster::new(3, 12);
    let token = grant(&mut cluster, 1000);
    let leader = cluster.elect();
    let before = cluster.applied(leader);
    for _ in 0..10 {
        cluster.run(500);
        let id = cluster.renew(leader, token);
        assert_eq!(cluster.wait(id), Outcome::Renewed(Ok(true)));
    }
    assert_eq!(cluster.applied(leader), before, "nothing was logged");
    let last = cluster.now;
    let ended = ended_after(&mut cluster, token, last, 5000).expect("it ends");
    assert!(
        (1005..1100).contains(&ended),
        "counted from the last renewal: {ended}"
    );
    let id = cluster.renew(leader, token);
    assert_eq!(
        cluster.wait(id),
        Outcome::Renewed(Ok(false)),
        "no acknowledgement after the end"
    );
}

#[test]
fn a_new_leader_counts_from_when_it_took_office() {
    let mut cluster = Cluster::new(3, 13);
    let token = grant(&mut cluster, 1000);
    cluster.run(900);
    let old = cluster.elect();
    cluster.kill(old);
    cluster.elect();
    let took_office = cluster.now;
    let ended = ended_after(&mut cluster, token, took_office, 5000).expect("it ends");
    assert!(
        ended >= 1008,
        "every count starts anew with the office: {ended}"
    );
}

#[test]
fn fencing_tokens_begin_at_the_time_of_the_first_entry_and_rise() {
    let mut cluster = Cluster::new(3, 14);
    let first = grant(&mut cluster, 60_000);
    let seconds = super::cluster::WALL_MS / 1000;
    assert!(
        first.0 > seconds << 20 && first.0 < (seconds + 10) << 20,
        "{first}"
    );
    let leader = cluster.elect();
    cluster.kill(leader);
    let second = grant(&mut cluster, 60_000);
    assert!(second > first);
}

#[test]
fn a_loop_that_stood_still_adds_its_stall_to_every_count() {
    let mut cluster = Cluster::new(1, 15);
    let token = grant(&mut cluster, 1000);
    let granted = cluster.now;
    cluster.run(500);
    cluster.pause(0, 400);
    let ended = ended_after(&mut cluster, token, granted, 5000).expect("it ends");
    assert!(
        (1408..1520).contains(&ended),
        "1010 ms and the stall of 400 ms: {ended}"
    );
}

#[test]
fn a_renewal_that_was_received_before_an_end_defers_it_and_is_refused_after_it() {
    let mut cluster = Cluster::new(3, 16);
    let token = grant(&mut cluster, 1000);
    let leader = cluster.elect();
    let granted = cluster.now;
    cluster.run(1_000);
    // The quorum answers late, so that the end falls into the renewal's round.
    cluster.delay = 20_000_000..20_000_001;
    let renewal = cluster.renew(leader, token);
    assert_eq!(cluster.wait(renewal), Outcome::Renewed(Ok(true)));
    let ended = ended_after(&mut cluster, token, granted, 5000).expect("it ends");
    assert!(
        ended >= 2_008,
        "counted from the renewal's receipt: {ended}"
    );
}
