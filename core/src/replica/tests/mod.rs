//! Replicas of a tiny machine on a simulated bus.

mod basics;
mod chaos;
mod cluster;
mod counter;
mod doubt;
mod faults;
mod leases;
mod linearizable;
mod nonsense;
mod retries;
mod rounds;
mod snapshots;
mod time;
mod waits;

pub(super) use counter::{Command, Counter, Reply};
