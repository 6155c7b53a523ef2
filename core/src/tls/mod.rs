//! TLS for every connection that leaves a host: between replicas (`peer`), of the API (`listener`) and to servers
//! (`upstream`).
//!
//! All of it is rustls with the ring provider, and all of it takes certificates and keys from files alone, so that no
//! secret stands in a command line, a variable or a log. The files are looked at again once a second, when a connection
//! is made: a rotated certificate needs no restart, and a half-written one changes nothing until it is whole.
//!
//! Replicas know each other by a name in their certificate, `quorate://CLUSTER/node/N` ([`PeerName`]), never by a host
//! name: an address may move, an identity may not. What a replica says about itself in a message must be what its
//! certificate says.

#[cfg(feature = "certs")]
pub mod certs;
mod files;
pub(crate) mod listener;
mod name;
#[cfg(feature = "replica")]
pub(crate) mod peer;
mod reload;
pub mod upstream;

pub use files::CertFiles;
pub use name::PeerName;

use std::sync::Arc;

/// Why a certificate, a key or a connection was refused; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(pub(crate) String);

impl TlsError {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The one provider of cryptography. Given explicitly everywhere, because the process-wide default belongs to the
/// program that links us.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How a failed connection reads: the innermost cause, which names the certificate's fault.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
