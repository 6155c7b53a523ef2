//! The checks can fail: every planted bug is found by them.

use super::scenario::scenario;
use super::world::run;
use crate::gather::planted::{self, Bug};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRunner};

/// Most scenarios tried for a bug.
const SCENARIOS: u32 = 20_000;

/// Each bug breaks a promise in some scenario, and the same scenario is fine without it.
#[test]
fn each_planted_bug_is_found() {
    for &bug in Bug::ALL {
        let mut runner = TestRunner::new_with_rng(
            Config::default(),
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        );
        let strategy = scenario();
        let found = (0..SCENARIOS).find_map(|tries| {
            let scenario = strategy.new_tree(&mut runner).unwrap().current();
            planted::plant(Some(bug));
            let broken = std::panic::catch_unwind(|| run(&scenario))
                .unwrap_or_else(|_| Err("panic".to_owned()));
            planted::plant(None);
            broken.err().map(|broken| (tries, broken, scenario))
        });
        let (tries, broken, scenario) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!("{bug:?}: scenario {tries}: {broken}");
        assert_eq!(run(&scenario), Ok(()), "without {bug:?}");
    }
}
