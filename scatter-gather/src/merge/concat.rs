//! `concat`: answers one after the other, in the shards' order.
//!
//! Without a pointer the bodies are put together byte by byte, which suits lines and CSV. With one,
//! the arrays at that place become one array.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use crate::gather::Reason;
use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// What a map entry costs besides its bytes.
const ENTRY_BYTES: usize = 64;

/// The state of `concat`.
pub(super) struct Concat {
    pointer: Option<Pointer>,
    separator: Bytes,
    parts: BTreeMap<u32, Part>,
    bytes: usize,
}

pub(super) struct Part {
    content_type: Option<Box<str>>,
    /// The whole body, or the inside of the array.
    text: Bytes,
}

impl Concat {
    /// Puts whole bodies together, with `separator` between them.
    pub(super) fn bodies(separator: &str) -> Self {
        Self {
            pointer: None,
            separator: Bytes::copy_from_slice(separator.as_bytes()),
            parts: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Joins the arrays at `pointer`.
    pub(super) fn arrays(pointer: Pointer) -> Self {
        Self {
            pointer: Some(pointer),
            ..Self::bodies("")
        }
    }

    fn part(&self, piece: &Piece) -> Result<Part, Refusal> {
        let Some(pointer) = &self.pointer else {
            self.check_same_type(piece)?;
            return Ok(Part {
                content_type: piece.content_type.clone(),
                text: piece.body.clone(),
            });
        };
        let raw = json::need(piece, pointer)?;
        // Read for the check alone: what stands between the brackets is kept as it is.
        json::read::<Vec<&RawValue>>(raw, "an array", pointer)?;
        let text = raw.get().trim();
        let inside = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .unwrap_or_default()
            .trim();
        Ok(Part {
            content_type: None,
            text: Bytes::copy_from_slice(inside.as_bytes()),
        })
    }

    /// Bodies of different types make no body of any type.
    fn check_same_type(&self, piece: &Piece) -> Result<(), Refusal> {
        let essence = |text: Option<&str>| {
            let text = text.unwrap_or_default();
            text.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase()
        };
        let Some(kept) = self.parts.values().next() else {
            return Ok(());
        };
        let (kept, given) = (
            essence(kept.content_type.as_deref()),
            essence(piece.content_type.as_deref()),
        );
        if kept == given {
            return Ok(());
        }
        Err(Refusal {
            reason: Reason::ContentType,
            detail: format!(
                "the answer is {given:?} and another one {kept:?}: concat needs one type"
            ),
        })
    }
}

impl Fold for Concat {
    type Staged = (u32, Part);

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let part = self.part(piece)?;
        let bytes = self.bytes + ENTRY_BYTES + part.text.len();
        Ok(((piece.index, part), bytes))
    }

    fn commit(&mut self, (index, part): Self::Staged) {
        self.bytes += ENTRY_BYTES + part.text.len();
        self.parts.insert(index, part);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        self.finish()
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let array = self.pointer.is_some();
        let between: &[u8] = if array { b"," } else { &self.separator };
        let mut whole = BytesMut::with_capacity(self.bytes);
        // An empty body is a body; an empty array adds nothing, not even a comma.
        let parts = self
            .parts
            .values()
            .filter(|part| !array || !part.text.is_empty());
        for (i, part) in parts.enumerate() {
            if i > 0 {
                whole.extend_from_slice(between);
            }
            whole.extend_from_slice(&part.text);
        }
        let Some(pointer) = &self.pointer else {
            let content_type = self.parts.values().next();
            return Ok(Merged {
                content_type: content_type.and_then(|part| part.content_type.clone()),
                body: whole.freeze(),
            });
        };
        let inside = String::from_utf8(whole.into())
            .map_err(|error| MergeFailure::NoResult(error.to_string()))?;
        Ok(Merged::json(pointer.wrap(&format!("[{inside}]"))))
    }
}
