//! Certificates and keys in PEM files.

use super::TlsError;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Longest file in bytes: some hundred certificates.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate with its key, and the authority whose certificates are accepted in return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// The certificate, and the intermediate ones after it, as PEM.
    pub cert: PathBuf,
    /// Its private key as PEM, readable by this process alone.
    pub key: PathBuf,
    /// One or more authorities as PEM; two while an authority is replaced.
    pub ca: PathBuf,
}

/// A certificate with what proves that it is ours.
pub(super) struct Own {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

pub(super) fn own(cert: &Path, key: &Path) -> Result<Own, TlsError> {
    let chain = certificates(cert)?;
    let text = read(key)?;
    // The parser's error never holds a part of the text.
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        TlsError::new(format!(
            "{} holds no private key in PEM form: {error}",
            key.display()
        ))
    })?;
    Ok(Own { chain, key })
}

pub(super) fn roots(ca: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| {
            TlsError::new(format!(
                "{} holds a certificate that cannot be an authority: {error}",
                ca.display()
            ))
        })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(TlsError::new(format!(
            "{} holds no certificate: write it in PEM form, beginning with -----BEGIN CERTIFICATE-----",
            path.display()
        ))),
        Err(error) => Err(TlsError::new(format!(
            "{} is not PEM: {error}",
            path.display()
        ))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut text = Vec::new();
    let size = std::fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text))
        .map_err(|error| TlsError::new(format!("cannot read {}: {error}", path.display())))?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(TlsError::new(format!("{} is over 1 MiB", path.display())));
    }
    Ok(text)
}
