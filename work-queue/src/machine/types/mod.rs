//! The vocabulary of the queue: what is asked, what is answered, what is kept.
//!
//! These types are what the log holds, so they are encoded by `quorate_core::codec` (no untagged,
//! flattened or skipped fields, new variants only at the end) and know nothing of JSON or protobuf.

#![allow(
    missing_docs,
    reason = "fields of enum variants say what they are by name and type; variants and structs are documented"
)]

mod command;
mod event;
mod ids;
mod job;
pub mod limits;
mod query;
mod renewal;
mod reply;
mod view;

pub use command::*;
pub use event::*;
pub use ids::*;
pub use job::*;
pub use query::*;
pub use renewal::*;
pub use reply::*;
pub use view::*;
