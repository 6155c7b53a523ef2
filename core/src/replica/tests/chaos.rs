//! Random crashes, cuts and losses under a random load, checked against what callers were told.

use super::cluster::{Cluster, Dice, Outcome, client, name};
use super::counter::{Command, Reply};
use crate::error::Code;
use crate::replica::RequestId;
use std::collections::{BTreeMap, BTreeSet};

struct Run {
    cluster: Cluster,
    adds: BTreeMap<RequestId, u64>,
    reads: BTreeMap<RequestId, u64>,
    others: Vec<RequestId>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::tuned(3, seed, |config| {
            config.snapshot_after_bytes = 4096;
            config.log_slack_bytes = 512;
            config.snapshot_slice_bytes = 64;
        });
        cluster.drop_permille = 20;
        cluster.lazy_permille = 300;
        Self {
            cluster,
            adds: BTreeMap::new(),
            reads: BTreeMap::new(),
            others: Vec::new(),
        }
    }

    /// Something goes wrong, or is mended.
    fn disturb(&mut self, dice: &mut Dice, node: usize) {
        let cluster = &mut self.cluster;
        match dice.below(20) {
            0 => (0..3)
                .filter(|_| dice.permille(900))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|node| {
                    if cluster.is_up(node) {
                        cluster.kill(node);
                    }
                }),
            1..=2 if cluster.is_up(node) => cluster.kill(node),
            3..=5 => {
                cluster.cut.insert(node);
            }
            6..=11 => cluster.cut.clear(),
            12..=13 => cluster.nodes[node].disk_delay = 100_000 + dice.below(10_000_000),
            14 => cluster.pause(node, dice.below(800)),
            _ if !cluster.is_up(node) => cluster.start(node),
            _ => {}
        }
    }

    /// A caller asks for something.
    fn ask(&mut self, dice: &mut Dice, node: usize) {
        let cluster = &mut self.cluster;
        let started = cluster.now;
        match dice.below(10) {
            0..=4 => {
                for _ in 0..=dice.below(4) {
                    let id = cluster.propose(node, client(Command::Add(name("a"), 1)), None);
                    self.adds.insert(id, started);
                }
            }
            5..=6 => drop(self.reads.insert(cluster.query(node, "a"), started)),
            7 => {
                let wait = dice.below(2_000);
                self.others.push(cluster.propose(
                    node,
                    client(Command::Take(name("b"))),
                    Some(wait),
                ));
                self.others.push(cluster.propose(
                    node,
                    client(Command::Add(name("b"), dice.below(2))),
                    None,
                ));
            }
            8 => self.others.push(cluster.propose(
                node,
                client(Command::Grant(dice.below(900))),
                None,
            )),
            _ => {
                let live = cluster.nodes[node].replica.as_ref().and_then(|replica| {
                    replica
                        .machine()
                        .leases
                        .iter()
                        .next()
                        .map(|(token, _)| *token)
                });
                self.others
                    .extend(live.map(|token| cluster.renew(node, token)));
            }
        }
    }
}

fn run(seed: u64) -> Run {
    let mut dice = Dice::new(seed ^ 0xcafe);
    let mut run = Run::new(seed);
    for _ in 0..600 {
        run.cluster.run(dice.below(20));
        let node = usize::try_from(dice.below(3)).unwrap();
        if dice.permille(200) {
            run.disturb(&mut dice, node);
        } else if run.cluster.is_up(node) {
            run.ask(&mut dice, node);
        }
    }
    run.cluster.cut.clear();
    run.cluster.drop_permille = 0;
    for node in 0..3 {
        run.cluster.nodes[node].disk_delay = 200_000;
        if !run.cluster.is_up(node) {
            run.cluster.start(node);
        }
    }
    run.cluster.run(5_000);
    run
}

/// Every request of a node that lived on has its one outcome; values are handed out once and in real
/// time order; reads see at least what was acknowledged before and at most what was asked before.
fn check(run: &mut Run) {
    let Run {
        cluster,
        adds,
        reads,
        others,
    } = run;
    cluster.assert_healthy();
    for id in others.iter() {
        let (node, life) = cluster.asked[id];
        let answered = cluster.outcomes.contains_key(id);
        assert!(
            answered || cluster.life(node) != life,
            "{id:?} was asked of a living node and never answered"
        );
    }
    let total = cluster.get("a");
    let mut values = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (id, started) in adds.iter() {
        match cluster.outcomes.get(id) {
            Some((Outcome::Reply(Ok(Reply::Value(value)), false), ended)) => {
                assert!(
                    values.insert(*value, (*started, *ended)).is_none(),
                    "value {value} was handed out twice"
                );
            }
            Some((Outcome::Reply(Err(error), _), _)) if error.code == Code::NoQuorum => {}
            Some((Outcome::Reply(Err(error), _), _)) if error.code == Code::OutcomeUnknown => {
                unknown.insert(*id);
            }
            Some(other) => panic!("{other:?}"),
            None => {
                let (node, life) = cluster.asked[id];
                assert!(
                    cluster.life(node) != life,
                    "{id:?} was asked of a living node and never answered"
                );
                unknown.insert(*id);
            }
        }
    }
    assert!(
        total >= values.len() as u64,
        "{} were acknowledged, {total} are there",
        values.len()
    );
    assert!(
        total <= (values.len() + unknown.len()) as u64,
        "something refused was done after all"
    );
    let mut latest_start = 0;
    for (value, (started, ended)) in values.iter() {
        assert!(
            *ended >= latest_start,
            "value {value} was acknowledged before a smaller one was asked for"
        );
        latest_start = latest_start.max(*started);
    }
    for (id, started) in reads.iter() {
        if let Some((Outcome::Answer(Ok(seen)), ended)) = cluster.outcomes.get(id) {
            let acknowledged = values
                .iter()
                .filter(|(_, (_, ended))| ended < started)
                .map(|(value, _)| *value)
                .max();
            assert!(
                *seen >= acknowledged.unwrap_or(0),
                "a read missed what was acknowledged before it began"
            );
            let later = values
                .iter()
                .filter(|(_, (started, _))| started > ended)
                .map(|(value, _)| *value)
                .min();
            assert!(
                later.is_none_or(|later| *seen < later),
                "a read saw what was not yet asked for"
            );
        }
    }
    cluster.run(1_000);
    let states: Vec<_> = (0..3).map(|node| cluster.hash(node)).collect();
    assert!(
        states.windows(2).all(|pair| pair[0] == pair[1]),
        "{states:?}"
    );
}

#[test]
fn under_random_faults_nothing_acknowledged_is_lost_and_every_read_is_linearizable() {
    let (mut done, mut changes) = (0, 0);
    for seed in 0..25 {
        let mut run = run(seed);
        check(&mut run);
        done += run
            .cluster
            .outcomes
            .values()
            .filter(|(outcome, _)| outcome.error().is_none())
            .count();
        changes += run.cluster.nodes[0]
            .status
            .as_ref()
            .map_or(0, |status| status.term.0);
    }
    assert!(
        done > 2_000 && changes > 60,
        "the runs were no test: {done} done, {changes} terms"
    );
}

#[test]
fn equal_seeds_give_equal_runs_and_different_seeds_do_not() {
    let traces: Vec<u64> = [3, 3, 4]
        .into_iter()
        .map(|seed| run(seed).cluster.trace)
        .collect();
    assert_eq!(traces[0], traces[1]);
    assert_ne!(traces[0], traces[2]);
}
