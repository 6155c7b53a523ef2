//! The leader's clock for [`LogTime`]: what it stamps on entries.
//!
//! The target is the median wall clock of a majority, estimated from the readings that come with each
//! message. Within a term the stamp advances at between half and twice the speed of the leader's
//! monotonic clock towards the target; only the first stamp of a term may step, and only forward. So
//! one node whose wall clock is a day ahead moves nobody's delays, not even while it leads, and time
//! never goes back.

use crate::types::{LogTime, Mono, NodeId, Now};
use std::collections::BTreeMap;
use std::time::Duration;

/// A reading older than this is not used: it stands for a node that is down, and the drift of two
/// wall clocks in this time is small.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(60);

const NANOS_PER_MS: u64 = 1_000_000;

/// Wall clocks of the other members, as they were heard.
#[derive(Clone, Debug, Default)]
pub(super) struct WallClocks {
    heard: BTreeMap<NodeId, Now>,
}

impl WallClocks {
    /// A message of `node` that arrived at `now.mono` said that its wall clock was at `wall_ms`. The
    /// time it travelled is neglected.
    pub(super) fn hear(&mut self, node: NodeId, wall_ms: u64, mono: Mono) {
        if wall_ms > 0 {
            self.heard.insert(node, Now { mono, wall_ms });
        }
    }

    /// The lower median of the wall clocks of `voters`, this node's own among them, when a majority of
    /// them is known. With two of three known it is the earlier one: a clock that is behind slows time
    /// down to half until the third is heard, one that is ahead could never be undone.
    pub(super) fn target(&self, own: NodeId, voters: &[NodeId], now: Now) -> Option<LogTime> {
        let mut readings: Vec<u64> = voters
            .iter()
            .filter_map(|voter| {
                if *voter == own {
                    return Some(now.wall_ms);
                }
                let heard = self.heard.get(voter)?;
                let age = now.mono.since(heard.mono);
                let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
                (age <= SAMPLE_AGE_MAX).then(|| heard.wall_ms.saturating_add(age_ms))
            })
            .collect();
        if readings.len() * 2 <= voters.len() {
            return None;
        }
        readings.sort_unstable();
        readings
            .get((readings.len() - 1) / 2)
            .map(|median| LogTime(*median))
    }
}

/// The stamps of one leader in one term.
#[derive(Clone, Copy, Debug)]
pub(super) struct TermClock {
    /// The last stamp in nanoseconds, so that frequent stamps lose nothing to rounding.
    last_ns: u128,
    at: Mono,
    stepped: bool,
}

impl TermClock {
    /// Takes office at `now`, when the last applied entry carried `last`.
    pub(super) fn new(last: LogTime, now: Mono) -> Self {
        Self {
            last_ns: u128::from(last.0) * u128::from(NANOS_PER_MS),
            at: now,
            stepped: false,
        }
    }

    /// The time that [`TermClock::stamp`] would give.
    pub(super) fn peek(&self, now: Mono, target: Option<LogTime>) -> LogTime {
        let ms = self.advanced_ns(now, target) / u128::from(NANOS_PER_MS);
        LogTime(u64::try_from(ms).unwrap_or(u64::MAX))
    }

    /// The time of an entry that is proposed at `now`.
    pub(super) fn stamp(&mut self, now: Mono, target: Option<LogTime>) -> LogTime {
        self.last_ns = self.advanced_ns(now, target);
        self.at = now;
        self.stepped = true;
        LogTime(u64::try_from(self.last_ns / u128::from(NANOS_PER_MS)).unwrap_or(u64::MAX))
    }

