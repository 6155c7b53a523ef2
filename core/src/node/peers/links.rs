//! How a node reaches another: in the clear, or with both showing their certificates.

use super::WINDOW_BYTES;
use crate::tls::TlsError;
use crate::tls::peer::PeerTls;
use crate::types::NodeId;
use hyper_util::rt::TokioIo;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// What all connections to peers have in common.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Links {
    tls: Option<Arc<PeerTls>>,
}

impl Links {
    pub(in crate::node) fn new(tls: Option<Arc<PeerTls>>) -> Self {
        Self { tls }
    }

    /// A lazily connecting channel to a peer, which notices a dead one within a few seconds.
    pub(in crate::node) fn channel(&self, node: NodeId, address: &str) -> Result<Channel, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| {
            format!("the peer address {address:?} is not usable: {error}; correct QUORATE_PEERS")
        })?;
        let endpoint = endpoint
            .connect_timeout(Duration::from_secs(1))
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(Duration::from_secs(1))
            .keep_alive_timeout(Duration::from_secs(3))
            .keep_alive_while_idle(true);
        let Some(tls) = &self.tls else {
            return Ok(endpoint.connect_lazy());
        };
        let (tls, address) = (Arc::clone(tls), address.to_owned());
        Ok(
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                let (tls, address) = (Arc::clone(&tls), address.clone());
                async move { secure(&tls, node, &address).await.map(TokioIo::new) }
            })),
        )
    }
}

async fn secure(
    tls: &PeerTls,
    node: NodeId,
    address: &str,
) -> Result<tokio_rustls::TlsStream<TcpStream>, TlsError> {
    let failed = |error: std::io::Error| TlsError(error.to_string());
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    tls.connect(stream, node).await
}

/// Why a call failed, for people: the refusal of a certificate stands at the bottom of a chain of causes.
pub(in crate::node) fn why(status: &tonic::Status) -> String {
    let mut source = status.source();
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(cause) if cause != status.message() => format!("{}: {cause}", status.message()),
        _ => status.message().to_owned(),
    }
}
