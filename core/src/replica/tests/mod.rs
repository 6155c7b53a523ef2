//! Replicas of a tiny machine on a simulated bus.

mod basics;
mod cluster;
mod counter;
mod faults;
mod leases;
