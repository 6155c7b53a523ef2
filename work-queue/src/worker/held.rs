//! One lease that the worker holds: what it may believe, when it must stop, what is left to do.
//! Pure: times come in as readings of CLOCK_BOOTTIME.

use super::context::{Shared, Stop};
use crate::machine::{Lease, Settlement};
use quorate_core::lease::{Holder, Terms};
use quorate_core::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// What is going on under a lease.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Granted, but not to be believed until a heartbeat that lists it is acknowledged: the grant is
    /// old, or heartbeats that did not list it may have given it back already.
    Unproven(Box<Lease>),
    /// The handler runs.
    Running,
    /// The handler is done; its outcome is not recorded yet.
    Settling(Settling),
}

/// An outcome on its way.
#[derive(Debug)]
pub(crate) struct Settling {
    pub(crate) settlement: Settlement,
    /// Number of the request it is part of at the moment.
    pub(crate) under_way: Option<u64>,
    /// A request with others was refused as a whole: it goes alone next time.
    pub(crate) alone: bool,
}

/// A lease in the worker's hands.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) shared: Arc<Shared>,
    pub(crate) phase: Phase,
    holder: Holder,
    /// Until when the handler may run at all: the end of the trust as of the last acknowledgement,
    /// kept even when the queue says that the lease is ending. Nobody else is granted the job before.
    run_until: Mono,
    stopped: Option<Mono>,
    lease: Duration,
}

/// What the clock asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing yet.
    No,
    /// Tell the handler to stop.
    Stop,
    /// Drop the handler.
    Drop,
}

impl Held {
    /// A grant that answers a request sent just after `sent`; `proven` is false when heartbeats that
    /// did not list it may have given it back.
    pub(crate) fn granted(
        lease: Lease,
        shared: Arc<Shared>,
        sent: Mono,
        now: Mono,
        proven: bool,
    ) -> Self {
        let terms = Terms::new(lease.lease_ms);
        let mut holder = Holder::granted(terms, sent);
        // A request may have waited long; then the grant has little or no trust left, and half a
        // lease is the least to begin with.
        if !proven || !holder.is_valid(now + terms.trust() / 2) {
            holder = Holder::replayed(terms);
        }
        let held = Self {
            shared,
            run_until: holder.trusted_until().unwrap_or(now),
            holder,
            phase: Phase::Unproven(Box::new(lease)),
            stopped: None,
            lease: Duration::from_millis(terms.lease_ms),
        };
        held.publish();
        held
    }

    /// A heartbeat sent just after `sent` that listed this lease was acknowledged.
    pub(crate) fn renewed(&mut self, sent: Mono) {
        self.holder.renewed(sent);
        if let Some(until) = self.holder.trusted_until() {
            self.run_until = self.run_until.max(until);
        }
        self.publish();
    }

    /// The queue said that the lease has ended or is ending, or a release is about to be sent: no
    /// trust from here on.
    pub(crate) fn over(&mut self) {
        self.holder.release();
        self.publish();
    }

    /// Whether the lease may be believed.
    pub(crate) fn is_valid(&self, now: Mono) -> bool {
        self.holder.is_valid(now)
    }

    /// Tells the handler to stop. Only the first call counts.
    pub(crate) fn stop(&mut self, reason: Stop, now: Mono) {
        if self.stopped.is_none() {
            self.stopped = Some(now);
            self.shared.stop(reason);
        }
    }

    /// The lease's length.
    pub(crate) fn length(&self) -> Duration {
        self.lease
    }

    /// The latest time at which trying to record the outcome makes sense: the queue ends the lease
    /// about one length after the last heartbeat it acknowledged.
    pub(crate) fn settle_until(&self) -> Mono {
        self.run_until + self.lease
    }

