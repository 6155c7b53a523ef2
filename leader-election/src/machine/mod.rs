//! The replicated elections: pure, one command a file.

pub mod types;

pub use types::*;
