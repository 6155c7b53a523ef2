//! The clocks of this machine. Shells read them; pure modules are handed the readings.

use crate::types::{Mono, Now};
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

fn read(clock: ClockId) -> Mono {
    let t = clock_gettime(clock);
    let seconds = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    Mono(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// CLOCK_MONOTONIC: what a leader counts leases by. It stands still while the machine is suspended,
/// which only ever lengthens the leader's count.
pub fn monotonic() -> Mono {
    read(ClockId::Monotonic)
}

/// CLOCK_BOOTTIME: what a holder trusts its lease by. It counts suspended time, so that a holder that
/// wakes up knows how long it slept.
pub fn boottime() -> Mono {
    read(ClockId::Boottime)
}

/// The wall clock in milliseconds since the Unix epoch.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Both clocks a replica is handed with its inputs.
pub fn now() -> Now {
    Now {
        mono: monotonic(),
        wall_ms: wall_ms(),
    }
}
