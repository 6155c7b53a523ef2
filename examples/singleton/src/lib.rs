//! Four copies of an application, one of which writes: see `README.md`.

pub mod app;
pub mod demo;
mod journal;
mod proxy;
