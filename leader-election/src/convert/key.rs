//! What makes a retry safe, as it travels: an `Idempotency-Key`.

use quorate_core::error::Error;
use quorate_core::machine::OpKey;
use quorate_core::types::Principal;
use sha2::{Digest, Sha256};

/// Header and metadata of a caller's own key.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

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
/// gRPC method; `body` the request as it came.
///
/// # Errors
/// The key is empty or too long.
pub fn idempotency_key(
    principal: &Principal,
    route: &str,
    key: &str,
    body: &[u8],
) -> Result<OpKey, Error> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{IDEMPOTENCY_KEY}: {} bytes; use 1 to {IDEMPOTENCY_KEY_BYTES_MAX}, for example a UUID",
            key.len()
        )));
    }
    Ok(OpKey::Idempotency {
        key: digest(&[principal.0.as_bytes(), route.as_bytes(), key.as_bytes()]),
        body: digest(&[body]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_scoped_by_principal_and_route_and_bound_to_the_body() {
        let key = |who: &str, route: &str, key: &str, body: &[u8]| match idempotency_key(
            &Principal(who.into()),
            route,
            key,
            body,
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
