//! The machine against a naive model that shares no code with it: plain vectors, searched from end to
//! end. Random histories of commands; after each, both must show the same elections, and what observers
//! were told must add up to it.

mod naive;
mod pair;

use super::*;
use pair::{Pair, Step, step};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_naive_model_does(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(&step).map_err(|why| TestCaseError::fail(format!("{step:?}: {why}")))?;
        }
    }
}

#[test]
fn a_history_that_touches_everything() {
    let mut pair = Pair::new();
    let steps = [
        Step::Configure(0, Some((5_000, Some(2), true, 1_000, 500))),
        Step::Campaign(0, 0, 0, 1),
        Step::Campaign(0, 1, 1, 3),
        Step::Pass(1_000),
        Step::Restore(64),
        Step::Pass(500),
        Step::EndRevoked(0),
        Step::Campaign(0, 2, 2, 0),
        Step::Pass(5_000),
        Step::Revoke(0),
        Step::Drained(0),
        Step::Transfer(0, 0, 700),
        Step::Expire(1),
        Step::ForceRelease(0),
    ];
    for step in steps {
        pair.take(&step).unwrap();
    }
}
