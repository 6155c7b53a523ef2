//! Connections to those asked, and what they are shown: the same settings for a root, a gate and the command
//! line.

use crate::pool::{Admission, AdmissionCaps, Hosts, LeafUrl};
use http::HeaderValue;
use quorate_core::runtime::{Failure, Settings};
use std::sync::Arc;

/// Connections as the settings secure them. `url`, which the setting `field` gave, must be among what they can
/// reach.
///
/// # Errors
/// Files that cannot be used, or `https://` without an authority to trust.
pub fn hosts(settings: &Settings, url: Option<(&str, &LeafUrl)>) -> Result<Arc<Hosts>, Failure> {
    let admission = Admission::new(AdmissionCaps::default());
    match settings.upstream() {
        Some(upstream) => {
            Hosts::secured(admission, &upstream).map_err(|error| Failure::config(error.to_string()))
        }
        None => match url.filter(|(_, url)| url.is_secure()) {
            Some((field, _)) => Err(Failure::config(format!(
                "{field}: https:// needs an authority to trust: set QUORATE_SERVERS_CA (--servers-ca)"
            ))),
            None => Ok(Hosts::new(admission)),
        },
    }
}

/// The token in the first line of `servers_token_file`, as a header has it; nothing if there is no such file.
///
/// # Errors
/// A file that cannot be read, is empty, or has no token.
pub fn credential(settings: &Settings) -> Result<Option<HeaderValue>, Failure> {
    let token = settings.servers_token()?;
    token.map(|token| bearer(&token)).transpose()
}

fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
        Failure::config("servers_token_file: the token has characters that no header has")
    })?;
    value.set_sensitive(true);
    Ok(value)
}
