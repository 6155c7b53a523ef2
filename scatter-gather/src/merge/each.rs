//! `each`: several mergers look at the same answers, and their results become one document: the best
//! hits by `top_k` and the facets beside them by `group_by`. An answer that one of them refuses is in
//! none of them.

use super::fold::{AnyFold, Fold};
use super::{MergeFailure, Merged, Piece, Refusal, deep};
use serde_json::Value;
use std::any::Any;

/// The state of `each`.
pub(super) struct Each {
    parts: Vec<Box<dyn AnyFold>>,
}

impl Each {
    pub(super) fn new(parts: Vec<Box<dyn AnyFold>>) -> Self {
        Self { parts }
    }

    fn unite(
        &self,
        part: impl Fn(&dyn AnyFold) -> Result<Merged, MergeFailure>,
    ) -> Result<Merged, MergeFailure> {
        let mut whole = Value::Object(serde_json::Map::new());
        for fold in &self.parts {
            let merged = part(fold.as_ref())?;
            let document: Value = serde_json::from_slice(&merged.body)
                .map_err(|_| MergeFailure::NoResult("a part of the result is no JSON".into()))?;
            deep::put(&mut whole, document).map_err(|at| {
                MergeFailure::NoResult(format!("two parts of the result are at {at:?}"))
            })?;
        }
        Ok(Merged::json(whole.to_string()))
    }
}

impl Fold for Each {
    type Staged = Vec<Box<dyn Any + Send>>;

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let mut all = Vec::with_capacity(self.parts.len());
        let mut bytes = 0;
        for part in &self.parts {
            let (staged, part_bytes) = part.stage(piece)?;
            all.push(staged);
            bytes += part_bytes;
        }
        Ok((all, bytes))
    }

    fn commit(&mut self, staged: Self::Staged) {
        for (part, staged) in self.parts.iter_mut().zip(staged) {
            part.commit(staged);
        }
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes()).sum()
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.unite(|part| part.partial())
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        self.unite(|part| part.finish())
    }
}
