//! `count`: how many answers there are, or how many things lie in an array of each.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use std::fmt;

/// The state of `count`.
pub(super) struct Counting {
    pointer: Pointer,
    of: Option<Pointer>,
    count: u64,
}

impl Counting {
    /// Counts the elements of the array at `of`, or answers; the count stands at `pointer`.
    pub(super) fn new(pointer: Pointer, of: Option<Pointer>) -> Self {
        Self {
            pointer,
            of,
            count: 0,
        }
    }
}

impl Fold for Counting {
    type Staged = u64;

    fn stage(&self, piece: &Piece) -> Result<(u64, usize), Refusal> {
        let more = match &self.of {
            _ if piece.nested => {
                let raw = json::need(piece, &self.pointer)?;
                json::read(raw, "a count", &self.pointer)?
            }
            None => 1,
            Some(of) => json::read::<Length>(json::need(piece, of)?, "an array", of)?.0,
        };
        Ok((self.count.saturating_add(more), size_of::<Self>()))
    }

    fn commit(&mut self, count: u64) {
        self.count = count;
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        Ok(Merged::json(self.pointer.wrap(&self.count.to_string())))
    }
}

/// The length of an array, without what is in it.
struct Length(u64);

impl<'de> serde::Deserialize<'de> for Length {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = u64;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(count)
            }
        }
        reader.deserialize_seq(Count).map(Self)
    }
}
