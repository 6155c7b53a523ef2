//! A film, transcoded in chunks on many workers, through crashes of workers and of queue nodes.
//!
//! The film is cut at key frames ([`film::plan`], [`film::split`]); each chunk is one job of a batch and
//! the sound another; a join job puts the results together ([`film::join`]); then the film is compared
//! with its source ([`film::verify`]). What a worker runs for a job is `transcode item` ([`item`]),
//! which knows only the worker agent's file contract. [`run`] is the whole as a client of a running
//! queue, [`demo`] the whole with its own queue nodes and workers, some of which it kills.

pub mod demo;
pub mod ffmpeg;
pub mod film;
pub mod item;
pub mod job;
pub mod report;
pub mod run;
pub mod say;
