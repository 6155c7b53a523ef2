//! The machine against the naive model, over random sequences of commands with time, expiry, batches,
//! retries, and snapshots that are restored in the middle. Guards P5, P6, P7 and P8 at the level of the
//! machine: what the model does not allow, the machine must not do.

mod naive;
mod pair;
mod steps;

use pair::Pair;
use proptest::prelude::*;
use quorate_core::machine::Machine as _;
use steps::step;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_naive_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        // A restored machine goes on in the same way: nothing that matters is outside the snapshot.
        let copy = pair.rig.restored(100);
        prop_assert_eq!(copy.digest(), pair.rig.machine.digest());
        prop_assert_eq!(copy.next_deadline(), pair.rig.machine.next_deadline());
        prop_assert_eq!(&copy.index, &pair.rig.machine.index);
    }
}

/// The checks of the model can fail: each bug of the machine that is planted is found by them. (The
/// one that is not among them is in the leader's duties, which the model does not have.)
#[cfg(feature = "planted-bugs")]
#[test]
fn each_planted_bug_of_the_machine_is_found() {
    use super::super::planted::{self, Bug};
    use proptest::test_runner::{TestError, TestRunner};
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        if *bug == Bug::ExpiryTooEarly {
            continue;
        }
        let config = ProptestConfig {
            cases: 2_000,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let strategy = prop::collection::vec(step(), 100..120);
        planted::plant(Some(*bug));
        let found = TestRunner::new_with_rng(config, rng()).run(&strategy, |steps| {
            let mut pair = Pair::new();
            for step in &steps {
                pair.step(step);
            }
            Ok(())
        });
        planted::plant(None);
        if !matches!(found, Err(TestError::Fail(..))) {
            missed.push(*bug);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}

#[cfg(feature = "planted-bugs")]
fn rng() -> proptest::test_runner::TestRng {
    use proptest::test_runner::{RngAlgorithm, TestRng};
    TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32])
}
