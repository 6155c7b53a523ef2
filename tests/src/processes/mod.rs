//! Real processes on loopback, killed, paused and cut off: a work queue under a load that accounts for every
//! acknowledged job, and elections whose sidecars are asked who leads.

mod chaos;
mod cluster;
mod election;
mod link;

pub use chaos::Chaos;
pub use cluster::{Cluster, binary};
pub use election::{ElectionChaos, Seen};
