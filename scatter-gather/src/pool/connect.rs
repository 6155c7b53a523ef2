//! From a URL to a connected socket, and which HTTP is spoken there.

use super::address::{LeafUrl, refused_address};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest time to connect, names included. Shorter than a usual deadline, so that a dead replica
/// leaves time for another one.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that says nothing to the preface of HTTP/2 in this time speaks HTTP/1.1.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The preface of HTTP/2 (RFC 9113, section 3.4) and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The type of a SETTINGS frame, its fourth byte.
const SETTINGS: u8 = 4;

/// Connects. A name is resolved anew each time, and what it resolves to is checked.
pub(super) async fn connect(url: &LeafUrl) -> io::Result<TcpStream> {
    let connecting = async {
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
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
}

/// Whether HTTP/2 without TLS is spoken there. Asks on a connection of its own, so that no call is ever
/// sent in the wrong language.
pub(super) async fn speaks_http2(url: &LeafUrl) -> io::Result<bool> {
    let mut stream = connect(url).await?;
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