    fn advanced_ns(&self, now: Mono, target: Option<LogTime>) -> u128 {
        let elapsed = now.since(self.at).as_nanos();
        let Some(target) = target else {
            return self.last_ns + elapsed;
        };
        let target = u128::from(target.0) * u128::from(NANOS_PER_MS);
        if self.stepped {
            target.clamp(self.last_ns + elapsed / 2, self.last_ns + elapsed * 2)
        } else {
            target.max(self.last_ns + elapsed / 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: u64 = 86_400_000;

    fn at(ms: u64) -> Mono {
        Mono(ms * NANOS_PER_MS)
    }

    proptest! {
        #[test]
        fn within_a_term_time_runs_at_half_to_twice_the_leaders_monotonic_clock(
            start in 0..u64::MAX / 4 / NANOS_PER_MS,
            steps in prop::collection::vec((0_u64..5_000, prop::option::of(0..u64::MAX / 4 / NANOS_PER_MS)), 1..50),
        ) {
            let mut clock = TermClock::new(LogTime(start), at(10));
            let first = clock.stamp(at(10), steps[0].1.map(LogTime));
            prop_assert!(first >= LogTime(start), "never back, not even at the first stamp");
            let (mut now, mut last) = (10, first);
            for (ms, target) in steps {
                now += ms;
                let peeked = clock.peek(at(now), target.map(LogTime));
                let stamp = clock.stamp(at(now), target.map(LogTime));
                prop_assert_eq!(peeked, stamp);
                prop_assert!(stamp.0 + 1 >= last.0 + ms / 2, "at least half the speed");
                prop_assert!(stamp.0 <= last.0 + ms * 2 + 1, "at most twice the speed");
                last = stamp;
            }
        }

        #[test]
        fn one_of_three_clocks_says_nothing_alone(wrong in 0..u64::MAX / 4, who in 0_usize..3) {
            let good = 1_700_000_000_000_u64;
            let wall = |node: usize| if node == who { wrong } else { good };
            let mut clocks = WallClocks::default();
            clocks.hear(NodeId(2), wall(1), at(5));
            clocks.hear(NodeId(3), wall(2), at(5));
            let voters = [NodeId(1), NodeId(2), NodeId(3)];
            let now = Now { mono: at(5), wall_ms: wall(0) };
            prop_assert_eq!(clocks.target(NodeId(1), &voters, now), Some(LogTime(good)));
        }
    }

    #[test]
    fn a_clock_a_day_ahead_poisons_nothing_even_as_leader_with_one_peer() {
        let good = 1_700_000_000_000;
        let mut clocks = WallClocks::default();
        let voters = [NodeId(1), NodeId(2), NodeId(3)];
        let ahead = Now {
            mono: at(100),
            wall_ms: good + DAY_MS,
        };
        assert_eq!(
            clocks.target(NodeId(1), &voters, ahead),
            None,
            "one of three is no majority"
        );
        clocks.hear(NodeId(2), good, at(100));
        assert_eq!(
            clocks.target(NodeId(1), &voters, ahead),
            Some(LogTime(good))
        );
    }

    #[test]
    fn readings_age_with_the_monotonic_clock_and_are_dropped_when_old() {
        let mut clocks = WallClocks::default();
        let voters = [NodeId(1), NodeId(2), NodeId(3)];
        clocks.hear(NodeId(2), 1_000_000, at(0));
        let later = Now {
            mono: at(30_000),
            wall_ms: 9_000_000,
        };
        assert_eq!(
            clocks.target(NodeId(1), &voters, later),
            Some(LogTime(1_030_000))
        );
        let late = Now {
            mono: at(60_001),
            wall_ms: 9_000_000,
        };
        assert_eq!(clocks.target(NodeId(1), &voters, late), None);
    }

    #[test]
    fn the_first_stamp_of_a_term_steps_forward_to_the_target_and_the_second_does_not() {
        let mut clock = TermClock::new(LogTime(5_000), at(0));
        assert_eq!(clock.stamp(at(0), Some(LogTime(900_000))), LogTime(900_000));
        assert_eq!(
            clock.stamp(at(100), Some(LogTime(2_000_000))),
            LogTime(900_200)
        );
        let mut behind = TermClock::new(LogTime(5_000), at(0));
        assert_eq!(
            behind.stamp(at(0), Some(LogTime(10))),
            LogTime(5_000),
            "never back"
        );
        assert_eq!(
            behind.stamp(at(100), None),
            LogTime(5_100),
            "at its own speed without a majority"
        );
    }
}
