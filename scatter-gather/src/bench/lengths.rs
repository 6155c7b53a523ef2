//! A merger that costs next to nothing, so that what is measured is not its work.

use crate::merge::{Bounds, MergeFailure, Merged, Merger, Merging, Piece, Refusal};
use futures::future::BoxFuture;
use std::time::Duration;

/// Adds up lengths.
pub(super) struct Lengths;

struct Sum(usize);

impl Merger for Lengths {
    fn init(&self, _: Bounds) -> Box<dyn Merging> {
        Box::new(Sum(0))
    }
}

impl Merging for Sum {
    fn push(&mut self, piece: Piece) -> Result<(), Refusal> {
        self.0 += piece.body.len();
        Ok(())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn partial(self: Box<Self>) -> Result<Merged, MergeFailure> {
        Ok(Merged::json(self.0.to_string()))
    }

    fn finish(self: Box<Self>, _: Duration) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        Box::pin(async move { self.partial() })
    }
}
