//! When a second replica is asked although the first has not failed.

use super::policy::Share;
use std::time::Duration;

/// What makes an attempt late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// This quantile of the replica's own latency, as the shell reports it with each choice
    /// (`late_after` of [`super::Input::Chosen`]); no hedge while the shell knows too little.
    Quantile(Share),
    /// A fixed time after the send.
    Delay(Duration),
}

/// Hedging of one plan. How many hedges all requests together may send is bounded outside, by a
/// [`super::Budget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HedgePolicy {
    /// When an attempt is late.
    pub trigger: Trigger,
    /// Most hedges for one shard of one request.
    pub hedges_max: u8,
    /// Never hedge earlier than this after a send, however fast the replica usually is: below it, the
    /// cost of a second call is larger than what it can save (Finagle uses 1 ms).
    pub delay_min: Duration,
    /// If more than this share of the request's shards (and more than one) are late together, the
    /// cause is common to them and a hedge only adds load: this request is not hedged any more.
    pub late_together_max: Share,
}

impl HedgePolicy {
    /// Hedges of the defaults: one a shard, not before 1 ms, not when more than 20 % are late.
    const DEFAULT: Self = Self {
        trigger: Trigger::Quantile(Share::ppm(950_000)),
        hedges_max: 1,
        delay_min: Duration::from_millis(1),
        late_together_max: Share::ppm(200_000),
    };

    /// Hedge what is slower than this quantile of its replica's latency.
    pub const fn quantile(quantile: Share) -> Self {
        Self {
            trigger: Trigger::Quantile(quantile),
            ..Self::DEFAULT
        }
    }

    /// Hedge after a fixed time.
    pub const fn delay(delay: Duration) -> Self {
        Self {
            trigger: Trigger::Delay(delay),
            ..Self::DEFAULT
        }
    }

    /// When an attempt becomes late after its send, given what the shell knows of the replica.
    pub(super) fn late_after(&self, known: Option<Duration>) -> Option<Duration> {
        let late = match self.trigger {
            Trigger::Delay(delay) => Some(delay),
            Trigger::Quantile(_) => known,
        };
        late.map(|late| late.max(self.delay_min))
    }
}

impl Default for HedgePolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
