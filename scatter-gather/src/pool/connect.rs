//! From a URL to a connection, and which HTTP is spoken there.

use super::address::{LeafUrl, refused_address};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

#[cfg(feature = "tls")]
pub(crate) use quorate_core::tls::upstream::Connector;

/// Secures nothing: this build has no TLS.
#[cfg(not(feature = "tls"))]
#[derive(Clone, Debug)]
pub(crate) enum Connector {}

/// Longest time to connect, names included. Shorter than a usual deadline, so that a dead replica
/// leaves time for another one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that says nothing to the preface of HTTP/2 in this time speaks HTTP/1.1.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The preface of HTTP/2 (RFC 9113, section 3.4) and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The type of a SETTINGS frame, its fourth byte.
const SETTINGS: u8 = 4;

/// The names of HTTP in the handshake of TLS (ALPN).
const H2: &[u8] = b"h2";
const H1: &[u8] = b"http/1.1";

/// Which HTTP a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speak {
    Http1,
    Http2,
}

/// Where connections lead, and what secures them.
#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) url: LeafUrl,
    #[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "nothing is secured"))]
    pub(super) tls: Option<Connector>,
}

/// A connection.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Secured(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Dial {
    /// Connects. A name is resolved anew each time, and what it resolves to is checked.
    pub(super) async fn connect(&self, speak: Speak) -> io::Result<Stream> {
        let protocol = match speak {
            Speak::Http1 => H1,
            Speak::Http2 => H2,
        };
        let (stream, _) = within(self.open(&[protocol])).await?;
        Ok(stream)
    }

    /// Whether HTTP/2 is spoken there. Asks on a connection of its own, so that no call is ever sent in the
    /// wrong language.
    pub(super) async fn speaks_http2(&self) -> io::Result<bool> {
        let (mut stream, agreed) = within(self.open(&[H2, H1])).await?;
        if let Some(http2) = agreed {
            return Ok(http2);
        }
        let asking = async {
            stream.write_all(HELLO).await?;
            let mut head = [0; 4];
            stream.read_exact(&mut head).await?;
            Ok::<_, io::Error>(head[3] == SETTINGS && &head != b"HTTP")
        };
        // Whatever goes wrong from here on: somebody who does not know the preface.
        Ok(matches!(
            tokio::time::timeout(PROBE_TIMEOUT, asking).await,
            Ok(Ok(true))
        ))
    }

    /// A connection, and whether HTTP/2 was agreed upon in its handshake, if it had one.
    async fn open(&self, protocols: &[&[u8]]) -> io::Result<(Stream, Option<bool>)> {
        let stream = tcp(&self.url).await?;
        if !self.url.is_secure() {
            return Ok((Stream::Plain(stream), None));
        }
        self.secure(stream, protocols).await
    }

    #[cfg(feature = "tls")]
    async fn secure(
        &self,
        stream: TcpStream,
        protocols: &[&[u8]],
    ) -> io::Result<(Stream, Option<bool>)> {
        let Some(connector) = &self.tls else {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "there is no authority to trust for https:// (servers_ca)",
            ));
        };
        let host = self.url.host();
        let secured = connector.secure(host, stream, protocols).await;
        let secured = secured.map_err(io::Error::other)?;
        let http2 = secured.get_ref().1.alpn_protocol() == Some(H2);
        Ok((Stream::Secured(Box::new(secured)), Some(http2)))
    }

    #[cfg(not(feature = "tls"))]
    async fn secure(&self, _: TcpStream, _: &[&[u8]]) -> io::Result<(Stream, Option<bool>)> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this build has no TLS: build it with the feature tls",
        ))
    }
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
}

async fn tcp(url: &LeafUrl) -> io::Result<TcpStream> {
    let mut last = None;
    let found: Vec<SocketAddr> = tokio::net::lookup_host((url.host(), url.port()))
        .await?
        .collect();
    for address in found {
        if let Some(why) = refused_address(address.ip()) {
            last = Some(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} {why}", address.ip()),
            ));
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Calls are small and waited for; a socket that refuses is about to fail anyway.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no address")))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
