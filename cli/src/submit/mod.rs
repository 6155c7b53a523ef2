//! From files, lines and arguments to jobs: what `quorate submit` does before it talks to a server.
//!
//! [`source`] finds the items, [`chunks`] groups them, [`files`] hands their files over, [`template`] makes
//! their payloads and [`jobs`] the rest.

use bytes::Bytes;

pub(crate) mod chunks;
pub(crate) mod files;
mod jobs;
pub(crate) mod source;
pub(crate) mod template;

pub(crate) use jobs::Jobs;
pub(crate) use source::{Item, Source};
pub(crate) use template::Template;

/// A payload given as text: JSON if it is JSON, else the text itself.
pub(crate) fn payload_of(text: &str) -> (Bytes, bool) {
    let json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    (Bytes::copy_from_slice(text.as_bytes()), json)
}
