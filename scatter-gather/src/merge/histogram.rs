//! `histogram`: counts in fixed buckets, added bucket by bucket.
//!
//! With the bounds 1, 5, 10 there are four buckets: up to 1, up to 5, up to 10, and above. A leaf
//! sends counts, or, where the definition names `values`, the numbers themselves.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};

/// The state of `histogram`.
pub(super) struct Histogram {
    pointer: Pointer,
    values: Option<Pointer>,
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

impl Histogram {
    /// Bounds strictly increasing.
    pub(super) fn new(pointer: Pointer, values: Option<Pointer>, bounds: Vec<f64>) -> Self {
        let counts = vec![0; bounds.len() + 1];
        Self {
            pointer,
            values,
            bounds,
            counts,
        }
    }

    fn given(&self, piece: &Piece) -> Result<Vec<u64>, Refusal> {
        if let Some(values) = self.values.as_ref().filter(|_| !piece.nested) {
            let numbers: Vec<f64> =
                json::read(json::need(piece, values)?, "an array of numbers", values)?;
            let mut counts = vec![0; self.counts.len()];
            for number in numbers {
                counts[self.bounds.partition_point(|bound| *bound < number)] += 1;
            }
            return Ok(counts);
        }
        let raw = json::need(piece, &self.pointer)?;
        let counts: Vec<u64> = json::read(raw, "an array of counts", &self.pointer)?;
        if counts.len() != self.counts.len() {
            return Err(Refusal::nonsense(format!(
                "the answer has {} buckets at {}, and the histogram has {}",
                counts.len(),
                self.pointer,
                self.counts.len()
            )));
        }
        Ok(counts)
    }
}

impl Fold for Histogram {
    type Staged = Vec<u64>;

    fn stage(&self, piece: &Piece) -> Result<(Vec<u64>, usize), Refusal> {
        let mut counts = self.given(piece)?;
        for (count, kept) in counts.iter_mut().zip(&self.counts) {
            *count = count
                .checked_add(*kept)
                .ok_or_else(|| Refusal::nonsense("a bucket's count is out of range"))?;
        }
        Ok((counts, self.bytes()))
    }

    fn commit(&mut self, counts: Vec<u64>) {
        self.counts = counts;
    }

    fn bytes(&self) -> usize {
        self.counts.len() * 16
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let counts: Vec<String> = self.counts.iter().map(ToString::to_string).collect();
        Ok(Merged::json(
            self.pointer.wrap(&format!("[{}]", counts.join(","))),
        ))
    }
}
