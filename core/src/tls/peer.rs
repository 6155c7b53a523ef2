//! Mutual TLS between replicas. Both sides show a certificate of the cluster's own authority with a [`PeerName`], and
//! both check the other's before a byte of the protocol is read.

use super::files::{self, CertFiles};
use super::name::{PeerName, SCHEME};
use super::reload::Reloaded;
use super::{TlsError, cause, provider};
use crate::types::NodeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore,
    ServerConfig, SignatureScheme, version,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// A handshake takes two round trips; one that takes longer is not a replica's.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Nobody looks at the name in the handshake; the certificate's own is checked after it.
const SERVER_NAME: &str = "peer.quorate.invalid";

/// The certificates of a replica, as its files have them.
#[derive(Debug)]
pub(crate) struct PeerTls {
    loaded: Reloaded<Loaded>,
}

struct Loaded {
    name: PeerName,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerTls {
    /// Reads the files, whose certificate must be this node's.
    pub(crate) fn open(files: &CertFiles, node: NodeId) -> Result<Self, TlsError> {
        let paths = vec![files.cert.clone(), files.key.clone(), files.ca.clone()];
        let files = files.clone();
        let loaded = Reloaded::open(paths, move || load(&files, node))?;
        Ok(Self { loaded })
    }

    /// Greets a stranger: the connection and who it is, once it has proved to be a node of this cluster.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, NodeId), TlsError> {
        let loaded = self.loaded.get();
        let handshake = TlsAcceptor::from(Arc::clone(&loaded.server)).accept(stream);
        let stream = within(handshake).await?;
        let name = presented(stream.get_ref().1.peer_certificates())?;
        if name.cluster != loaded.name.cluster {
            return Err(TlsError::new(format!(
                "its certificate is {name}, this node belongs to the cluster {}",
                loaded.name.cluster
            )));
        }
        Ok((TlsStream::Server(stream), name.node))
    }

    /// Secures a connection to a node, which must prove to be that one.
    pub(crate) async fn connect(
        &self,
        stream: TcpStream,
        node: NodeId,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let loaded = self.loaded.get();
        let server_name =
            ServerName::try_from(SERVER_NAME).map_err(|error| TlsError::new(error.to_string()))?;
        let handshake = TlsConnector::from(Arc::clone(&loaded.client)).connect(server_name, stream);
        let stream = within(handshake).await?;
        let name = presented(stream.get_ref().1.peer_certificates())?;
        let expected = PeerName {
            cluster: loaded.name.cluster.clone(),
            node,
        };
        if name != expected {
            return Err(TlsError::new(format!(
                "the certificate there is {name}, expected {expected}; correct QUORATE_PEERS or that node's certificate"
            )));
        }
        Ok(TlsStream::Client(stream))
    }
}

async fn within<T>(handshake: impl Future<Output = std::io::Result<T>>) -> Result<T, TlsError> {
    match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(TlsError::new(format!("no TLS: {}", cause(&error)))),
        Err(_) => Err(TlsError::new(format!(
            "no TLS handshake within {HANDSHAKE_MAX:?}"
        ))),
    }
}

fn presented(chain: Option<&[CertificateDer<'_>]>) -> Result<PeerName, TlsError> {
    let certificate = chain
        .and_then(<[_]>::first)
        .ok_or_else(|| TlsError::new("it presented no certificate"))?;
    name_in(certificate)
}

/// The name in a certificate.
fn name_in(certificate: &CertificateDer<'_>) -> Result<PeerName, TlsError> {
    let parsed = webpki::EndEntityCert::try_from(certificate)
        .map_err(|error| TlsError::new(format!("the certificate cannot be read: {error}")))?;
    let mut ours = parsed
        .valid_uri_names()
        .filter(|uri| uri.starts_with(SCHEME));
    let (Some(uri), None) = (ours.next(), ours.next()) else {
        return Err(TlsError::new(
            "the certificate does not name one node: its alternative names need exactly one URI \
             quorate://CLUSTER/node/N (`quorate cluster certs` makes such ones)",
        ));
    };
    PeerName::parse(uri).ok_or_else(|| {
        let shown: String = uri.chars().take(200).collect();
        TlsError::new(format!(
            "the certificate's name {shown:?} is not of the form quorate://CLUSTER/node/N"
        ))
    })
}

fn load(files: &CertFiles, node: NodeId) -> Result<Loaded, TlsError> {
    let bad = |error: &dyn std::fmt::Display| {
        TlsError::new(format!(
            "the peer certificate {} cannot be used: {error}",
            files.cert.display()
        ))
    };
    let own = files::own(&files.cert, &files.key)?;
    let name = presented(Some(&own.chain)).map_err(|error| bad(&error))?;
    if name.node != node {
        return Err(bad(&format!(
            "it is {name}, but this is node {node}: give each node its own (QUORATE_PEER_TLS_CERT)"
        )));
    }
    let roots = Arc::new(files::roots(&files.ca)?);
    let provider = provider();
    let accepted =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| bad(&error))?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| bad(&error))?
        .with_client_cert_verifier(accepted)
        .with_single_cert(own.chain.clone(), own.key.clone_key())
        .map_err(|error| bad(&error))?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| bad(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(OfThisAuthority {
            roots: Arc::clone(&roots),
            provider,
        }))
        .with_client_auth_cert(own.chain, own.key)
        .map_err(|error| bad(&error))?;
    let mut server = server;
    let mut client = client;
    server.alpn_protocols = vec![b"h2".to_vec()];
    client.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session skips the certificates, and with them a rotation.
    client.resumption = rustls::client::Resumption::disabled();
    server.send_tls13_tickets = 0;
    Ok(Loaded {
        name,
        server: Arc::new(server),
        client: Arc::new(client),
    })
}

/// Verifies everything of a certificate but its host name: chain, dates, use. The name of a replica is not that of a
/// host, and [`PeerTls::connect`] compares it.
#[derive(Debug)]
struct OfThisAuthority {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OfThisAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        // Only TLS 1.3 is spoken.
        Err(RustlsError::InvalidCertificate(
            CertificateError::BadEncoding,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
