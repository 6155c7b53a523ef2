//! Random requests in virtual time.

use super::scenario::scenario;
use super::world::run;
use proptest::prelude::*;

/// Cases of one run; `PROPTEST_CASES` sets more.
const CASES: u32 = 3_000;

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever leaves, balancer and timers do: each shard is merged once at most, the account adds
    /// up and agrees with the sum, complete means complete, the cutoff and the budgets are kept.
    #[test]
    fn promises_hold_in_any_order_of_events(scenario in scenario()) {
        prop_assert_eq!(run(&scenario), Ok(()));
    }
}
