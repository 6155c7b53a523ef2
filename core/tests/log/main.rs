//! The log on disk, from outside: formats, recovery from every kind of damage, and random histories
//! with crashes against a naive model.

#![cfg(feature = "replica")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod basics;
mod common;
mod damage;
mod faults;
mod golden;
mod histories;
