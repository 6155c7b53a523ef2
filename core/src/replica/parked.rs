//! Operations that would find nothing now and whose callers are willing to wait.
//!
//! They wait in lines, one for each key, first come, first served. An event makes a key hot; then the
//! first of its line is proposed, and twice as many the next time as long as all of them found
//! something. One that found nothing after all goes back to its old place.

use super::input::RequestId;
use crate::machine::{Op, WaitKey};
use crate::types::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// Operations of one line proposed at a time, at the most: each that finds nothing costs log space.
const BURST_MAX: usize = 256;

/// A place in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    key: WaitKey,
    number: u64,
}

/// An operation that waits, or that was woken.
#[derive(Clone, Debug)]
pub(super) struct Parked<C> {
    pub(super) id: RequestId,
    pub(super) op: Op<C>,
    pub(super) until: Mono,
}

#[derive(Debug)]
struct Line<C> {
    waiting: BTreeMap<u64, Parked<C>>,
    /// How many to wake next.
    burst: usize,
    /// How many of those woken are not yet applied.
    woken: usize,
}

impl<C> Default for Line<C> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            burst: 1,
            woken: 0,
        }
    }
}

/// All lines.
#[derive(Debug)]
pub(super) struct Lines<C> {
    lines: BTreeMap<WaitKey, Line<C>>,
    places: BTreeMap<RequestId, Place>,
    deadlines: BTreeSet<(Mono, RequestId)>,
    hot: BTreeSet<WaitKey>,
    /// Callers that went away while their operation was under way.
    gone: BTreeSet<RequestId>,
    under_way: BTreeSet<RequestId>,
    last_number: u64,
}

impl<C> Default for Lines<C> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            places: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            hot: BTreeSet::new(),
            gone: BTreeSet::new(),
            under_way: BTreeSet::new(),
            last_number: 0,
        }
    }
}

impl<C> Lines<C> {
    /// How many are parked.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Parks at the end of the line of `key`, or at the old place.
    pub(super) fn park(&mut self, key: WaitKey, parked: Parked<C>, old: Option<Place>) {
        let number = match old {
            Some(place) if place.key == key => place.number,
            _ => {
                self.last_number += 1;
                self.last_number
            }
        };
        self.places.insert(
            parked.id,
            Place {
                key: key.clone(),
                number,
            },
        );
        self.deadlines.insert((parked.until, parked.id));
        self.lines
            .entry(key)
            .or_default()
            .waiting
            .insert(number, parked);
    }

    /// An event says that the waiters of `key` may find something.
    pub(super) fn wake(&mut self, key: WaitKey) {
        if self.lines.contains_key(&key) {
            self.hot.insert(key);
        }
    }

    /// The operations to propose now, in order. `parks` says of the first in line whether it would
    /// still find nothing; then its line goes cold.
    pub(super) fn take_woken(
        &mut self,
        mut parks: impl FnMut(&C) -> bool,
        mut take: impl FnMut(Parked<C>, Place),
    ) {
        let hot = std::mem::take(&mut self.hot);
        for key in hot {
            let Some(line) = self.lines.get_mut(&key) else {
                continue;
            };
            if line.woken > 0 {
                // Their outcome says whether there is more; the line stays hot until then.
                self.hot.insert(key);
                continue;
            }
            for _ in 0..line.burst {
                let Some(first) = line.waiting.first_entry() else {
                    break;
                };
                if parks(&first.get().op.command) {
                    break;
                }
                let (number, parked) = first.remove_entry();
                self.places.remove(&parked.id);
                self.deadlines.remove(&(parked.until, parked.id));
                self.under_way.insert(parked.id);
                line.woken += 1;
                take(
                    parked,
                    Place {
                        key: key.clone(),
                        number,
                    },
                );
            }
            self.tidy(&key);
        }
    }

    /// A woken operation was applied and found something.
    pub(super) fn found(&mut self, id: RequestId, place: Option<&Place>) {
        self.settle(id);
        let Some(place) = place else { return };
        if let Some(line) = self.lines.get_mut(&place.key) {
            line.woken = line.woken.saturating_sub(1);
            if line.woken == 0 {
                line.burst = (line.burst * 2).min(BURST_MAX);
                self.hot.insert(place.key.clone());
            }
        }
        self.tidy(&place.key);
    }

    /// A woken operation was applied and found nothing; it will be parked again. Its line goes cold
    /// and careful.
    pub(super) fn found_nothing(&mut self, id: RequestId, place: Option<&Place>) -> bool {
        let gone = self.settle(id);
        if let Some(place) = place {
            if let Some(line) = self.lines.get_mut(&place.key) {
                line.woken = line.woken.saturating_sub(1);
                line.burst = 1;
            }
            self.hot.remove(&place.key);
            self.tidy(&place.key);
        }
        !gone
    }

