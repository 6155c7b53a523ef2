//! The small numbers that name things within one request.

use std::fmt;

/// A shard by its place in [`super::Plan::shards`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u32);

impl ShardIndex {
    /// As an index into a slice.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One call to one replica, numbered from zero within its request and never reused, so that a shell
/// can keep its own rows in a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

impl AttemptId {
    /// As an index into a slice.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A replica by its place in its shard's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica(pub u8);

/// A set of replicas of one shard.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ReplicaSet(u64);

impl ReplicaSet {
    /// Most replicas of a shard: a set is one word.
    pub const REPLICAS_MAX: u8 = 64;
    /// No replica.
    pub const EMPTY: Self = Self(0);

    /// Whether `replica` is in it.
    pub const fn contains(self, replica: Replica) -> bool {
        replica.0 < Self::REPLICAS_MAX && self.0 & (1 << replica.0) != 0
    }

    /// The set with `replica` in it; one past the bound is left out.
    #[must_use]
    pub const fn with(self, replica: Replica) -> Self {
        if replica.0 < Self::REPLICAS_MAX {
            Self(self.0 | (1 << replica.0))
        } else {
            self
        }
    }

    /// How many are in it.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether none is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries((0..Self::REPLICAS_MAX).filter(|&r| self.contains(Replica(r))))
            .finish()
    }
}
