//! The shell around a replica: threads, timers, disk, peers, bootstrap.
