//! `sum`: the number at a pointer, added up.

use super::fold::Fold;
use super::number::{Num, Sum};
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What an inner node sends up: the sum before it is rounded.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exact {
    /// A whole number of up to 128 bits, as text.
    whole: String,
    /// Doubles by their bits, which no reader can round.
    parts: Vec<u64>,
}

/// Parts of an exact sum of doubles: their exponents span 2,100 bits, 53 a part.
const PARTS_MAX: usize = 64;

impl Exact {
    pub(super) fn of(sum: &Sum) -> Self {
        let (whole, parts) = sum.parts();
        Self {
            whole: whole.to_string(),
            parts: parts.iter().map(|part| part.to_bits()).collect(),
        }
    }

    fn read(self) -> Result<Sum, Refusal> {
        let parts: Vec<f64> = self.parts.iter().copied().map(f64::from_bits).collect();
        match self.whole.parse::<i128>() {
            Ok(whole) if parts.len() <= PARTS_MAX => Sum::of(whole, &parts),
            _ => Err(Refusal::nonsense("the inner node's sum is malformed")),
        }
    }
}

/// Reads a leaf's number, or what an inner node sends for it.
pub(super) fn read(raw: &RawValue, nested: bool, pointer: &Pointer) -> Result<Sum, Refusal> {
    if nested && raw.get().starts_with('{') {
        return json::read::<Exact>(raw, "a sum", pointer)?.read();
    }
    let mut sum = Sum::default();
    sum.add(number(raw, pointer)?)?;
    Ok(sum)
}

/// Reads a number.
pub(super) fn number(raw: &RawValue, pointer: &Pointer) -> Result<Num, Refusal> {
    Num::read(raw.get()).ok_or_else(|| {
        Refusal::nonsense(format!(
            "the answer's {pointer} is no number, or out of range"
        ))
    })
}

/// The state of `sum`.
pub(super) struct Adding {
    pointer: Pointer,
    sum: Sum,
}

impl Adding {
    pub(super) fn new(pointer: Pointer) -> Self {
        Self {
            pointer,
            sum: Sum::default(),
        }
    }
}

impl Fold for Adding {
    type Staged = Sum;

    fn stage(&self, piece: &Piece) -> Result<(Sum, usize), Refusal> {
        let raw = json::need(piece, &self.pointer)?;
        let mut sum = self.sum.clone();
        sum.merge(&read(raw, piece.nested, &self.pointer)?)?;
        let bytes = size_of::<Sum>() + sum.bytes();
        Ok((sum, bytes))
    }

    fn commit(&mut self, sum: Sum) {
        self.sum = sum;
    }

    fn bytes(&self) -> usize {
        size_of::<Sum>() + self.sum.bytes()
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        let exact = serde_json::to_string(&Exact::of(&self.sum))
            .map_err(|error| MergeFailure::NoResult(error.to_string()))?;
        Ok(Merged::json(self.pointer.wrap(&exact)))
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let total = self.sum.total().ok_or_else(out_of_range)?;
        Ok(Merged::json(self.pointer.wrap(&total.to_string())))
    }
}

/// A sum that no number can express.
pub(super) fn out_of_range() -> MergeFailure {
    MergeFailure::NoResult("the sum is out of the range of numbers".to_owned())
}
