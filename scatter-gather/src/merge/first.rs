//! `first`: one answer as it is. Of several, that of the first shard in the map, so that chance
//! decides nothing; with the policy `{"first":1}` it is the fastest one.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Refusal};

/// The state of `first`.
#[derive(Default)]
pub(super) struct First {
    kept: Option<(u32, Merged)>,
}

impl Fold for First {
    type Staged = Option<(u32, Merged)>;

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let earlier = self
            .kept
            .as_ref()
            .is_none_or(|(index, _)| piece.index < *index);
        if !earlier {
            return Ok((None, self.bytes()));
        }
        let merged = Merged {
            content_type: piece.content_type.clone(),
            body: piece.body.clone(),
        };
        Ok((Some((piece.index, merged)), piece.body.len()))
    }

    fn commit(&mut self, staged: Self::Staged) {
        if staged.is_some() {
            self.kept = staged;
        }
    }

    fn bytes(&self) -> usize {
        self.kept
            .as_ref()
            .map_or(0, |(_, merged)| merged.body.len())
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let kept = self.kept.as_ref().map(|(_, merged)| merged.clone());
        kept.ok_or_else(|| MergeFailure::NoResult("no answer was merged".to_owned()))
    }
}
