//! TLS of the API listener: a certificate for the host, and optionally an authority whose certificates clients must show.

use super::reload::Reloaded;
use super::{TlsError, cause, files, provider};
use crate::types::Principal;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longest name of a client that is taken over into the audit trail.
const NAME_CHARS_MAX: usize = 200;

/// The certificates of a listener, as its files have them.
#[derive(Debug)]
pub(crate) struct ListenerTls {
    loaded: Reloaded<Arc<ServerConfig>>,
}

/// A connection after its handshake.
pub(crate) struct Greeted {
    pub(crate) stream: TlsStream<TcpStream>,
    /// What was agreed on.
    pub(crate) http2: bool,
    /// Whom the client's certificate names; `None` where none was asked for.
    pub(crate) principal: Option<Principal>,
}

impl ListenerTls {
    pub(crate) fn open(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<Self, TlsError> {
        let ca = ca.map(Path::to_owned);
        let mut paths: Vec<PathBuf> = vec![cert.to_owned(), key.to_owned()];
        paths.extend(ca.clone());
        let (cert, key) = (cert.to_owned(), key.to_owned());
        let loaded = Reloaded::open(paths, move || {
            load(&cert, &key, ca.as_deref()).map(Arc::new)
        })?;
        Ok(Self { loaded })
    }

    /// The handshake. The caller bounds its time.
    pub(crate) async fn accept(&self, stream: TcpStream) -> Result<Greeted, TlsError> {
        let config = Arc::clone(&*self.loaded.get());
        let stream = TlsAcceptor::from(config)
            .accept(stream)
            .await
            .map_err(|error| TlsError::new(cause(&error)))?;
        let (_, connection) = stream.get_ref();
        let http2 = connection.alpn_protocol() == Some(b"h2".as_slice());
        let principal = connection
            .peer_certificates()
            .and_then(<[_]>::first)
            .map(principal);
        Ok(Greeted {
            stream,
            http2,
            principal,
        })
    }
}

fn load(cert: &Path, key: &Path, ca: Option<&Path>) -> Result<ServerConfig, TlsError> {
    let bad = |error: &dyn std::fmt::Display| {
        TlsError::new(format!(
            "the certificate {} cannot be used: {error}",
            cert.display()
        ))
    };
    let own = files::own(cert, key)?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?;
    let builder = match ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(files::roots(ca)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(|error| bad(&error))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(own.chain, own.key)
        .map_err(|error| bad(&error))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // A resumed session skips the certificates, and with them a rotation.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// Whom a verified certificate names: its first alternative name.
fn principal(certificate: &CertificateDer<'_>) -> Principal {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    let name = parsed.ok().and_then(|parsed| {
        let uri = parsed.valid_uri_names().next().map(str::to_owned);
        uri.or_else(|| parsed.valid_dns_names().next().map(str::to_owned))
    });
    let name: String = match name {
        Some(name) => name.chars().take(NAME_CHARS_MAX).collect(),
        None => "unnamed".to_owned(),
    };
    Principal(format!("cert:{name}").into())
}
