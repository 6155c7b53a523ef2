//! Between the domain types and the protobuf messages, both ways, for the server and for the client
//! alike.
//!
//! From protobuf a value is checked for its shape only: names, ids, fields that must be there; the
//! error names the field. Bounds are the business of [`crate::check`], which REST shares. From domain
//! to protobuf and back is the identity, but for the sessions of leaderships and candidates: whoever
//! knows a session can act for its holder, so only those travel that the request named; the others read
//! as [`NO_SESSION`].

#![allow(
    clippy::needless_pass_by_value,
    reason = "every conversion takes what it converts, so that texts can move in all of them"
)]

pub mod reply;

mod change;
mod error;
mod request;
mod session;
mod view;

pub use change::{change_from, change_into, observed_from, observed_into};
pub use error::{error_from, error_into};
#[cfg(feature = "client")]
pub(crate) use request::observe_into;
pub(crate) use request::observed_election;
pub use request::{campaign_into, waiting_campaign};
pub use session::{
    keep_alive_from, keep_alive_into, renewed_from, renewed_into, session_view_from,
    session_view_into, terms_from, terms_into,
};
pub use view::{
    election_from, election_into, info_from, info_into, leadership_from, leadership_into,
    settings_from, settings_into, summary_from, summary_into,
};

use crate::machine::{SessionId, limits};
use quorate_core::error::Error;
use quorate_core::types::{FencingToken, Name};
use std::fmt::Display;
use std::sync::Arc;

/// What stands for the session of somebody else.
pub const NO_SESSION: SessionId = SessionId(0);

/// Items of a page when the request does not say.
const PAGE_DEFAULT: u32 = 100;

/// The number of items to ask for; 0 is the default.
///
/// # Errors
/// More than a page holds.
pub fn page_limit(page_size: u32) -> Result<u32, Error> {
    match page_size {
        0 => Ok(PAGE_DEFAULT),
        size if size <= limits::PAGE_MAX => Ok(size),
        size => Err(Error::invalid(format!(
            "page_size: {size} is too many; ask for 1 to {} and follow next_page_token",
            limits::PAGE_MAX
        ))),
    }
}

/// Reads a page token, which is the last name of the page before; empty is the first page.
///
/// # Errors
/// It is no name.
pub fn page_token(token: &str) -> Result<Option<Name>, Error> {
    if token.is_empty() {
        return Ok(None);
    }
    Name::new(token).map(Some).map_err(|_| {
        Error::invalid(
            "page_token: not one of this list; pass next_page_token of the page before, or leave it \
             out to begin at the first page",
        )
    })
}

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

fn optional_name(field: &str, text: Option<&str>) -> Result<Option<Name>, Error> {
    text.map(|text| name(field, text)).transpose()
}

/// A session on the wire; 0 is what an absent field reads as.
fn session(field: &str, number: u64) -> Result<SessionId, Error> {
    if number == 0 {
        return Err(Error::invalid(format!(
            "{field}: missing; pass the session as it was answered"
        )));
    }
    Ok(SessionId(number))
}

fn token(field: &str, number: u64) -> Result<FencingToken, Error> {
    if number == 0 {
        return Err(Error::invalid(format!(
            "{field}: missing; pass the fencing token as it was answered"
        )));
    }
    Ok(FencingToken(number))
}

fn optional_token(field: &str, number: Option<u64>) -> Result<Option<FencingToken>, Error> {
    number.map(|number| token(field, number)).transpose()
}

fn text(value: String) -> Arc<str> {
    Arc::from(value)
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(format!("{field}: missing; it is required")))
}
