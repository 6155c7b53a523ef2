//! Settings of an election.

use quorate_core::types::Name;
use serde::{Deserialize, Serialize};

/// Settings of an election. One that was never configured has the defaults.
///
/// A candidate that is *better* than the leader (the preferred one; with `preempt` also one of higher
/// priority) takes over in an ordered hand-over once it has been a candidate, and the leader has led,
/// for `stable_ms`. So one that keeps coming and going moves nothing, and leadership changes for this
/// reason at most once in `stable_ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How long nobody is elected after a leadership that ended without its holder's word (silence, a
    /// revocation that it did not confirm): time for what it had under way to die down at resources
    /// that check no token. In log time.
    pub lock_delay_ms: u64,
    /// Who shall lead whenever it is there. Need not be a candidate yet.
    pub preferred: Option<Name>,
    /// Whether a candidate of higher priority takes over from a leader of lower. Without it,
    /// priorities only decide who is next.
    pub preempt: bool,
    /// How long a better candidate must be there, and the leader have led, before it takes over. In
    /// log time.
    pub stable_ms: u64,
    /// How long a leader may drain in a hand-over to a better candidate before its lease is revoked.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lock_delay_ms: 0,
            preferred: None,
            preempt: false,
            stable_ms: 10_000,
            drain_ms: 10_000,
        }
    }
}
