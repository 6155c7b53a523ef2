//! What stands between whoever observes an election and the service that tells of it: an observation that
//! outlives connections and servers (`following`), and one that says so when what it told last may not
//! stand any longer (`doubt`).

mod doubt;
mod following;
#[cfg(test)]
mod tests;

pub(crate) use doubt::{Begun, Contact};
pub(crate) use following::Following;
