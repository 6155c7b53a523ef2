//! What a gRPC call says about itself in its metadata.

use crate::api::caller;
use crate::service::Caller;
use prost::Message;
use quorate_core::error::Error;
use quorate_core::key::{IDEMPOTENCY_KEY, idempotency_key};
use quorate_core::types::Principal;
use std::time::Duration;
use tonic::Request;
use tonic::metadata::MetadataMap;

/// Who calls and how long they are willing to wait, without a key: for streams and questions.
pub(super) fn identify<T>(request: &Request<T>) -> Result<Caller, Error> {
    let mut caller = caller(request.extensions().get::<Principal>());
    if let Some(timeout) = text(request.metadata(), "grpc-timeout")? {
        let timeout = parse_timeout(timeout).ok_or_else(|| {
            Error::invalid(
                "grpc-timeout: not a timeout; send up to 8 digits and one of H M S m u n",
            )
        })?;
        caller.timeout = caller.timeout.min(timeout);
    }
    Ok(caller)
}

/// The same with the key that makes a retry safe. `method` scopes it.
pub(super) fn identify_operation<T: Message>(
    request: &Request<T>,
    method: &str,
) -> Result<Caller, Error> {
    let mut caller = identify(request)?;
    if let Some(key) = text(request.metadata(), IDEMPOTENCY_KEY)? {
        let body = request.get_ref().encode_to_vec();
        caller.key = Some(idempotency_key(&caller.principal, method, key, &body)?);
    }
    Ok(caller)
}

fn text<'m>(metadata: &'m MetadataMap, name: &str) -> Result<Option<&'m str>, Error> {
    metadata
        .get(name)
        .map(|value| {
            value
                .to_str()
                .map_err(|_| Error::invalid(format!("{name}: send visible ASCII characters only")))
        })
        .transpose()
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol over HTTP/2.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if value.is_empty() || value.len() > 8 || !value.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = value.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        assert_eq!(parse_timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "m", "1", "-1S", "123456789S", "1 S", "1x", "ü"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }
}