    /// What the clock asks for at `now` of a handler that runs, when one that was told to stop has
    /// `grace` for it.
    pub(crate) fn due(&self, now: Mono, grace: Duration) -> Due {
        let (stop_at, drop_at) = self.deadlines(grace);
        if now >= drop_at {
            Due::Drop
        } else if self.stopped.is_none() && now >= stop_at {
            Due::Stop
        } else {
            Due::No
        }
    }

    /// When [`Held::due`] next says something else.
    pub(crate) fn next_due(&self, grace: Duration) -> Mono {
        let (stop_at, drop_at) = self.deadlines(grace);
        if self.stopped.is_none() {
            stop_at
        } else {
            drop_at
        }
    }

    fn deadlines(&self, grace: Duration) -> (Mono, Mono) {
        let margin = grace.min(self.lease / 4);
        let margin = u64::try_from(margin.as_nanos()).unwrap_or(u64::MAX);
        let stop_at = Mono(self.run_until.0.saturating_sub(margin));
        let drop_at = self
            .stopped
            .map_or(self.run_until, |at| self.run_until.min(at + grace));
        (stop_at, drop_at)
    }

    fn publish(&self) {
        self.shared
            .trust(self.holder.trusted_until().map(|until| until.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{JobId, LeaseId, SessionId};
    use bytes::Bytes;
    use quorate_core::types::Name;
    use std::sync::atomic::AtomicBool;
    use tokio_util::sync::CancellationToken;

    const GRACE: Duration = Duration::from_secs(5);

    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    fn held(sent: Mono, now: Mono, proven: bool) -> Held {
        let shared = Arc::new(Shared::new(
            (LeaseId(1), JobId(2), SessionId(3)),
            0,
            Arc::new(AtomicBool::new(false)),
            CancellationToken::new(),
        ));
        let lease = Lease {
            id: LeaseId(1),
            job: JobId(2),
            queue: Name::new("q").unwrap(),
            attempt: 1,
            lease_ms: 10_000,
            payload: Bytes::new(),
            payload_is_json: false,
            inputs: Vec::new(),
            labels: Vec::new(),
            checkpoint: None,
            traceparent: None,
            joins: None,
            batch: None,
        };
        Held::granted(lease, shared, sent, now, proven)
    }

    #[test]
    fn the_handler_is_told_to_stop_before_the_trust_ends_and_dropped_when_it_does() {
        let held = held(at(0), at(1), true);
        assert!(held.is_valid(at(9_899)) && !held.is_valid(at(9_900)));
        assert_eq!(held.due(at(7_399), GRACE), Due::No);
        assert_eq!(
            held.due(at(7_400), GRACE),
            Due::Stop,
            "a quarter of the lease before the end"
        );
        assert_eq!(held.due(at(9_900), GRACE), Due::Drop);
    }

    #[test]
    fn an_old_or_doubtful_grant_has_no_validity_until_a_heartbeat_is_acknowledged() {
        for (sent, now, proven) in [(0, 6_000, true), (0, 1, false)] {
            let mut held = held(at(sent), at(now), proven);
            assert!(!held.is_valid(at(now)));
            held.renewed(at(now + 1));
            assert!(held.is_valid(at(now + 2)));
        }
    }

    #[test]
    fn a_lease_that_is_ending_is_not_believed_but_its_handler_may_clean_up_within_the_old_trust() {
        let mut held = held(at(0), at(1), true);
        held.renewed(at(2_000));
        held.over();
        held.stop(Stop::Cancelled, at(3_000));
        assert!(!held.is_valid(at(3_000)));
        held.renewed(at(3_000));
        assert!(
            !held.is_valid(at(3_001)),
            "a late acknowledgement restores no trust"
        );
        assert_eq!(held.due(at(7_999), GRACE), Due::No);
        assert_eq!(held.due(at(8_000), GRACE), Due::Drop);
        let long = Duration::from_secs(60);
        assert_eq!(
            held.due(at(11_900), long),
            Due::Drop,
            "never beyond the old trust"
        );
    }
}