    /// An operation that may be parked later is under way without having been parked.
    pub(super) fn proposed(&mut self, id: RequestId) {
        self.under_way.insert(id);
    }

    fn settle(&mut self, id: RequestId) -> bool {
        self.under_way.remove(&id);
        self.gone.remove(&id)
    }

    /// The caller is gone.
    pub(super) fn forget(&mut self, id: RequestId) {
        if self.under_way.contains(&id) {
            self.gone.insert(id);
        }
        drop(self.take(id));
    }

    fn take(&mut self, id: RequestId) -> Option<Parked<C>> {
        let place = self.places.remove(&id)?;
        let parked = self
            .lines
            .get_mut(&place.key)?
            .waiting
            .remove(&place.number)?;
        self.deadlines.remove(&(parked.until, id));
        self.tidy(&place.key);
        Some(parked)
    }

    /// Those whose time is up.
    pub(super) fn take_expired(&mut self, now: Mono) -> Vec<Parked<C>> {
        let mut expired = Vec::new();
        while let Some((_, id)) = self
            .deadlines
            .first()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            expired.extend(self.take(id));
        }
        expired
    }

    /// When the next one's time is up.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// Everyone, in the order of their requests: the office is over.
    pub(super) fn take_all(&mut self) -> Vec<RequestId> {
        let ids = self.places.keys().copied().collect();
        *self = Self {
            last_number: self.last_number,
            ..Self::default()
        };
        ids
    }

    fn tidy(&mut self, key: &WaitKey) {
        if self
            .lines
            .get(key)
            .is_some_and(|line| line.waiting.is_empty() && line.woken == 0)
        {
            self.lines.remove(key);
            self.hot.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Origin;
    use crate::types::{Name, Principal};

    fn parked(id: u64, until: u64) -> Parked<u64> {
        let origin = Origin::Client {
            principal: Principal::anonymous(),
            key: None,
        };
        Parked {
            id: RequestId(id),
            op: Op {
                origin,
                command: id,
            },
            until: Mono(until),
        }
    }

    fn woken(lines: &mut Lines<u64>) -> Vec<(RequestId, Place)> {
        let mut out = Vec::new();
        lines.take_woken(|_| false, |parked, place| out.push((parked.id, place)));
        out
    }

    fn ids(woken: &[(RequestId, Place)]) -> Vec<u64> {
        woken.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn a_line_is_served_in_order_in_growing_bursts_while_all_find_something() {
        let key = Name::new("q").unwrap();
        let mut lines = Lines::default();
        (1..=9).for_each(|id| lines.park(key.clone(), parked(id, 100), None));
        assert!(woken(&mut lines).is_empty(), "nothing happened yet");
        lines.wake(key.clone());
        let mut seen = Vec::new();
        for expected in [1, 2, 4, 2] {
            let round = woken(&mut lines);
            assert_eq!(round.len(), expected);
            assert!(woken(&mut lines).is_empty(), "the outcome is awaited");
            seen.extend(ids(&round));
            round
                .iter()
                .for_each(|(id, place)| lines.found(*id, Some(place)));
        }
        assert_eq!(seen, (1..=9).collect::<Vec<_>>());
        assert_eq!((lines.len(), lines.next_deadline()), (0, None));
    }

    #[test]
    fn one_that_found_nothing_goes_back_to_its_place_and_its_line_goes_cold() {
        let key = Name::new("q").unwrap();
        let mut lines = Lines::default();
        (1..=3).for_each(|id| lines.park(key.clone(), parked(id, 100), None));
        lines.wake(key.clone());
        let (id, place) = woken(&mut lines).remove(0);
        assert!(lines.found_nothing(id, Some(&place)));
        lines.park(key.clone(), parked(id.0, 100), Some(place));
        assert!(woken(&mut lines).is_empty());
        lines.wake(key);
        assert_eq!(ids(&woken(&mut lines)), vec![1], "still the first");
    }

    #[test]
    fn forgotten_and_expired_ones_leave_no_trace() {
        let key = Name::new("q").unwrap();
        let mut lines = Lines::default();
        (1..=4).for_each(|id| lines.park(key.clone(), parked(id, 100 + id), None));
        lines.wake(key.clone());
        let (id, place) = woken(&mut lines).remove(0);
        lines.forget(id);
        assert!(
            !lines.found_nothing(id, Some(&place)),
            "its caller went away meanwhile"
        );
        lines.forget(RequestId(2));
        assert_eq!(lines.next_deadline(), Some(Mono(103)));
        assert_eq!(lines.take_expired(Mono(103)).len(), 1);
        assert_eq!(lines.take_all(), vec![RequestId(4)]);
        assert!(lines.lines.is_empty() && lines.deadlines.is_empty() && lines.gone.is_empty());
    }
}
