//! `json`: documents put together member by member.
//!
//! Objects are united, equal values stay, arrays and different values are a conflict unless the
//! definition says what to do. Bodies are kept as they came and united in the shards' order at the end,
//! so that `first` and `last` mean shards and not chance.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Refusal, json};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What stands where two documents differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Conflict {
    /// Nothing: there is no result.
    #[default]
    Error,
    /// The value of the first shard in the map.
    First,
    /// The value of the last one.
    Last,
}

/// What becomes of two arrays at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Arrays {
    /// They are values like others: equal or in conflict.
    #[default]
    Values,
    /// One after the other, in the shards' order.
    Concat,
}

/// The state of `json`.
#[derive(Default)]
pub(super) struct Deep {
    conflict: Conflict,
    arrays: Arrays,
    bodies: BTreeMap<u32, Bytes>,
    bytes: usize,
}

impl Deep {
    pub(super) fn new(conflict: Conflict, arrays: Arrays) -> Self {
        Self {
            conflict,
            arrays,
            ..Self::default()
        }
    }
}

impl Fold for Deep {
    type Staged = (u32, Bytes, usize);

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        json::check_type(piece)?;
        // Weighed as it will be in memory when it is united, which may be many times its text.
        let weight: Weight = serde_json::from_slice(&piece.body).map_err(|error| {
            Refusal::nonsense(format!(
                "the answer is not JSON, or nested too deep (line {}, column {})",
                error.line(),
                error.column()
            ))
        })?;
        let weight = weight.0 + piece.body.len();
        let staged = (piece.index, piece.body.clone(), weight);
        Ok((staged, self.bytes + weight))
    }

    fn commit(&mut self, (index, body, weight): Self::Staged) {
        self.bytes += weight;
        self.bodies.insert(index, body);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let mut whole: Option<Value> = None;
        for body in self.bodies.values() {
            let next: Value = serde_json::from_slice(body)
                .map_err(|error| MergeFailure::NoResult(error.to_string()))?;
            match &mut whole {
                None => whole = Some(next),
                Some(whole) => {
                    unite(whole, next, self.conflict, self.arrays, &mut String::new()).map_err(
                        |at| {
                            MergeFailure::NoResult(format!(
                                "the shards' documents differ at {at:?}: set conflict to first or \
                                 last, or let each shard answer members of its own"
                            ))
                        },
                    )?;
                }
            }
        }
        let whole =
            whole.ok_or_else(|| MergeFailure::NoResult("no document was merged".to_owned()))?;
        Ok(Merged::json(whole.to_string()))
    }
}

/// Adds the members of a document to another one. The error is where both have a value.
pub(super) fn put(whole: &mut Value, more: Value) -> Result<(), String> {
    unite(
        whole,
        more,
        Conflict::Error,
        Arrays::Values,
        &mut String::new(),
    )
}

// As deep as the parser let them be: 128 levels.
fn unite(
    whole: &mut Value,
    more: Value,
    conflict: Conflict,
    arrays: Arrays,
    at: &mut String,
) -> Result<(), String> {
    match (whole, more) {
        (Value::Object(whole), Value::Object(more)) => {
            for (name, value) in more {
                match whole.get_mut(&name) {
                    None => {
                        whole.insert(name, value);
                    }
                    Some(kept) => {
                        let length = at.len();
                        at.push('/');
                        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
                        unite(kept, value, conflict, arrays, at)?;
                        at.truncate(length);
                    }
                }
            }
            Ok(())
        }
        (Value::Array(whole), Value::Array(more)) if arrays == Arrays::Concat => {
            whole.extend(more);
            Ok(())
        }
        (whole, more) if *whole == more => Ok(()),
        (whole, more) => match conflict {
            Conflict::Error => Err(at.clone()),
            Conflict::First => Ok(()),
            Conflict::Last => {
                *whole = more;
                Ok(())
            }
        },
    }
}

/// About the heap bytes of a document once it is a [`Value`].
struct Weight(usize);

/// A node with its share of the allocation of its parent.
const NODE_BYTES: usize = 2 * size_of::<Value>();

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Weigh).map(Self)
    }
}

struct Weigh;

impl<'de> Visitor<'de> for Weigh {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut bytes = NODE_BYTES;
        while let Some((name, value)) = map.next_entry::<Weight, Weight>()? {
            bytes += name.0 + value.0;
        }
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let mut bytes = NODE_BYTES;
        while let Some(value) = seq.next_element::<Weight>()? {
            bytes += value.0;
        }
        Ok(bytes)
    }

    fn visit_str<E>(self, text: &str) -> Result<usize, E> {
        Ok(NODE_BYTES + text.len())
    }
    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(NODE_BYTES)
    }
    fn visit_i64<E>(self, _: i64) -> Result<usize, E> {
        Ok(NODE_BYTES)
    }
    fn visit_u64<E>(self, _: u64) -> Result<usize, E> {
        Ok(NODE_BYTES)
    }
    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(NODE_BYTES)
    }
    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(NODE_BYTES)
    }
}
