//! The containers over real sockets: roots, trees, gates, and leaves of every kind.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod faults;
mod gate;
mod malformed;
mod scatter;
mod support;
