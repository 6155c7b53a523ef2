//! A film as one batch of a queue: prepared, submitted, watched, collected.

pub mod baseline;
pub mod batch;
pub mod history;
pub mod prepared;
pub mod remote;
pub mod watch;
