//! Callers who wait for something to come: parked, woken in order, answered when their time is up.

use super::cluster::{Cluster, client, name};
use super::counter::{Command, Reply};
use crate::error::Code;
use crate::replica::{Input, RequestId};

fn take() -> crate::machine::Op<Command> {
    client(Command::Take(name("a")))
}

fn add(by: u64) -> crate::machine::Op<Command> {
    client(Command::Add(name("a"), by))
}

fn done(cluster: &Cluster, ids: &[RequestId]) -> Vec<bool> {
    ids.iter()
        .map(|id| cluster.outcomes.contains_key(id))
        .collect()
}

#[test]
fn waiters_are_served_in_order_and_log_nothing_while_they_wait() {
    let mut cluster = Cluster::new(3, 31);
    let leader = cluster.elect();
    cluster.run(100);
    let before = cluster.applied(leader);
    let ids: Vec<_> = (0..4)
        .map(|_| cluster.propose(leader, take(), Some(5_000)))
        .collect();
    cluster.run(500);
    assert_eq!(
        cluster.applied(leader),
        before,
        "nothing is logged for them"
    );
    cluster.execute(add(2));
    cluster.run(100);
    assert_eq!(done(&cluster, &ids), [true, true, false, false]);
    cluster.execute(add(1));
    cluster.run(100);
    assert_eq!(done(&cluster, &ids), [true, true, true, false]);
    assert_eq!(cluster.wait(ids[0]).reply(), Reply::Value(2));
    assert_eq!(cluster.wait(ids[1]).reply(), Reply::Value(1));
    assert_eq!(
        cluster.wait(ids[3]).reply(),
        Reply::Nothing,
        "its time is up"
    );
    cluster.assert_healthy();
}

#[test]
fn a_waiter_whose_time_is_up_is_answered_on_time() {
    let mut cluster = Cluster::new(3, 32);
    let leader = cluster.elect();
    let begun = cluster.now;
    let id = cluster.propose(leader, take(), Some(333));
    assert_eq!(cluster.wait(id).reply(), Reply::Nothing);
    let took = (cluster.now - begun) / 1_000_000;
    assert!((333..340).contains(&took), "{took} ms");
}

#[test]
fn without_a_wait_the_answer_comes_at_once() {
    let mut cluster = Cluster::new(3, 33);
    assert_eq!(cluster.execute(take()).reply(), Reply::Nothing);
}

#[test]
fn one_that_lost_the_race_goes_back_to_its_place() {
    let mut cluster = Cluster::new(3, 34);
    let leader = cluster.elect();
    cluster.run(100);
    let waiter = cluster.propose(leader, take(), Some(5_000));
    // Arrives and is taken again within one entry's time, so that the woken one finds nothing.
    let first = cluster.propose(leader, add(1), None);
    let second = cluster.propose(leader, take(), None);
    cluster.wait(first);
    assert_eq!(cluster.wait(second).reply(), Reply::Value(1));
    cluster.run(300);
    assert!(!cluster.outcomes.contains_key(&waiter), "it waits on");
    cluster.execute(add(1));
    assert_eq!(cluster.wait(waiter).reply(), Reply::Value(1));
}

#[test]
fn a_caller_that_went_away_takes_nothing() {
    let mut cluster = Cluster::new(3, 35);
    let leader = cluster.elect();
    let gone = cluster.propose(leader, take(), Some(60_000));
    let stays = cluster.propose(leader, take(), Some(60_000));
    cluster.input(leader, Input::Forget(gone));
    cluster.execute(add(1));
    assert_eq!(cluster.wait(stays).reply(), Reply::Value(1));
    assert!(!cluster.outcomes.contains_key(&gone));
}

#[test]
fn waiters_of_a_leader_that_loses_its_office_are_refused_as_not_done() {
    let mut cluster = Cluster::new(3, 36);
    let leader = cluster.elect();
    let id = cluster.propose(leader, take(), Some(60_000));
    cluster.cut.insert(leader);
    let outcome = cluster.wait(id);
    assert_eq!(
        outcome.error().map(|error| error.code),
        Some(Code::NoQuorum)
    );
}

#[test]
fn a_thousand_waiters_and_a_thousand_arrivals_leave_nobody_behind() {
    let mut cluster = Cluster::new(3, 37);
    let leader = cluster.elect();
    let ids: Vec<_> = (0..1000)
        .map(|_| cluster.propose(leader, take(), Some(60_000)))
        .collect();
    for _ in 0..10 {
        cluster.execute(add(100));
    }
    cluster.run(1_000);
    assert!(done(&cluster, &ids).into_iter().all(|done| done));
    assert_eq!(cluster.get("a"), 0);
}
