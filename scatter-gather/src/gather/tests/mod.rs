//! The engine under every order of events that chance finds, and by example.

#[cfg(feature = "planted-bugs")]
mod bugs;
mod cases;
mod random;
pub(crate) mod scenario;
mod tree;
mod world;
