//! Histories of many callers, checked for linearizability: is there one order of the operations that
//! keeps their real-time order and explains every answer? Nothing is assumed of how the cluster works.
//!
//! The search is Wing and Gong's (1993) with Lowe's memory of configurations already seen (2017): a
//! configuration is the set of operations that are linearized and the state they lead to.

use super::cluster::{Cluster, Dice, Outcome, client, name};
use super::counter::{Command, Reply};
use crate::error::Code;
use crate::replica::RequestId;
use std::collections::{BTreeMap, HashSet};

/// What is asked of one counter, and what a caller may be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Answered with the new value.
    Add(u64),
    /// Takes one away, and answers with the value before; with nothing when it is zero.
    Take,
    Get,
}

/// One call. `ended` is when the caller knew the answer; one whose outcome is unknown never ends and
/// may take effect at any time, or not at all.
#[derive(Clone, Debug)]
struct Call {
    asked: Asked,
    began: u64,
    ended: Option<(u64, Option<u64>)>,
}

/// The state after `asked` if its answer may be `told` (`None`: any answer).
fn step(state: u64, asked: Asked, told: Option<Option<u64>>) -> Option<u64> {
    let (after, answer) = match asked {
        Asked::Add(by) => (state + by, Some(state + by)),
        Asked::Take if state == 0 => (0, None),
        Asked::Take => (state - 1, Some(state)),
        Asked::Get => (state, Some(state)),
    };
    told.is_none_or(|told| told == answer).then_some(after)
}

/// Whether some order explains the history.
fn linearizable(history: &[Call]) -> bool {
    let known = history.iter().filter(|call| call.ended.is_some()).count();
    let mut done = vec![false; history.len()];
    let mut seen = HashSet::new();
    // What was linearized, with the state before it, and where the search goes on from there.
    let mut path: Vec<(usize, u64)> = Vec::new();
    let (mut state, mut next, mut explained) = (0, 0, 0);
    loop {
        if explained == known {
            return true;
        }
        // Only a call that began before every open one ended may come next.
        let horizon = history
            .iter()
            .zip(&done)
            .filter(|(_, done)| !**done)
            .filter_map(|(call, _)| call.ended.map(|(at, _)| at))
            .min()
            .unwrap_or(u64::MAX);
        let candidate = (next..history.len()).find_map(|at| {
            let call = &history[at];
            let open = !done[at] && call.began <= horizon;
            let after =
                open.then(|| step(state, call.asked, call.ended.map(|(_, told)| told)))??;
            Some((at, after))
        });
        match candidate {
            Some((at, after)) => {
                done[at] = true;
                if seen.insert((done.clone(), after)) {
                    path.push((at, state));
                    explained += usize::from(history[at].ended.is_some());
                    (state, next) = (after, 0);
                } else {
                    done[at] = false;
                    next = at + 1;
                }
            }
            None => {
                let Some((at, before)) = path.pop() else {
                    return false;
                };
                done[at] = false;
                explained -= usize::from(history[at].ended.is_some());
                (state, next) = (before, at + 1);
            }
        }
    }
}

const COUNTERS: u64 = 8;

/// A run of random calls and faults: one history a counter. With `stale`, reads are answered from
/// whatever the asked node has applied, as a store without read indexes would.
fn histories(seed: u64, stale: bool) -> BTreeMap<u64, Vec<Call>> {
    let mut dice = Dice::new(seed ^ 0x11ea);
    let mut cluster = Cluster::tuned(3, seed, |config| {
        config.snapshot_after_bytes = 4096;
        config.log_slack_bytes = 512;
        config.snapshot_slice_bytes = 64;
    });
    cluster.drop_permille = 20;
    cluster.lazy_permille = 200;
    let mut asked: Vec<(u64, Option<RequestId>, Call)> = Vec::new();
    for _ in 0..700 {
        cluster.run(dice.below(14));
        let node = usize::try_from(dice.below(3)).unwrap();
        if dice.permille(120) {
            disturb(&mut cluster, &mut dice, node);
        }
        if !cluster.is_up(node) {
            continue;
        }
        let counter = dice.below(COUNTERS);
        let key = format!("c{counter}");
        let call = |asked| Call {
            asked,
            began: cluster.now,
            ended: None,
        };
        let (id, call) = match dice.below(4) {
            0 => {
                let call = call(Asked::Add(1 + dice.below(2)));
                let Asked::Add(by) = call.asked else {
                    unreachable!()
                };
                let command = Command::Add(name(&key), by);
                (Some(cluster.propose(node, client(command), None)), call)
            }
            1 => {
                let call = call(Asked::Take);
                let command = Command::Take(name(&key));
                (Some(cluster.propose(node, client(command), None)), call)
            }
            _ if stale => {
                let mut call = call(Asked::Get);
                let replica = cluster.nodes[node].replica.as_ref();
                let value = replica.and_then(|it| it.machine().values.get(&name(&key)).copied());
                call.ended = Some((cluster.now, Some(value.unwrap_or(0))));
                (None, call)
            }
            _ => {
                let call = call(Asked::Get);
                (Some(cluster.query(node, &key)), call)
            }
        };
        asked.push((counter, id, call));
    }
    cluster.cut.clear();
    cluster.drop_permille = 0;
    for node in 0..3 {
        if !cluster.is_up(node) {
            cluster.start(node);
        }
    }
    cluster.run(5_000);
    cluster.assert_healthy();
    let mut histories: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
    for (counter, id, mut call) in asked {
        if let Some(id) = id {
            match cluster.outcomes.get(&id) {
                Some((
                    Outcome::Reply(Ok(Reply::Value(value)), _) | Outcome::Answer(Ok(value)),
                    at,
                )) => {
                    call.ended = Some((*at, Some(*value)));
                }
                Some((Outcome::Reply(Ok(Reply::Nothing), _), at)) => call.ended = Some((*at, None)),
                // Certainly not done.
                Some((outcome, _))
                    if outcome.error().is_some_and(|it| it.code == Code::NoQuorum) =>
                {
                    continue;
                }
                _ => {}
            }
        }
        // An unknown read explains nothing and changes nothing.
        if call.asked != Asked::Get || call.ended.is_some() {
            histories.entry(counter).or_default().push(call);
        }
    }
    histories
}

