//! One leadership as this process holds it: until when it may be believed, and how it stands.

use quorate_core::clock;
use quorate_core::lease::{Holder, Terms};
use quorate_core::types::{FencingToken, LogTime, Mono, Name};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A hand-over that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Who follows.
    pub to: Name,
    /// After this time of the cluster's log the lease is revoked.
    pub until: LogTime,
}

/// How a leadership stands, apart from its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Elected, and not yet covered by a renewal.
    Pending,
    /// Covered.
    Leading,
    /// Asked to finish and acknowledge; still covered.
    Draining(HandOver),
    /// No acknowledgement covers it any more; what ends it sooner is this holder's word.
    Revoked,
    /// It has ended.
    Over,
}

/// See the module's text. `until` is what [`Lease::is_valid`] reads; `holder` is what it is computed by.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) election: Name,
    pub(super) candidate: Name,
    pub(super) token: FencingToken,
    /// The revision at which it was last known to be whole.
    confirmed: AtomicU64,
    /// A reading of CLOCK_BOOTTIME in nanoseconds; 0 before the first and after the last moment of trust.
    until: AtomicU64,
    holder: Mutex<Holder>,
    standing: watch::Sender<Standing>,
}

impl Lease {
    pub(super) fn new(
        election: Name,
        candidate: Name,
        token: FencingToken,
        confirmed: u64,
        terms: Terms,
    ) -> Self {
        Self {
            election,
            candidate,
            token,
            confirmed: AtomicU64::new(confirmed),
            until: AtomicU64::new(0),
            // A grant has no validity until renewed.
            holder: Mutex::new(Holder::replayed(terms)),
            standing: watch::Sender::new(Standing::Pending),
        }
    }

    /// One load and one reading of the clock.
    pub(super) fn is_valid(&self) -> bool {
        clock::boottime() < self.until()
    }

    pub(super) fn until(&self) -> Mono {
        Mono(self.until.load(Ordering::Acquire))
    }

    /// What is left of the trust.
    pub(super) fn valid_for(&self) -> Duration {
        self.until().since(clock::boottime())
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    pub(super) fn confirm(&self, revision: u64) {
        self.confirmed.fetch_max(revision, Ordering::AcqRel);
    }

    /// A renewal sent just after `sent` covers it.
    pub(super) fn renewed(&self, sent: Mono) {
        let mut holder = self.lock();
        holder.renewed(sent);
        // Written under the lock, so that a release is never followed by an older renewal's deadline.
        let until = holder.trusted_until().map_or(0, |until| until.0);
        let before = self.until.swap(until, Ordering::AcqRel);
        drop(holder);
        if before == 0 && until != 0 {
            self.standing.send_if_modified(|standing| {
                if *standing == Standing::Pending {
                    *standing = Standing::Leading;
                }
                // Whoever waits for the first cover is told, also when it is asked to drain already.
                true
            });
        }
    }

    /// Trust ends here, for good.
    pub(super) fn release(&self) {
        let mut holder = self.lock();
        holder.release();
        self.until.store(0, Ordering::Release);
    }

    /// It was asked to drain, or the hand-over was called off.
    pub(super) fn drain(&self, hand_over: Option<HandOver>) {
        self.standing.send_if_modified(|standing| {
            let next = match (&*standing, hand_over) {
                (Standing::Pending | Standing::Leading | Standing::Draining(_), Some(asked)) => {
                    Standing::Draining(asked)
                }
                (Standing::Draining(_), None) => Standing::Leading,
                _ => return false,
            };
            let changed = *standing != next;
            *standing = next;
            changed
        });
    }

    /// Trust ends, and this is why.
    pub(super) fn end(&self, how: Standing) {
        self.release();
        self.standing.send_if_modified(|standing| {
            let changed = *standing != Standing::Over && *standing != how;
            if changed {
                *standing = how;
            }
            changed
        });
    }

    pub(super) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Holder> {
        // Nothing in it is left half done by a panic.
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> Lease {
        let name = |text| Name::new(text).unwrap();
        Lease::new(name("e"), name("c"), FencingToken(7), 3, Terms::new(60_000))
    }

    #[test]
    fn a_grant_is_believed_only_once_it_was_renewed_and_never_again_after_its_release() {
        let lease = lease();
        assert!(!lease.is_valid());
        let sent = clock::boottime();
        lease.renewed(sent);
        assert!(lease.is_valid() && *lease.standing().borrow() == Standing::Leading);
        assert_eq!(lease.until(), sent + Terms::new(60_000).trust());
        lease.release();
        lease.renewed(clock::boottime());
        assert!(!lease.is_valid(), "a late acknowledgement restores nothing");
    }

    #[test]
    fn an_end_is_final_and_a_revocation_is_not_undone_by_a_hand_over_called_off() {
        let lease = lease();
        lease.renewed(clock::boottime());
        let asked = HandOver {
            to: Name::new("d").unwrap(),
            until: LogTime(9),
        };
        lease.drain(Some(asked.clone()));
        assert!(lease.is_valid(), "a leader that drains still leads");
        lease.drain(None);
        assert_eq!(*lease.standing().borrow(), Standing::Leading);
        lease.end(Standing::Revoked);
        lease.drain(Some(asked));
        lease.drain(None);
        assert_eq!(*lease.standing().borrow(), Standing::Revoked);
        lease.end(Standing::Over);
        lease.end(Standing::Revoked);
        assert_eq!(*lease.standing().borrow(), Standing::Over);
        assert!(!lease.is_valid());
    }
}
