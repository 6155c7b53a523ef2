//! What a caller sees: answers, refusals, waits, in a cluster in which nothing goes wrong.

use super::cluster::{Cluster, Outcome, client, name};
use super::counter::{Command, Reply};
use crate::error::Code;

fn add(by: u64) -> Command {
    Command::Add(name("a"), by)
}

#[test]
fn a_single_node_leads_at_once_and_answers_only_what_is_synced() {
    let mut cluster = Cluster::new(1, 1);
    cluster.run(5);
    assert_eq!(
        cluster.leader(),
        Some(0),
        "without waiting for an election timeout"
    );
    cluster.nodes[0].disk_delay = 20_000_000;
    let id = cluster.propose(0, client(add(5)), None);
    cluster.run(15);
    assert!(
        !cluster.outcomes.contains_key(&id),
        "its write is still under way"
    );
    assert_eq!(cluster.wait(id).reply(), Reply::Value(5));
    assert_eq!(cluster.get("a"), 5);
    cluster.assert_healthy();
}

#[test]
fn three_nodes_elect_one_leader_and_all_apply_what_it_logs() {
    let mut cluster = Cluster::new(3, 2);
    for n in 1..=20 {
        assert_eq!(cluster.execute(client(add(1))).reply(), Reply::Value(n));
    }
    assert_eq!(cluster.get("a"), 20);
    cluster.run(200);
    for node in 0..3 {
        let machine = cluster.nodes[node].replica.as_ref().unwrap().machine();
        assert_eq!(
            machine.values.get(&name("a")),
            Some(&20),
            "node {}",
            node + 1
        );
        assert!(cluster.nodes[node].status.as_ref().unwrap().ready);
    }
    cluster.assert_healthy();
}

#[test]
fn what_arrives_while_an_entry_is_under_way_shares_the_next_one() {
    let mut cluster = Cluster::new(3, 3);
    let leader = cluster.elect();
    cluster.run(100);
    let before = cluster.applied(leader);
    let ids: Vec<_> = (0..500)
        .map(|_| cluster.propose(leader, client(add(1)), None))
        .collect();
    let values: Vec<_> = ids.into_iter().map(|id| cluster.wait(id).reply()).collect();
    assert_eq!(
        values,
        (1..=500).map(Reply::Value).collect::<Vec<_>>(),
        "in the order they came"
    );
    let entries = cluster.applied(leader) - before;
    assert_eq!(entries, 2, "one for the first, one for all others");
}

#[test]
fn a_node_that_does_not_lead_refuses_at_once_and_names_the_leader() {
    let mut cluster = Cluster::new(3, 4);
    let leader = cluster.elect();
    cluster.run(100);
    let other = (leader + 1) % 3;
    let ids = [
        cluster.propose(other, client(add(1)), None),
        cluster.query(other, "a"),
    ];
    for id in ids {
        let (outcome, _) = &cluster.outcomes[&id];
        let error = outcome.error().expect("refused");
        assert_eq!(error.code, Code::NoQuorum);
        assert!(
            error.detail.contains(&format!("node {} does", leader + 1)),
            "{}",
            error.detail
        );
    }
    assert_eq!(cluster.get("a"), 0, "nothing was done");
}

#[test]
fn a_refusal_of_the_machine_is_the_outcome_and_changes_nothing() {
    let mut cluster = Cluster::new(3, 5);
    let outcome = cluster.execute(client(Command::Refuse));
    assert_eq!(
        outcome.error().map(|error| error.code),
        Some(Code::NotFound)
    );
    assert!(matches!(outcome, Outcome::Reply(Err(_), false)));
}
