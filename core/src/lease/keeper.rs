//! The leader's side: when each lease may be ended.

use super::Terms;
use crate::planted::{self, Bug};
use crate::types::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Counts of live leases, kept by the leader of one term. Keys are leases or sessions.
///
/// A count starts at the grant or when the leader takes office, and again at the receipt of each
/// renewal that is acknowledged. Renewals that arrived and wait for their quorum round defer the end.
/// Once the end is proposed, the key is acknowledged no more.
#[derive(Debug)]
pub struct Keeper<K> {
    counts: BTreeMap<K, Count>,
    ends: BTreeSet<(Mono, K)>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    terms: Terms,
    end: Mono,
    pending: u32,
    end_proposed: bool,
}

impl<K: Ord + Copy> Default for Keeper<K> {
    fn default() -> Self {
        Self {
            counts: BTreeMap::new(),
            ends: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Copy> Keeper<K> {
    /// Starts (or restarts with new terms) the count of `key` at `now`; never brings an end forward.
    pub fn start(&mut self, key: K, terms: Terms, now: Mono) {
        let old = self.counts.get(&key).copied();
        let end = old.map_or(now + terms.patience(), |old| {
            old.end.max(now + terms.patience())
        });
        let pending = old.map_or(0, |old| old.pending);
        self.put(
            key,
            Count {
                terms,
                end,
                pending,
                end_proposed: false,
            },
        );
    }

    /// The lease has ended.
    pub fn stop(&mut self, key: K) {
        if let Some(count) = self.counts.remove(&key) {
            self.ends.remove(&(count.end, key));
        }
    }

    /// A renewal of `key` arrived; its end is deferred until the renewal is confirmed or abandoned.
    pub fn arrived(&mut self, key: K) {
        if let Some(count) = self.counts.get_mut(&key) {
            count.pending = count.pending.saturating_add(1);
        }
    }

    /// The renewal's quorum round succeeded: counts from its `receipt`. False when the key is not
    /// live here or its end was proposed, so that it must not be acknowledged.
    pub fn confirmed(&mut self, key: K, receipt: Mono) -> bool {
        let Some(mut count) = self.counts.get(&key).copied() else {
            return false;
        };
        count.pending = count.pending.saturating_sub(1);
        let live = !count.end_proposed || planted::on(Bug::AckAfterExpiryProposed);
        if live {
            count.end = count.end.max(receipt + count.terms.patience());
        }
        self.put(key, count);
        live
    }

    /// The renewal came to nothing.
    pub fn abandoned(&mut self, key: K) {
        if let Some(count) = self.counts.get_mut(&key) {
            count.pending = count.pending.saturating_sub(1);
        }
    }

    /// The loop stood still for `stall`: renewals may lie unread, so every count gets it added.
    pub fn stalled(&mut self, stall: Duration) {
        self.ends.clear();
        for (key, count) in &mut self.counts {
            count.end = count.end + stall;
            if !count.end_proposed {
                self.ends.insert((count.end, *key));
            }
        }
    }

    /// Marks the end of `key` as proposed, for example because its owner asked for it: no
    /// acknowledgement covers it any more.
    pub fn end_proposed(&mut self, key: K) {
        if let Some(count) = self.counts.get_mut(&key) {
            count.end_proposed = true;
            self.ends.remove(&(count.end, key));
        }
    }

    /// Up to `max` keys whose count is over at `now` and that no renewal defers; marks them proposed.
    pub fn due(&mut self, now: Mono, max: usize) -> Vec<K> {
        let mut due = Vec::new();
        for (end, key) in &self.ends {
            if *end > now || due.len() == max {
                break;
            }
            if self.counts.get(key).is_some_and(|count| count.pending == 0) {
                due.push(*key);
            }
        }
        for key in &due {
            self.end_proposed(*key);
        }
        due
    }

    /// When the earliest count is over.
    pub fn next_due(&self) -> Option<Mono> {
        self.ends.first().map(|(end, _)| *end)
    }

    /// When the count of `key` is over, if it is live.
    pub fn end_of(&self, key: K) -> Option<Mono> {
        self.counts.get(&key).map(|count| count.end)
    }

    /// Number of live counts.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there is no live count.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    fn put(&mut self, key: K, count: Count) {
        if let Some(old) = self.counts.insert(key, count) {
            self.ends.remove(&(old.end, key));
        }
        if !count.end_proposed {
            self.ends.insert((count.end, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Terms = Terms {
        lease_ms: 1000,
        drift_permille: 10,
    };
    fn at(ms: u64) -> Mono {
        Mono(ms * 1_000_000)
    }

    #[test]
    fn ends_only_after_d_times_one_plus_rho_from_the_last_acknowledged_receipt() {
        let mut keeper = Keeper::default();
        keeper.start(1, D, at(0));
        assert!(keeper.due(at(1009), 9).is_empty());
        keeper.arrived(1);
        assert!(
            keeper.due(at(5000), 9).is_empty(),
            "a pending renewal defers the end"
        );
        assert!(keeper.confirmed(1, at(900)));
        assert!(keeper.due(at(1909), 9).is_empty());
        assert_eq!(keeper.due(at(1910), 9), vec![1]);
        assert!(keeper.due(at(9999), 9).is_empty(), "proposed once");
        keeper.arrived(1);
        assert!(
            !keeper.confirmed(1, at(1911)),
            "not acknowledged after its end was proposed"
        );
    }

    #[test]
    fn a_stall_is_added_to_every_count_and_an_abandoned_renewal_defers_nothing() {
        let mut keeper = Keeper::default();
        keeper.start(1, D, at(0));
        keeper.stalled(Duration::from_millis(500));
        assert!(keeper.due(at(1509), 9).is_empty());
        keeper.arrived(1);
        keeper.abandoned(1);
        assert_eq!(keeper.due(at(1510), 9), vec![1]);
        keeper.stop(1);
        assert!(keeper.is_empty() && keeper.next_due().is_none());
    }
}
