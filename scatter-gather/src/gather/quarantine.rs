//! Requests that killed their canary, remembered by fingerprint so that they are not tried again at
//! once.

use quorate_core::types::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The fingerprints in quarantine. A fingerprint is any 64-bit hash of what makes the request
/// dangerous: its route and body.
#[derive(Debug)]
pub struct Quarantine {
    term: Duration,
    entries_max: usize,
    until: BTreeMap<u64, Mono>,
    // In the order they were put in, which is the order they end, since the term is fixed.
    order: VecDeque<(Mono, u64)>,
}

impl Quarantine {
    /// Keeps at most `entries_max` fingerprints for `term` each; when full, the oldest goes first.
    pub fn new(term: Duration, entries_max: usize) -> Self {
        Self {
            term,
            entries_max: entries_max.max(1),
            until: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Puts a fingerprint in, or starts its term anew.
    pub fn put(&mut self, fingerprint: u64, now: Mono) {
        self.expire(now);
        let end = now + self.term;
        self.until.insert(fingerprint, end);
        self.order.push_back((end, fingerprint));
        while self.order.len() > self.entries_max {
            self.drop_oldest();
        }
    }

    /// How long this fingerprint must still wait, if it is in quarantine.
    pub fn remaining(&mut self, fingerprint: u64, now: Mono) -> Option<Duration> {
        self.expire(now);
        self.until.get(&fingerprint).map(|&end| end.since(now))
    }

    /// How many are in quarantine.
    pub fn len(&self) -> usize {
        self.until.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    fn expire(&mut self, now: Mono) {
        while self.order.front().is_some_and(|&(end, _)| end <= now) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((end, fingerprint)) = self.order.pop_front()
            // A later put has its own place in the order.
            && self.until.get(&fingerprint) == Some(&end)
        {
            self.until.remove(&fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fingerprint stays for its term, a second offence restarts it, and the store is bounded.
    #[test]
    fn terms_end_and_room_is_bounded() {
        let at = |s: u64| Mono(s * 1_000_000_000);
        let mut q = Quarantine::new(Duration::from_secs(10), 3);
        q.put(1, at(0));
        q.put(1, at(5));
        assert_eq!(q.remaining(1, at(12)), Some(Duration::from_secs(3)));
        assert_eq!(q.remaining(1, at(15)), None);
        for f in 0..100 {
            q.put(f, at(20));
        }
        assert_eq!(q.len(), 3);
        assert!(q.remaining(99, at(21)).is_some() && q.remaining(0, at(21)).is_none());
    }
}
