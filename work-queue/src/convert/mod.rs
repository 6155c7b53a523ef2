//! Between the queue's domain types and its protobuf messages, both ways, for the server and for the
//! client alike.
//!
//! From protobuf a value is checked for its shape only: names, ids, enum values, fields that must be
//! there; the error names the field. Bounds are the business of [`crate::check`], which REST shares.
//! Payloads are never copied: they are [`bytes::Bytes`] on both sides. From domain to protobuf and back
//! is the identity, as a property test proves.

#![allow(
    clippy::needless_pass_by_value,
    reason = "every conversion takes what it converts, so that payloads can move in all of them"
)]

pub mod page;
pub mod reply;

mod batch;
mod error;
mod job;
mod lease;
mod queue;
mod request;

pub use batch::{batch_from, batch_into, child_from, child_into};
pub use error::{error_from, error_into};
pub use job::{job_from, job_into, new_job_from, new_job_into};
pub use lease::{
    lease_from, lease_into, lease_request_from, lease_request_into, leased_from, leased_into,
    renewal_from_heartbeat, renewal_from_progress, renewal_into, renewed_from, renewed_into,
    settle_from, settle_into, settled_from, settled_into,
};
pub use queue::{info_from, info_into, queue_from, queue_into};
pub use request::{Call, Waiting};

use quorate_core::error::Error;
use quorate_core::types::Name;
use std::fmt::Display;
use std::sync::Arc;

/// The same error, with the place it was found at in front.
pub(crate) fn within(place: impl Display, error: Error) -> Error {
    Error {
        detail: format!("{place}: {}", error.detail),
        ..error
    }
}

fn name(field: &str, text: &str) -> Result<Name, Error> {
    Name::new(text).map_err(|error| within(field, error.into()))
}

/// An id on the wire; 0 is what an absent field reads as.
fn id(field: &str, number: u64) -> Result<u64, Error> {
    if number == 0 {
        return Err(Error::invalid(format!(
            "{field}: missing; pass the id as it was answered"
        )));
    }
    Ok(number)
}

fn optional_id(field: &str, number: Option<u64>) -> Result<Option<u64>, Error> {
    number.map(|number| id(field, number)).transpose()
}

fn text(value: String) -> Arc<str> {
    Arc::from(value)
}

fn optional_text(value: Option<String>) -> Option<Arc<str>> {
    value.map(Arc::from)
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(format!("{field}: missing; it is required")))
}
