//! Everything that knows how ffmpeg and ffprobe are called, and nothing that knows of queues.

pub mod probe;
pub mod tether;
pub mod tool;

pub use tool::{Failure, Tools};
