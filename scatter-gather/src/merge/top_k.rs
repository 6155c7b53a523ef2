//! `top_k`: the best elements of the arrays of all shards.
//!
//! Only `k + offset` elements are kept, whatever the leaves send. The order is total: score, then key,
//! then shard, then place; so equal scores come out the same way whatever came first. With a key, of
//! elements with the same key the best one counts, once.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// What an entry costs besides its texts.
const ENTRY_BYTES: usize = 96;

/// What to take.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// Where the array is.
    pub(super) pointer: Pointer,
    /// Where an element's score is, a number.
    pub(super) score: Pointer,
    /// Where what it is known by is, if anywhere.
    pub(super) key: Option<Pointer>,
    /// How many.
    pub(super) k: usize,
    /// How many of the best to leave out.
    pub(super) offset: usize,
    /// The smallest score is the best.
    pub(super) ascending: bool,
}

/// The state of `top_k`.
pub(super) struct TopK {
    page: Page,
    /// Best first.
    kept: Vec<Entry>,
    bytes: usize,
}

pub(super) struct Entry {
    rank: Rank,
    element: Box<str>,
}

/// What elements are ordered by.
struct Rank {
    score: f64,
    key: Option<Box<str>>,
    index: u32,
    place: usize,
}

/// One of the page to be: kept already, or of the answer that is looked at.
pub(super) enum Pick {
    Kept(usize),
    New(Entry),
}

impl TopK {
    pub(super) fn new(page: Page) -> Self {
        Self {
            page,
            kept: Vec::new(),
            bytes: 0,
        }
    }

    fn keeps(&self) -> usize {
        self.page.k.saturating_add(self.page.offset)
    }

    fn better(&self, a: &Rank, b: &Rank) -> Ordering {
        let score = a.score.total_cmp(&b.score);
        let score = if self.page.ascending {
            score
        } else {
            score.reverse()
        };
        score
            .then_with(|| a.key.cmp(&b.key))
            .then(a.index.cmp(&b.index))
            .then(a.place.cmp(&b.place))
    }

    /// The elements of an answer that are not worse than the worst kept, where they stand in its text.
    fn read<'p>(&self, piece: &'p Piece) -> Result<Vec<(Rank, &'p str)>, Refusal> {
        let raw = json::need(piece, &self.page.pointer)?;
        let elements: Vec<&RawValue> = json::read(raw, "an array", &self.page.pointer)?;
        let worst = (self.kept.len() == self.keeps())
            .then(|| self.kept.last().map(|entry| entry.rank.score))
            .flatten();
        let mut found = Vec::new();
        for (place, element) in elements.into_iter().enumerate() {
            let score = self.score(element)?;
            let hopeless = worst.is_some_and(|worst| {
                let order = score.total_cmp(&worst);
                order
                    == if self.page.ascending {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
            });
            let key = self.key(element)?;
            if !hopeless {
                let rank = Rank {
                    score,
                    key,
                    index: piece.index,
                    place,
                };
                found.push((rank, element.get()));
            }
        }
        Ok(found)
    }

    fn score(&self, element: &RawValue) -> Result<f64, Refusal> {
        let pointer = &self.page.score;
        let found = json::at(element.get().as_bytes(), pointer)?;
        let found = found.ok_or_else(|| {
            Refusal::nonsense(format!(
                "an element of the answer has no score at {pointer:}"
            ))
        })?;
        // Minus zero is zero, or equal scores would not be equal.
        Ok(super::sum::number(found, pointer)?.real() + 0.0)
    }

    fn key(&self, element: &RawValue) -> Result<Option<Box<str>>, Refusal> {
        let Some(pointer) = &self.page.key else {
            return Ok(None);
        };
        let found = json::at(element.get().as_bytes(), pointer)?.ok_or_else(|| {
            Refusal::nonsense(format!("an element of the answer has no key at {pointer:}"))
        })?;
        // One spelling a key: a text may be escaped in several ways.
        let value: serde_json::Value = json::read(found, "JSON", pointer)?;
        Ok(Some(value.to_string().into()))
    }
}

fn cost(rank: &Rank, element: &str) -> usize {
    ENTRY_BYTES + element.len() + rank.key.as_ref().map_or(0, |key| key.len())
}

impl Fold for TopK {
    type Staged = (Vec<Pick>, usize);

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let new = self.read(piece)?;
        let kept = self.kept.iter().map(|entry| (&entry.rank, &*entry.element));
        let all = kept.chain(new.iter().map(|(rank, element)| (rank, *element)));
        let mut all: Vec<(usize, &Rank, &str)> = all
            .enumerate()
            .map(|(at, (rank, element))| (at, rank, element))
            .collect();
        all.sort_by(|a, b| self.better(a.1, b.1));
        if self.page.key.is_some() {
            let mut seen = BTreeSet::new();
            all.retain(|(_, rank, _)| seen.insert(&rank.key));
        }
        all.truncate(self.keeps());
        let bytes = all
            .iter()
            .map(|(_, rank, element)| cost(rank, element))
            .sum();
        let page: Vec<usize> = all.into_iter().map(|(at, ..)| at).collect();
        // What makes the page is copied, and nothing else.
        let mut new: Vec<_> = new.into_iter().map(Some).collect();
        let picks = page.into_iter().filter_map(|at| {
            let Some(at) = at.checked_sub(self.kept.len()) else {
                return Some(Pick::Kept(at));
            };
            let (rank, element) = new[at].take()?;
            let element = element.into();
            Some(Pick::New(Entry { rank, element }))
        });
        Ok(((picks.collect(), bytes), bytes))
    }

    fn commit(&mut self, (picks, bytes): Self::Staged) {
        let mut before: Vec<_> = self.kept.drain(..).map(Some).collect();
        let page = picks.into_iter().filter_map(|pick| match pick {
            Pick::Kept(at) => before[at].take(),
            Pick::New(entry) => Some(entry),
        });
        self.kept.extend(page);
        self.bytes = bytes;
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        Ok(self.write(&self.kept))
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let from = self.page.offset.min(self.kept.len());
        Ok(self.write(&self.kept[from..]))
    }
}

impl TopK {
    fn write(&self, entries: &[Entry]) -> Merged {
        let elements: Vec<&str> = entries.iter().map(|entry| &*entry.element).collect();
        Merged::json(self.page.pointer.wrap(&format!("[{}]", elements.join(","))))
    }
}
