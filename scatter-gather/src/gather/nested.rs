//! What inner nodes say about the leaves below them.
//!
//! Two inner answers may be added only if they cover different leaves under one version of the map
//! that names them; otherwise something would be counted twice. So every nested answer lists its
//! leaves, and the engine refuses an overlap before the merger sees it.

use super::accounting::Counts;
use super::plan::MapId;
use super::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The leaves of one map that an answer covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The map and its version.
    pub map: MapId,
    /// Shard ids of that map.
    pub shards: Vec<Arc<str>>,
}

/// An inner node's account of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nested {
    /// Leaves below it, by fate.
    pub leaves: Counts,
    /// The merged ones, by their maps.
    pub covered: Vec<Covered>,
    /// It says itself that something is missing.
    pub partial: bool,
}

impl Nested {
    /// Whether something is missing in it, by its own word or by its counts.
    pub fn is_partial(&self) -> bool {
        self.partial || self.leaves.merged != self.leaves.planned
    }

    fn listed(&self) -> usize {
        self.covered
            .iter()
            .map(|covered| covered.shards.len())
            .sum()
    }
}

/// The leaves that are merged so far.
#[derive(Debug, Default)]
pub(super) struct Cover {
    maps: BTreeMap<Arc<str>, (u64, BTreeSet<Arc<str>>)>,
    listed: usize,
}

impl Cover {
    /// Takes an answer's leaves in, or says why it may not be merged and stays as it was.
    ///
    /// `own` is the parent's map: an answer from below that covers it is a tree that contains itself.
    pub(super) fn take(&mut self, nested: &Nested, own: &MapId, max: u32) -> Result<(), Reason> {
        if !nested.leaves.adds_up() {
            return Err(Reason::Nonsense);
        }
        if self.listed + nested.listed() > max as usize {
            return Err(Reason::TooLarge);
        }
        for (i, covered) in nested.covered.iter().enumerate() {
            if covered.map.name == own.name {
                return Err(Reason::Overlap);
            }
            let twice = nested.covered[..i]
                .iter()
                .any(|before| before.map.name == covered.map.name);
            if twice {
                return Err(Reason::Nonsense);
            }
            let distinct: BTreeSet<&Arc<str>> = covered.shards.iter().collect();
            if distinct.len() != covered.shards.len() {
                return Err(Reason::Overlap);
            }
            if let Some((version, shards)) = self.maps.get(&covered.map.name) {
                if *version != covered.map.version {
                    return Err(Reason::MapVersion);
                }
                if covered.shards.iter().any(|shard| shards.contains(shard)) {
                    return Err(Reason::Overlap);
                }
            }
        }
        for covered in &nested.covered {
            let (_, shards) = self
                .maps
                .entry(covered.map.name.clone())
                .or_insert_with(|| (covered.map.version, BTreeSet::new()));
            shards.extend(covered.shards.iter().cloned());
        }
        self.listed += nested.listed();
        Ok(())
    }

    /// Takes an answer's leaves out again: the merger refused it.
    pub(super) fn give_back(&mut self, nested: &Nested) {
        for covered in &nested.covered {
            if let Some((_, shards)) = self.maps.get_mut(&covered.map.name) {
                for shard in &covered.shards {
                    shards.remove(shard);
                }
                if shards.is_empty() {
                    self.maps.remove(&covered.map.name);
                }
            }
        }
        self.listed -= nested.listed();
    }

    /// All of them, in order.
    pub(super) fn into_covered(self) -> Vec<Covered> {
        self.maps
            .into_iter()
            .map(|(name, (version, shards))| Covered {
                map: MapId { name, version },
                shards: shards.into_iter().collect(),
            })
            .collect()
    }
}
