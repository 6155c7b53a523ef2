//! Proves that simulated clusters keep the promises P1 to P6, P8, P11 and P14 under faults, and that a
//! run is a function of its seed. The large counts are run by `make test` and `make soak` in release.
#![allow(clippy::unwrap_used, reason = "a test")]

use quorate_tests::sim::{Options, run};
use std::collections::BTreeMap;

#[test]
fn a_run_is_a_function_of_its_seed() {
    let options = Options {
        faulty_ms: 2_000,
        ..Options::default()
    };
    let traces: Vec<u64> = (1..=4).map(|seed| run(seed, options).trace).collect();
    let again: Vec<u64> = (1..=4).map(|seed| run(seed, options).trace).collect();
    assert_eq!(traces, again, "equal seeds, equal traces");
    let different: std::collections::BTreeSet<&u64> = traces.iter().collect();
    assert_eq!(different.len(), 4, "different seeds, different traces");
}

#[test]
fn promises_hold_under_faults_and_every_fault_strikes() {
    let mut struck: BTreeMap<&str, u64> = BTreeMap::new();
    let mut completed = 0;
    for seed in 1..=40 {
        let report = run(seed, Options::default());
        assert!(report.violations.is_empty(), "{report}");
        completed += report.completed;
        for (what, count) in report.counts {
            *struck.entry(what).or_default() += count;
        }
    }
    assert!(
        completed > 1_000,
        "{completed} completions: the runs do nothing"
    );
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
    for kind in kinds {
        assert!(
            struck.get(kind).is_some_and(|count| *count > 0),
            "{kind} never struck: {struck:?}"
        );
    }
}
