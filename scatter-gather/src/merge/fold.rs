//! The shape of the built-in mergers: look first, take after.
//!
//! [`Fold::stage`] reads an answer and says how many bytes would be kept with it, without changing
//! anything; [`Fold::commit`] cannot fail. That is what makes a refusal harmless, and what lets
//! several mergers look at one answer and take it all together or not at all.

use super::{Bounds, MergeFailure, Merged, Merging, Piece, Refusal};
use futures::future::BoxFuture;
use std::any::Any;
use std::time::Duration;

/// A built-in merger's state.
pub(super) trait Fold: Send + 'static {
    /// What `stage` hands to `commit`.
    type Staged: Send + 'static;

    /// Reads an answer. Gives what `commit` needs and the bytes kept after it.
    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal>;
    /// Takes what was staged on this very state.
    fn commit(&mut self, staged: Self::Staged);
    /// Bytes kept.
    fn bytes(&self) -> usize;
    /// See [`Merging::partial`].
    fn partial(&self) -> Result<Merged, MergeFailure>;
    /// The result.
    fn finish(&self) -> Result<Merged, MergeFailure>;
}

/// The same, whatever the type of what is staged.
pub(super) trait AnyFold: Send {
    fn stage(&self, piece: &Piece) -> Result<(Box<dyn Any + Send>, usize), Refusal>;
    fn commit(&mut self, staged: Box<dyn Any + Send>);
    fn bytes(&self) -> usize;
    fn partial(&self) -> Result<Merged, MergeFailure>;
    fn finish(&self) -> Result<Merged, MergeFailure>;
}

impl<F: Fold> AnyFold for F {
    fn stage(&self, piece: &Piece) -> Result<(Box<dyn Any + Send>, usize), Refusal> {
        let (staged, bytes) = Fold::stage(self, piece)?;
        Ok((Box::new(staged), bytes))
    }

    fn commit(&mut self, staged: Box<dyn Any + Send>) {
        let staged = staged
            .downcast()
            .expect("the box comes from the stage of this same type");
        Fold::commit(self, *staged);
    }

    fn bytes(&self) -> usize {
        Fold::bytes(self)
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        Fold::partial(self)
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        Fold::finish(self)
    }
}

/// A fold with its bound.
pub(super) struct Bounded {
    fold: Box<dyn AnyFold>,
    bounds: Bounds,
}

impl Bounded {
    pub(super) fn new(fold: Box<dyn AnyFold>, bounds: Bounds) -> Self {
        Self { fold, bounds }
    }
}

impl Merging for Bounded {
    fn push(&mut self, piece: Piece) -> Result<(), Refusal> {
        let (staged, bytes) = self.fold.stage(&piece)?;
        if bytes > self.bounds.merge_bytes {
            return Err(Refusal::no_room(self.bounds.merge_bytes));
        }
        self.fold.commit(staged);
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.fold.bytes()
    }

    fn partial(self: Box<Self>) -> Result<Merged, MergeFailure> {
        self.fold.partial()
    }

    fn finish(self: Box<Self>, _: Duration) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        Box::pin(std::future::ready(self.fold.finish()))
    }
}
