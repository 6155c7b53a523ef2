//! The words of the domain as types: ids, times and bounds. Nothing here does anything.

mod ids;
mod names;
mod time;

pub use ids::{ClusterId, DiskId, FencingToken, GroupId, LogIndex, NodeId, Principal, Term};
pub use names::{Name, NameError};
pub use time::{LogTime, Mono, Now};
