//! Real processes on loopback: a cluster of `quorate serve work-queue`, killed, paused and cut off, and
//! the load that accounts for every acknowledged job.

mod chaos;
mod cluster;
mod link;

pub use chaos::Chaos;
pub use cluster::{Cluster, binary};
