//! The containers over real sockets: roots, trees, gates, and leaves of every kind.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod faults;
mod gate;
mod grpc;
mod keys;
mod malformed;
mod names;
mod pool;
mod scatter;
mod secured;
mod support;
mod trees;
