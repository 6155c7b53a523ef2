//! TLS to servers, for sidecars, workers and commands: a connector for tonic's channels.

use super::reload::Reloaded;
use super::{TlsError, cause, files, provider};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// From the first packet to the end of the handshake.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Files for connections to servers, as the settings `servers_ca`, `servers_cert` and `servers_key` name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The authorities that servers must be signed by, as PEM.
    pub ca: PathBuf,
    /// Certificate and key to present, for servers that ask for one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// Makes secured connections; the host of the address must be among the names of the server's certificate.
#[derive(Clone, Debug)]
pub struct Connector {
    loaded: Arc<Reloaded<Arc<ClientConfig>>>,
}

/// A secured connection.
pub type Secured = TokioIo<TlsStream<TcpStream>>;

impl Upstream {
    /// Reads the files. Later changes of them take effect with the next connection.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn connector(&self) -> Result<Connector, TlsError> {
        let mut paths = vec![self.ca.clone()];
        if let Some((cert, key)) = &self.own {
            paths.extend([cert.clone(), key.clone()]);
        }
        let upstream = self.clone();
        let loaded = Reloaded::open(paths, move || load(&upstream).map(Arc::new))?;
        Ok(Connector {
            loaded: Arc::new(loaded),
        })
    }
}

fn load(upstream: &Upstream) -> Result<ClientConfig, TlsError> {
    let bad = |error: &dyn std::fmt::Display| {
        TlsError::new(format!(
            "the certificates for servers cannot be used: {error}"
        ))
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad(&error))?
        .with_root_certificates(files::roots(&upstream.ca)?);
    let mut config = match &upstream.own {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let own = files::own(cert, key)?;
            builder
                .with_client_auth_cert(own.chain, own.key)
                .map_err(|error| bad(&error))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

impl Connector {
    /// Connects to `host:port` of an address and secures the connection.
    ///
    /// # Errors
    /// No connection, or a server that cannot prove to be the one named, within five seconds.
    pub async fn connect(&self, uri: Uri) -> Result<TlsStream<TcpStream>, TlsError> {
        let host = uri
            .host()
            .map(|host| {
                host.trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_owned()
            })
            .ok_or_else(|| TlsError::new("the address has no host"))?;
        let port = uri
            .port_u16()
            .ok_or_else(|| TlsError::new("the address has no port"))?;
        let config = Arc::clone(&*self.loaded.get());
        let name = ServerName::try_from(host.clone()).map_err(|_| {
            TlsError::new(format!("{host:?} is neither a host name nor an address"))
        })?;
        let work = async move {
            let stream = TcpStream::connect((host.as_str(), port))
                .await
                .map_err(|error| TlsError::new(error.to_string()))?;
            // Requests are small and waited for.
            let _ = stream.set_nodelay(true);
            TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|error| {
                    TlsError::new(format!("no TLS with {host}:{port}: {}", cause(&error)))
                })
        };
        tokio::time::timeout(CONNECT_MAX, work)
            .await
            .unwrap_or_else(|_| {
                Err(TlsError::new(format!(
                    "no connection within {CONNECT_MAX:?}"
                )))
            })
    }
}

impl Connector {
    /// Secures a connection to `host` (a name or an address), which must be among the names of the server's
    /// certificate. `protocols` are offered in this order (ALPN).
    ///
    /// # Errors
    /// A server that cannot prove to be the one named.
    pub async fn secure(
        &self,
        host: &str,
        stream: TcpStream,
        protocols: &[&[u8]],
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            TlsError::new(format!("{host:?} is neither a host name nor an address"))
        })?;
        let mut config = ClientConfig::clone(&self.loaded.get());
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .map_err(|error| TlsError::new(format!("no TLS with {host}: {}", cause(&error))))
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Secured;
    type Error = TlsError;
    type Future = Pin<Box<dyn Future<Output = Result<Secured, TlsError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TlsError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await.map(TokioIo::new) })
    }
}
