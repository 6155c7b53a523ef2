//! An ordered table whose snapshot is taken in bounded slices while it keeps changing
//! (copy-before-write), so that a million rows pause nothing.
//!
//! A snapshot walks the keys in order behind a cursor. Rows behind the cursor are done; before a row
//! ahead of it is changed or removed for the first time, its old value is set aside, and the walk
//! takes it from there. Rows that came after the beginning do not show: those above the last key of
//! the beginning are simply beyond the walk's end, and one in between is set aside as "was not there".
//! What is set aside is bounded by the number of changes during the snapshot, and freed as it is
//! passed.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

/// An ordered map with at most one snapshot in progress.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    rows: BTreeMap<K, V>,
    snapshot: Option<Snapshot<K, V>>,
}

#[derive(Clone, Debug)]
struct Snapshot<K, V> {
    /// Keys up to and including this one are done.
    cursor: Option<K>,
    /// The last key of the beginning.
    last: K,
    /// Values as of the beginning of rows ahead of the cursor that changed since; `None` for a row
    /// that was not there.
    aside: BTreeMap<K, Option<V>>,
}

impl<K: Ord, V> Snapshot<K, V> {
    /// Whether the walk still comes to `key`.
    fn is_ahead(&self, key: &K) -> bool {
        *key <= self.last && self.cursor.as_ref().is_none_or(|cursor| cursor < key)
    }