fn disturb(cluster: &mut Cluster, dice: &mut Dice, node: usize) {
    match dice.below(10) {
        0..=1 if cluster.is_up(node) => cluster.kill(node),
        2..=3 => {
            cluster.cut.insert(node);
        }
        4..=6 => cluster.cut.clear(),
        7 => cluster.nodes[node].disk_delay = 100_000 + dice.below(20_000_000),
        8 => cluster.pause(node, dice.below(900)),
        _ if !cluster.is_up(node) => cluster.start(node),
        _ => {}
    }
}

#[test]
fn histories_under_faults_are_linearizable() {
    let (mut histories_total, mut calls, mut unknown) = (0, 0, 0);
    for seed in 0..260 {
        for (counter, history) in histories(seed, false) {
            histories_total += 1;
            calls += history.len();
            unknown += history.iter().filter(|call| call.ended.is_none()).count();
            assert!(
                linearizable(&history),
                "seed {seed}, counter {counter}: no order explains {history:#?}"
            );
        }
    }
    assert!(
        histories_total >= 2_000 && calls > 12_000 && unknown > 200,
        "no test: {histories_total} histories, {calls} calls, {unknown} of unknown outcome"
    );
}

/// The check bites: a store that reads what it happens to have applied is found out at once.
#[test]
fn a_store_that_answers_from_its_own_state_is_found_out() {
    let refused = (0..20)
        .filter(|seed| {
            histories(*seed, true)
                .values()
                .any(|history| !linearizable(history))
        })
        .count();
    assert!(refused >= 10, "{refused} of 20 runs were found out");
}

#[test]
fn the_check_knows_right_from_wrong() {
    let call = |asked, began, ended, told| Call {
        asked,
        began,
        ended: Some((ended, told)),
    };
    let lost = |asked, began| Call {
        asked,
        began,
        ended: None,
    };
    let add = call(Asked::Add(1), 0, 10, Some(1));
    assert!(linearizable(&[]));
    assert!(linearizable(&[
        add.clone(),
        call(Asked::Get, 5, 6, Some(0))
    ]));
    assert!(linearizable(&[
        add.clone(),
        call(Asked::Get, 5, 6, Some(1))
    ]));
    assert!(
        !linearizable(&[add.clone(), call(Asked::Get, 11, 12, Some(0))]),
        "a stale read"
    );
    assert!(
        !linearizable(&[add.clone(), call(Asked::Add(1), 11, 12, Some(1))]),
        "a lost update"
    );
    assert!(
        !linearizable(&[add.clone(), call(Asked::Get, 11, 12, Some(2))]),
        "done twice"
    );
    assert!(linearizable(&[
        lost(Asked::Add(1), 0),
        call(Asked::Get, 90, 91, Some(1))
    ]));
    assert!(linearizable(&[
        lost(Asked::Add(1), 0),
        call(Asked::Get, 90, 91, Some(0))
    ]));
    assert!(
        !linearizable(&[
            lost(Asked::Add(1), 0),
            call(Asked::Get, 90, 91, Some(1)),
            call(Asked::Get, 92, 93, Some(0)),
        ]),
        "what was seen once stays"
    );
    assert!(
        !linearizable(&[lost(Asked::Add(1), 50), call(Asked::Get, 10, 20, Some(1))]),
        "nobody sees what is not yet asked for"
    );
}
