//! `min` and `max`: the smallest or largest number at a pointer, as its leaf wrote it.

use super::fold::Fold;
use super::number::Num;
use super::sum::number;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use std::cmp::Ordering;

/// The state of `min` and `max`.
pub(super) struct Extreme {
    pointer: Pointer,
    /// What a better number compares as to the one kept.
    better: Ordering,
    kept: Option<Kept>,
}

/// A number, the shard it is from, and how that shard wrote it.
pub(super) struct Kept {
    number: Num,
    index: u32,
    text: Box<str>,
}

/// Longest text of a number that is kept.
const TEXT_MAX: usize = 400;

impl Extreme {
    pub(super) fn min(pointer: Pointer) -> Self {
        Self::new(pointer, Ordering::Less)
    }

    pub(super) fn max(pointer: Pointer) -> Self {
        Self::new(pointer, Ordering::Greater)
    }

    fn new(pointer: Pointer, better: Ordering) -> Self {
        Self {
            pointer,
            better,
            kept: None,
        }
    }
}

impl Fold for Extreme {
    type Staged = Option<Kept>;

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let raw = json::need(piece, &self.pointer)?;
        let number = number(raw, &self.pointer)?;
        if raw.get().len() > TEXT_MAX {
            return Err(Refusal::nonsense(
                "a number of the answer has too many digits",
            ));
        }
        let better = match &self.kept {
            None => true,
            // 1 and 1.0 are equal and written differently: the first shard's stands.
            Some(kept) => match number.compare(kept.number) {
                Ordering::Equal => piece.index < kept.index,
                other => other == self.better,
            },
        };
        let kept = better.then(|| Kept {
            number,
            index: piece.index,
            text: raw.get().into(),
        });
        Ok((kept, size_of::<Self>() + TEXT_MAX))
    }

    fn commit(&mut self, staged: Self::Staged) {
        if staged.is_some() {
            self.kept = staged;
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let kept = self
            .kept
            .as_ref()
            .ok_or_else(|| MergeFailure::NoResult("no number was merged".to_owned()))?;
        Ok(Merged::json(self.pointer.wrap(&kept.text)))
    }
}
