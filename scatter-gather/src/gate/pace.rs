//! How fast a leaf with all it can do gets on: how long whoever waits will wait.

use std::time::Duration;
use tokio::time::Instant;

/// What a new observation counts in the averages: departures come in bursts, as many as the leaf has workers.
const WEIGHT: f64 = 1.0 / 64.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds between two departures while there was no room.
    gap: Option<f64>,
    /// Seconds that the leaf takes.
    leaf: Option<f64>,
    /// The last departure, if there was no room then.
    last: Option<Instant>,
}

impl Pace {
    /// One has left the leaf; `busy`: there was no room for another until then.
    pub(super) fn departed(&mut self, now: Instant, busy: bool) {
        if busy && let Some(last) = self.last {
            learn(&mut self.gap, now - last);
        }
        self.last = busy.then_some(now);
    }

    /// The leaf has answered after this time.
    pub(super) fn answered(&mut self, took: Duration) {
        learn(&mut self.leaf, took);
    }

    /// What the leaf takes, zero while unknown.
    pub(super) fn leaf(&self) -> Duration {
        Duration::from_secs_f64(self.leaf.unwrap_or(0.0))
    }

    /// Whether the one at this place of the queue, counted from one, would spend more than half of its time there,
    /// or have none left for the leaf. The other half is for what the average does not know.
    pub(super) fn is_late(&self, place: usize, patience: Duration) -> bool {
        #[allow(
            clippy::cast_precision_loss,
            reason = "a place in a queue of some hundreds"
        )]
        let wait = self.gap.unwrap_or(0.0) * place as f64;
        2.0 * wait + self.leaf.unwrap_or(0.0) > patience.as_secs_f64()
    }
}

fn learn(average: &mut Option<f64>, observed: Duration) {
    let observed = observed.as_secs_f64();
    let before = average.unwrap_or(observed);
    *average = Some(before + (observed - before) * WEIGHT);
}
