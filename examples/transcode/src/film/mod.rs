//! The film and what is done to it: planned, split, encoded, joined, verified.

pub mod encode;
pub mod join;
pub mod plan;
pub mod ratio;
pub mod settings;
pub mod split;
pub mod sync;
pub mod test_film;
pub mod verify;
