//! What makes a retry safe, as it travels: an `Idempotency-Key`, or the number of a request within a
//! client's stream.

use crate::error::Error;
use crate::machine::OpKey;
use crate::types::Principal;
use sha2::{Digest, Sha256};

/// Header and metadata of a caller's own key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Metadata: the client stream, as `OpenStream` answered it.
pub const STREAM_KEY: &str = "quorate-stream";
/// Metadata: the number of this request in the stream, from 1.
pub const SEQ_KEY: &str = "quorate-seq";
/// Metadata: answers below this number are never asked for again.
pub const DONE_BELOW_KEY: &str = "quorate-done-below";

/// Longest `Idempotency-Key`: a few UUIDs.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// The first 128 bits of SHA-256 over the parts, each with its length, so that no two lists of parts
/// run together.
fn digest(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    digest
        .iter()
        .take(16)
        .fold(0, |number, byte| (number << 8) | u128::from(*byte))
}

/// The key of a request under a caller's `Idempotency-Key`. `route` is the method with the path or the
/// gRPC method; `parts` are the request as it came, its query and its body.
///
/// # Errors
/// The key is empty or too long.
pub fn idempotency_key(
    principal: &Principal,
    route: &str,
    key: &str,
    parts: &[&[u8]],
) -> Result<OpKey, Error> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{IDEMPOTENCY_KEY}: {} bytes; use 1 to {IDEMPOTENCY_KEY_BYTES_MAX}, for example a UUID",
            key.len()
        )));
    }
    Ok(OpKey::Idempotency {
        key: digest(&[principal.0.as_bytes(), route.as_bytes(), key.as_bytes()]),
        body: digest(parts),
    })
}

/// The key of a numbered request.
///
/// # Errors
/// A number is 0, or `done_below` is above `seq`.
pub fn stream_key(stream: u64, seq: u64, done_below: u64) -> Result<OpKey, Error> {
    if stream == 0 || seq == 0 {
        return Err(Error::invalid(format!(
            "{STREAM_KEY}, {SEQ_KEY}: both are above 0; open a stream with OpenStream and number its \
             requests from 1"
        )));
    }
    if done_below > seq {
        return Err(Error::invalid(format!(
            "{DONE_BELOW_KEY}: {done_below} is above the request's own number {seq}; pass the lowest \
             number whose answer is still awaited"
        )));
    }
    Ok(OpKey::Stream {
        stream,
        seq,
        done_below,
    })
}

/// The key of a numbered request from its metadata, in decimal.
///
/// # Errors
/// As of [`stream_key`]; a number is missing or is none.
pub fn stream_key_from_text(
    stream: &str,
    seq: Option<&str>,
    done_below: Option<&str>,
) -> Result<OpKey, Error> {
    fn number(field: &str, text: &str) -> Result<u64, Error> {
        text.parse().map_err(|_| {
            Error::invalid(format!(
                "{field}: {:?} is not a decimal number",
                text.chars().take(64).collect::<String>()
            ))
        })
    }
    let seq =
        seq.ok_or_else(|| Error::invalid(format!("{SEQ_KEY}: missing; {STREAM_KEY} needs it")))?;
    stream_key(
        number(STREAM_KEY, stream)?,
        number(SEQ_KEY, seq)?,
        done_below.map_or(Ok(0), |text| number(DONE_BELOW_KEY, text))?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_scoped_by_principal_and_route_and_bound_to_the_body() {
        let key = |who: &str, route: &str, key: &str, body: &[u8]| match idempotency_key(
            &Principal(who.into()),
            route,
            key,
            &[body],
        ) {
            Ok(OpKey::Idempotency { key, body }) => (key, body),
            other => panic!("{other:?}"),
        };
        let base = key("a", "r", "k", b"x");
        assert_eq!(base, key("a", "r", "k", b"x"));
        assert_ne!(base.0, key("b", "r", "k", b"x").0);
        assert_ne!(base.0, key("a", "s", "k", b"x").0);
        assert_ne!(key("a", "rk", "x", b"").0, key("a", "r", "kx", b"").0);
        assert_eq!(base.0, key("a", "r", "k", b"y").0);
        assert_ne!(base.1, key("a", "r", "k", b"y").1);
    }
}
