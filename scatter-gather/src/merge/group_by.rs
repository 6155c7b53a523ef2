//! `group_by`: an object of numbers, added up member by member; facet counts, for example.
//!
//! At most `groups_max` groups are kept. Which ones must not depend on what came first, so they are
//! the first ones by name; what the others add up to is told at `other`. Without `other` an answer that
//! brings one group too many is refused. A group that was once left out never comes back, because the
//! names before it only become more: what is kept is therefore exact.

use super::fold::Fold;
use super::number::{Num, Sum};
use super::sum::{self, Exact, out_of_range};
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use crate::gather::Reason;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;

/// What a group costs besides its name.
const GROUP_BYTES: usize = 96;

/// How to group.
#[derive(Clone, Debug)]
pub(super) struct Grouping {
    /// Where the object is.
    pub(super) pointer: Pointer,
    /// Groups kept at most.
    pub(super) groups_max: usize,
    /// Where the sum of the groups that are not kept stands.
    pub(super) other: Option<Pointer>,
    /// How many of the largest the result has; all if absent.
    pub(super) top: Option<usize>,
}

/// The state of `group_by`.
pub(super) struct GroupBy {
    grouping: Grouping,
    state: State,
}

#[derive(Clone, Default)]
pub(super) struct State {
    groups: BTreeMap<Box<str>, Sum>,
    other: Sum,
    bytes: usize,
}

impl GroupBy {
    pub(super) fn new(grouping: Grouping) -> Self {
        Self {
            grouping,
            state: State::default(),
        }
    }

    fn write(&self, groups: Vec<(&str, Value)>, other: Value) -> Result<Merged, MergeFailure> {
        let object = Map::from_iter(
            groups
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut document = self.grouping.pointer.document(Value::Object(object));
        if let Some(pointer) = &self.grouping.other {
            super::deep::put(&mut document, pointer.document(other))
                .map_err(|at| MergeFailure::NoResult(format!("two results at {at}")))?;
        }
        Ok(Merged::json(document.to_string()))
    }
}

impl State {
    fn add(&mut self, name: Box<str>, number: &Sum, grouping: &Grouping) -> Result<(), Refusal> {
        if let Some(sum) = self.groups.get_mut(&name) {
            return sum.merge(number);
        }
        if self.groups.len() < grouping.groups_max {
            self.bytes += GROUP_BYTES + name.len();
            self.groups.insert(name, number.clone());
            return Ok(());
        }
        if grouping.other.is_none() {
            return Err(Refusal {
                reason: Reason::MergeBytes,
                detail: format!(
                    "with this answer there are more than groups_max ({}) groups: raise it, or \
                     name a place for the rest with other",
                    grouping.groups_max
                ),
            });
        }
        match self.groups.last_entry() {
            Some(last) if *last.key() > name => {
                let (gone, sum) = last.remove_entry();
                self.bytes = self.bytes + name.len() - gone.len();
                self.groups.insert(name, number.clone());
                self.other.merge(&sum)
            }
            _ => self.other.merge(number),
        }
    }
}

impl Fold for GroupBy {
    type Staged = State;

    fn stage(&self, piece: &Piece) -> Result<(State, usize), Refusal> {
        let pointer = &self.grouping.pointer;
        let raw = json::need(piece, pointer)?;
        let given: BTreeMap<Box<str>, &RawValue> =
            json::read(raw, "an object of numbers", pointer)?;
        let mut state = self.state.clone();
        for (name, value) in given {
            let number = sum::read(value, piece.nested, pointer)?;
            state.add(name, &number, &self.grouping)?;
        }
        if let Some(other) = &self.grouping.other
            && let Some(raw) = json::at(&piece.body, other)?
        {
            state.other.merge(&sum::read(raw, piece.nested, other)?)?;
        }
        let bytes = state.bytes;
        Ok((state, bytes))
    }

    fn commit(&mut self, state: State) {
        self.state = state;
    }

    fn bytes(&self) -> usize {
        self.state.bytes
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        let exact = |sum: &Sum| {
            serde_json::to_value(Exact::of(sum))
                .map_err(|error| MergeFailure::NoResult(error.to_string()))
        };
        let groups: Result<Vec<(&str, Value)>, MergeFailure> = self
            .state
            .groups
            .iter()
            .map(|(name, sum)| Ok((&**name, exact(sum)?)))
            .collect();
        self.write(groups?, exact(&self.state.other)?)
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let mut groups = Vec::with_capacity(self.state.groups.len());
        let mut other = self.state.other.clone();
        for (name, sum) in &self.state.groups {
            groups.push((&**name, sum.total().ok_or_else(out_of_range)?, sum));
        }
        if let Some(top) = self.grouping.top.filter(|top| *top < groups.len()) {
            groups.sort_by(|a, b| {
                let as_num = |total: &Number| {
                    Num::read(&total.to_string()).map_or(f64::NEG_INFINITY, Num::real)
                };
                as_num(&b.1).total_cmp(&as_num(&a.1)).then(a.0.cmp(b.0))
            });
            for (_, _, sum) in groups.drain(top..) {
                other.merge(sum).map_err(|_| out_of_range())?;
            }
        }
        let other = other.total().ok_or_else(out_of_range)?;
        let groups = groups
            .into_iter()
            .map(|(name, total, _)| (name, Value::Number(total)));
        self.write(groups.collect(), Value::Number(other))
    }
}
