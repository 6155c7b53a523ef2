//! The log on disk: identity, segments, snapshots of one replica's data directory.
//!
//! [`Log`] is the real thing over a small [`Disk`]; [`RealDisk`] is a directory of the file system and
//! [`SimDisk`] models one that loses, tears, reorders and flips what was not synced, fills up, fails
//! or is slow, so that the simulator runs the same log code that production runs.

mod disk;

pub use disk::{Disk, DiskFile};
