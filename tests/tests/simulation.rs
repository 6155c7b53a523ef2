//! Proves that simulated clusters keep the promises P1 to P6, P8, P11 and P14 under faults, for the work
//! queue and for leader election, and that a run is a function of its seed. The large counts are run by `make test` and `make soak` in release.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_tests::sim::{Options, Run, run, run_election};
use std::collections::BTreeMap;

#[test]
fn a_run_is_a_function_of_its_seed() {
    let options = Options {
        faulty_ms: 2_000,
        ..Options::default()
    };
    for run in [run as Run, run_election] {
        let traces: Vec<u64> = (1..=4).map(|seed| run(seed, options).trace).collect();
        let again: Vec<u64> = (1..=4).map(|seed| run(seed, options).trace).collect();
        assert_eq!(traces, again, "equal seeds, equal traces");
        let different: std::collections::BTreeSet<&u64> = traces.iter().collect();
        assert_eq!(different.len(), 4, "different seeds, different traces");
    }
}

#[test]
fn the_queue_keeps_its_promises_under_faults_and_every_fault_strikes() {
    hold(run, 40, 1_000, &[]);
}

#[test]
fn elections_keep_their_promises_under_faults_and_every_fault_strikes() {
    hold(run_election, 40, 1_000, &["actor pauses"]);
}

fn hold(run: Run, seeds: u64, done_min: u64, more: &[&str]) {
    let mut struck: BTreeMap<&str, u64> = BTreeMap::new();
    let mut done = 0;
    for seed in 1..=seeds {
        let report = run(seed, Options::default());
        assert!(report.violations.is_empty(), "{report}");
        done += report.done();
        for (what, count) in report.counts {
            *struck.entry(what).or_default() += count;
        }
    }
    assert!(done > done_min, "{done} done: the runs do nothing");
    let kinds = [
        "answers lost",
        "crashes",
        "partitions",
        "pauses",
        "power cuts",
        "snapshots",
        "wall jumps",
        "worker crashes",
    ];
    for kind in kinds.iter().chain(more) {
        assert!(
            struck.get(kind).is_some_and(|count| *count > 0),
            "{kind} never struck: {struck:?}"
        );
    }
}
