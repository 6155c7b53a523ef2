//! Newtypes for ids, so that a term is never taken for an index.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// A replica of a cluster: 1, 2, 3, … Zero is no node.
    NodeId(u64)
}
number! {
    /// One replicated group. A node holds one today; every key in the log names it all the same.
    GroupId(u32)
}
number! {
    /// A raft term.
    Term(u64)
}
number! {
    /// A position in the replicated log; the first entry is 1.
    LogIndex(u64)
}
number! {
    /// A fencing token: strictly increasing within a group for ever, below 2^53 so that it survives
    /// JSON. The protected resource refuses a token below the highest it has seen (Kleppmann, "How to
    /// do distributed locking", 2016).
    FencingToken(u64)
}

macro_rules! wide {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

wide! {
    /// Random id of a cluster, drawn once at bootstrap.
    ClusterId
}
wide! {
    /// Random id of a formatted data directory. Votes belong to the disk, not to the node number:
    /// a node that lost its disk is another voter.
    DiskId
}

/// Who asked: recorded with every operation for audit and quotas. `anonymous` on a loopback listener
/// without a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Principal(pub Arc<str>);

impl Principal {
    /// The principal of a caller that presented no credential.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }
}
