//! The command line as a user runs it: the real binary, real servers, real worker processes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bench;
mod canary;
mod chain;
mod commands;
mod election;
mod support;
