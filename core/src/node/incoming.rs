//! Connections accepted from peers: capped, without delay, each holding its place until it closes.
//!
//! With certificates, a stranger gets a handshake and nothing else: a bounded number at a time, each within a deadline.
//! Where more come, the oldest handshake goes, because a replica's takes milliseconds: whoever holds handshakes open
//! cannot keep the replicas out. A place is taken only by who has proved to be a node of this cluster.

use crate::tls::TlsError;
use crate::tls::peer::PeerTls;
use crate::types::NodeId;
use quorate_proto::peer::Identity;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_rustls::TlsStream;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::transport::server::Connected;

/// Connections from peers at one time: a handful of nodes hold two each, the rest is reconnects.
const CONNECTIONS_MAX: usize = 64;

/// Handshakes at one time; a cluster that starts all at once needs a tenth of it.
const HANDSHAKES_MAX: usize = 64;

/// Out of descriptors, say: breathe, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Refusals are told at most so often; a port scan must not fill the log.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The node that a connection's certificate names; none where replicas talk in the clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Certified(Option<NodeId>);

impl Certified {
    /// Refuses a sender that is not who its certificate says.
    pub(super) fn check(self, from: Option<&Identity>) -> Result<(), Status> {
        match (self.0, from) {
            (None, _) => Ok(()),
            (Some(node), Some(from)) if from.node_id == node.0 => Ok(()),
            (Some(node), Some(from)) => Err(Status::permission_denied(format!(
                "the certificate is node {node}'s, the message says node {}: give each node its own certificate",
                from.node_id
            ))),
            (Some(_), None) => Err(Status::invalid_argument(
                "the sender does not say who it is",
            )),
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    certified: Certified,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// The stream of accepted connections.
pub(super) fn connections(
    listener: TcpListener,
    tls: Option<Arc<PeerTls>>,
    tasks: &TaskTracker,
) -> impl futures::Stream<Item = io::Result<Connection>> + use<> {
    // One waits to be taken; the rest waits for a place.
    let (accepted, connections) = mpsc::channel(1);
    tasks.spawn(accept(listener, tls, accepted));
    tokio_stream::wrappers::ReceiverStream::new(connections)
}

/// Accepts until nobody takes the connections any more.
async fn accept(
    listener: TcpListener,
    tls: Option<Arc<PeerTls>>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut greeting = Greeting::default();
    loop {
        let found = tokio::select! {
            () = accepted.closed() => return,
            done = greeting.tasks.join_next(), if !greeting.tasks.is_empty() => {
                if let Some(Ok(Err((from, error)))) = done {
                    greeting.tell(from, &error);
                }
                continue;
            }
            found = listener.accept() => found,
        };
        let (stream, from) = match found {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a peer");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if stream.set_nodelay(true).is_err() {
            // It is gone already.
            continue;
        }
        match &tls {
            None => {
                // The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let connection = Connection {
                    stream: Stream::Plain(stream),
                    certified: Certified::default(),
                    _place: place,
                };
                if accepted.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
            Some(tls) => {
                let (tls, places) = (Arc::clone(tls), Arc::clone(&places));
                let accepted = accepted.clone();
                greeting.begin(async move {
                    let (stream, node) = tls.accept(stream).await.map_err(|error| (from, error))?;
                    if let Ok(place) = places.acquire_owned().await {
                        let connection = Connection {
                            stream: Stream::Secured(Box::new(stream)),
                            certified: Certified(Some(node)),
                            _place: place,
                        };
                        // Closed: the node stops.
                        let _ = accepted.send(Ok(connection)).await;
                    }
                    Ok(())
                });
            }
        }
    }
}

/// The handshakes under way.
#[derive(Default)]
struct Greeting {
    tasks: JoinSet<Result<(), (SocketAddr, TlsError)>>,
    /// In the order they began.
    handles: VecDeque<AbortHandle>,
    told: Option<Instant>,
}

impl Greeting {
    fn begin(
        &mut self,
        handshake: impl Future<Output = Result<(), (SocketAddr, TlsError)>> + Send + 'static,
    ) {
        self.handles.retain(|handle| !handle.is_finished());
        if self.handles.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.handles.pop_front()
        {
            oldest.abort();
            metrics::counter!("quorate_peer_refused_total").increment(1);
        }
        self.handles.push_back(self.tasks.spawn(handshake));
    }

    fn tell(&mut self, from: SocketAddr, error: &TlsError) {
        metrics::counter!("quorate_peer_refused_total").increment(1);
        let now = Instant::now();
        if self
            .told
            .is_none_or(|told| now.duration_since(told) >= TELL_EVERY)
        {
            self.told = Some(now);
            tracing::warn!(%from, %error, "refused a connection on the peer port");
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Certified;
    fn connect_info(&self) -> Certified {
        self.certified
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Secured(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Secured(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Secured(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Secured(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Secured(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message in another node's name is refused, whatever the certificate allows otherwise.
    #[test]
    fn the_sender_must_be_who_its_certificate_says() {
        let says = |node_id| Identity {
            node_id,
            ..Identity::default()
        };
        let two = Certified(Some(NodeId(2)));
        assert!(two.check(Some(&says(2))).is_ok());
        let refused = two.check(Some(&says(3))).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::PermissionDenied);
        assert!(two.check(None).is_err(), "nameless");
        assert!(
            Certified::default().check(Some(&says(3))).is_ok(),
            "in the clear"
        );
    }
}
