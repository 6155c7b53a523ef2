//! The log on disk: identity, segments, snapshots of one replica's data directory.
//!
//! [`Log`] is the real thing over a small [`Disk`]; [`RealDisk`] is a directory of the file system and
//! [`SimDisk`] models one that loses, tears, reorders and flips what was not synced, fills up and
//! fails, so that the simulator runs the same log code that production runs.
//!
//! - `disk`, `real`, `sim`: the file system, the real one and the model
//! - `identity`: who a directory is; formatting it
//! - `frame`, `record`, `segment`, `mark`: the formats, byte by byte
//! - `bounds`, `replay`: what a log is, without I/O
//! - `recovery`: opening; what is a torn tail and what is corruption
//! - `writer`: the log itself, writing
//! - `snapshot`: snapshot files

mod bounds;
mod disk;
mod error;
mod files;
mod frame;
mod identity;
mod mark;
mod names;
mod real;
mod record;
mod recovery;
mod replay;
mod segment;
mod sim;
mod snapshot;
mod writer;

pub use disk::{Disk, DiskFile, DiskReader};
pub use error::LogError;
pub use identity::Identity;
pub use real::{RealDisk, RealFile, RealReader};
pub use sim::{Faults, SimDisk, SimFile, SimReader, SimStats};
pub use snapshot::{SLICE_BYTES_MAX, SnapshotReader, SnapshotWriter};
pub use writer::{Log, Options, Recovered, Stats, Tail, WRITE_BYTES_MAX};
