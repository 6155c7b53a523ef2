//! The longest silence between two acknowledgements, over all connections of a load: what a user of
//! the service sees of a failure.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Watches acknowledgements for silences. Shared by all tasks of a load.
#[derive(Debug)]
pub struct Gaps(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Instant,
    longest: Duration,
}

impl Gaps {
    /// Begins to watch: the first silence is counted from now.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(State {
            last: now,
            longest: Duration::ZERO,
        }))
    }

    /// An acknowledgement came at `now`. Tasks may report a little out of order.
    pub fn acknowledged(&self, now: Instant) {
        let mut state = self.lock();
        if let Some(gap) = now.checked_duration_since(state.last) {
            state.longest = state.longest.max(gap);
            state.last = now;
        }
    }

    /// The longest silence so far, also counting the one that lasts; then starts over.
    pub fn take_longest(&self, now: Instant) -> Duration {
        let mut state = self.lock();
        let open = now.saturating_duration_since(state.last);
        std::mem::take(&mut state.longest).max(open)
    }

    /// Time since the last acknowledgement.
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.lock().last)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_kept_until_it_is_taken_and_an_open_one_counts() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let gaps = Gaps::new(t0);
        for ms in [10, 15, 215, 214, 220] {
            gaps.acknowledged(at(ms));
        }
        assert_eq!(gaps.take_longest(at(230)), Duration::from_millis(200));
        gaps.acknowledged(at(225));
        assert_eq!(gaps.take_longest(at(725)), Duration::from_millis(500));
    }
}