    /// Whether the value of `key` must be set aside before it changes.
    fn needs(&self, key: &K) -> bool {
        self.is_ahead(key) && !self.aside.contains_key(key)
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            snapshot: None,
        }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row of `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    /// Whether there is a row of `key`.
    pub fn contains_key(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    /// The row of `key`, to be changed. Copies it first when a snapshot still needs it as it is, so
    /// ask with [`Table::get`] when nothing will change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        if let Some(snapshot) = &mut self.snapshot
            && snapshot.needs(key)
        {
            snapshot.aside.insert(key.clone(), Some(row.clone()));
        }
        Some(row)
    }

    /// Puts a row, and gives the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match &mut self.snapshot {
            Some(snapshot) if snapshot.needs(&key) => {
                let old = self.rows.insert(key.clone(), value);
                snapshot.aside.insert(key, old.clone());
                old
            }
            _ => self.rows.insert(key, value),
        }
    }

    /// Removes a row, and gives it.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (key, old) = self.rows.remove_entry(key)?;
        if let Some(snapshot) = &mut self.snapshot
            && snapshot.needs(&key)
        {
            snapshot.aside.insert(key, Some(old.clone()));
        }
        Some(old)
    }

    /// All rows by key.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    /// The rows of these keys, in order.
    pub fn range(&self, keys: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(keys)
    }

    /// Begins a snapshot of the rows as they are now. A snapshot in progress is given up.
    pub fn snapshot_begin(&mut self) {
        self.snapshot = self.rows.last_key_value().map(|(last, _)| Snapshot {
            cursor: None,
            last: last.clone(),
            aside: BTreeMap::new(),
        });
    }

    /// Hands the next rows of the snapshot to `take`, by key, until it answers false (having taken
    /// the row it was handed) or all were taken. True when the snapshot is complete, or none is in
    /// progress.
    pub fn snapshot_rows(&mut self, mut take: impl FnMut(&K, &V) -> bool) -> bool {
        let Some(snapshot) = &mut self.snapshot else {
            return true;
        };
        let from = snapshot
            .cursor
            .clone()
            .map_or(Bound::Unbounded, Bound::Excluded);
        let to = Bound::Included(snapshot.last.clone());
        // Without this check the ranges below would panic on a cursor at the end.
        let mut passed = snapshot.cursor.clone();
        let mut complete = true;
        if passed.as_ref() != Some(&snapshot.last) {
            let mut rows = self.rows.range((from.clone(), to.clone())).peekable();
            let mut aside = snapshot.aside.range((from, to)).peekable();
            loop {
                let (key, value) = match (rows.peek(), aside.peek()) {
                    (None, None) => break,
                    (Some((row, _)), Some((old, _))) if row < old => take_row(&mut rows),
                    (Some(_), None) => take_row(&mut rows),
                    (row, Some((old, _))) => {
                        if row.is_some_and(|(row, _)| row == old) {
                            rows.next();
                        }
                        let (key, value) = aside.next().expect("it was peeked");
                        (key, value.as_ref())
                    }
                };
                passed = Some(key.clone());
                if let Some(value) = value
                    && !take(key, value)
                {
                    complete = false;
                    break;
                }
            }
        }
        if complete {
            self.snapshot = None;
        } else if let Some(passed) = passed {
            while let Some(entry) = snapshot.aside.first_entry()
                && *entry.key() <= passed
            {
                entry.remove();
            }
            snapshot.cursor = Some(passed);
        }
        complete
    }
}

/// The next row of the table itself.
fn take_row<'a, K, V>(rows: &mut impl Iterator<Item = (&'a K, &'a V)>) -> (&'a K, Option<&'a V>) {
    let (key, value) = rows.next().expect("it was peeked");
    (key, Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, u32),
        Change(u8, u32),
        Remove(u8),
        Begin,
        Slice(usize),
    }

    /// The rows as of the beginning, and those taken so far.
    type Walk = (BTreeMap<u8, u32>, Vec<(u8, u32)>);

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (any::<u8>(), any::<u32>()).prop_map(|(k, v)| Step::Insert(k % 32, v)),
            4 => (any::<u8>(), any::<u32>()).prop_map(|(k, v)| Step::Change(k % 32, v)),
            4 => any::<u8>().prop_map(|k| Step::Remove(k % 32)),
            1 => Just(Step::Begin),
            4 => (1..5_usize).prop_map(Step::Slice),
        ]
    }

    fn slice(table: &mut Table<u8, u32>, max: usize, out: &mut Vec<(u8, u32)>) -> bool {
        let mut left = max;
        table.snapshot_rows(|key, value| {
            out.push((*key, *value));
            left -= 1;
            left > 0
        })
    }

    proptest! {
        #[test]
        fn a_snapshot_taken_in_slices_equals_a_clone_at_its_beginning(
            steps in prop::collection::vec(step(), 1..200)
        ) {
            let mut table = Table::new();
            let mut model = BTreeMap::new();
            let mut at_begin: Option<Walk> = None;
            for step in steps {
                match step {
                    Step::Insert(k, v) => {
                        prop_assert_eq!(table.insert(k, v), model.insert(k, v));
                    }
                    Step::Change(k, v) => {
                        if let Some(row) = table.get_mut(&k) { *row = v; }
                        if let Some(row) = model.get_mut(&k) { *row = v; }
                    }
                    Step::Remove(k) => {
                        prop_assert_eq!(table.remove(&k), model.remove(&k));
                    }
                    Step::Begin => {
                        table.snapshot_begin();
                        at_begin = Some((model.clone(), Vec::new()));
                    }
                    Step::Slice(max) => {
                        if let Some((clone, mut taken)) = at_begin.take() {
                            let before = taken.len();
                            let complete = slice(&mut table, max, &mut taken);
                            prop_assert!(taken.len() - before <= max);
                            if complete {
                                prop_assert_eq!(clone.into_iter().collect::<Vec<_>>(), taken);
                            } else {
                                at_begin = Some((clone, taken));
                            }
                        }
                    }
                }
                prop_assert!(table.iter().map(|(k, v)| (*k, *v)).eq(model.iter().map(|(k, v)| (*k, *v))));
                prop_assert_eq!(table.len(), model.len());
            }
            if let Some((clone, mut taken)) = at_begin {
                while !slice(&mut table, 3, &mut taken) {}
                prop_assert_eq!(clone.into_iter().collect::<Vec<_>>(), taken);
            }
        }
    }

    #[test]
    fn what_is_set_aside_is_freed_as_the_walk_passes_it() {
        let mut table: Table<u8, u32> = Table::new();
        for key in 0..10 {
            table.insert(key, 0);
        }
        table.snapshot_begin();
        for key in 0..10 {
            *table.get_mut(&key).unwrap() = 1;
        }
        let mut taken = Vec::new();
        assert!(!slice(&mut table, 4, &mut taken));
        assert_eq!(table.snapshot.as_ref().unwrap().aside.len(), 6);
        assert!(slice(&mut table, 99, &mut taken));
        assert!(table.snapshot.is_none());
        assert!(taken.iter().all(|(_, value)| *value == 0) && taken.len() == 10);
    }

    #[test]
    fn rows_that_come_after_the_beginning_cost_nothing_above_the_last_key() {
        let mut table: Table<u8, u32> = Table::new();
        table.insert(1, 1);
        table.snapshot_begin();
        for key in 2..100 {
            table.insert(key, 9);
        }
        assert!(table.snapshot.as_ref().unwrap().aside.is_empty());
        let mut taken = Vec::new();
        assert!(slice(&mut table, 99, &mut taken));
        assert_eq!(taken, vec![(1, 1)]);
    }
}
