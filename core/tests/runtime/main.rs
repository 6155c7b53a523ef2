//! The container runtime over real sockets: what a caller, a probe and an operator see.
#![allow(clippy::unwrap_used, reason = "a test")]

mod harness;

mod doors;
mod life;
mod malformed;
mod process;
mod reference;
mod settings;
