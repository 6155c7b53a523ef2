//! The servers a client knows: one is current, and another takes its place when it fails.

use super::{Api, Config};
use crate::error::{Code, Error, Kind};
use crate::key::{DONE_BELOW_KEY, IDEMPOTENCY_KEY, SEQ_KEY, STREAM_KEY};
use crate::machine::OpKey;
use crate::tls::upstream::Connector;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// A server that does not accept a connection within this time is passed over.
const CONNECT_MAX: Duration = Duration::from_millis(1_000);
/// Pings on a quiet connection, so that a dead one is noticed before it is needed.
const PING_EVERY: Duration = Duration::from_secs(5);
/// Wait for the answer to one.
const PING_ANSWER_MAX: Duration = Duration::from_secs(3);
/// Time for a server to say whether it leads.
const PROBE_MAX: Duration = Duration::from_secs(1);
/// Between a failure and the search for the leader: an election takes about so long.
const SETTLE: Duration = Duration::from_millis(300);
/// Servers in one list.
const SERVERS_MAX: usize = 64;

/// The servers of one cluster, with a connection to each that is made when it is first used.
#[derive(Debug)]
pub struct Servers<A: Api> {
    servers: Vec<(String, A::Stub)>,
    current: AtomicUsize,
    /// A search for the leader is under way.
    searching: AtomicBool,
    token: Option<MetadataValue<Ascii>>,
}

impl<A: Api + 'static> Servers<A> {
    /// Those of `config`.
    ///
    /// # Errors
    /// `invalid_argument`: no servers or too many, one that is no address, certificates that cannot be
    /// read, a token that no header can hold.
    pub fn new(config: &Config) -> Result<Self, Error> {
        if config.servers.is_empty() || config.servers.len() > SERVERS_MAX {
            return Err(Error::invalid(format!(
                "{} servers: give 1 to {SERVERS_MAX} addresses, separated by commas (QUORATE_SERVERS)",
                config.servers.len()
            )));
        }
        let connector = match &config.tls {
            None => None,
            Some(upstream) => Some(
                upstream
                    .connector()
                    .map_err(|error| Error::invalid(error.to_string()))?,
            ),
        };
        let servers = config
            .servers
            .iter()
            .map(|address| Ok((address.clone(), connect::<A>(address, connector.as_ref())?)))
            .collect::<Result<_, Error>>()?;
        let token = config.token.as_deref().map(|token| {
            format!("Bearer {}", token.trim()).parse().map_err(|_| {
                Error::invalid("the token has characters that a header cannot hold; check its file")
            })
        });
        Ok(Self {
            servers,
            current: AtomicUsize::new(0),
            searching: AtomicBool::new(false),
            token: token.transpose()?,
        })
    }

    /// The server to use now, and its number for [`Servers::failed`].
    pub fn current(&self) -> (usize, A::Stub) {
        let index = self.current.load(Ordering::Relaxed) % self.servers.len();
        let (_, grpc) = self
            .servers
            .get(index)
            .or(self.servers.first())
            .expect("there is at least one server, as `new` checks");
        (index, grpc.clone())
    }

    /// Its address, for messages.
    pub fn name(&self, index: usize) -> &str {
        self.servers.get(index).map_or("", |(name, _)| name)
    }

    /// A call to this server failed; another is current from here on, unless one is already or the
    /// failure is no fault of the server.
    pub fn failed(self: &Arc<Self>, index: usize, code: Code) {
        let fault = match code {
            Code::OverQuota | Code::StorageFull => false,
            code => code.kind() != Kind::Rejected,
        };
        if fault && self.servers.len() > 1 {
            let next = (index + 1) % self.servers.len();
            let changed =
                self.current
                    .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
            if changed.is_ok() {
                tracing::debug!(from = self.name(index), to = self.name(next), %code, "changing servers");
                self.search(SETTLE);
            }
        }
    }

    /// Looks for the leader in the background, after a pause, and makes it current: any node serves,
    /// the leader without a hop. One search at a time.
    pub fn search(self: &Arc<Self>, pause: Duration) {
        if self.servers.len() < 2 || self.searching.swap(true, Ordering::AcqRel) {
            return;
        }
        let servers = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(leader) = servers.leader().await {
                servers.current.store(leader, Ordering::Relaxed);
            }
            servers.searching.store(false, Ordering::Release);
        });
    }

    /// The server that says of itself that it leads, in the latest term that is spoken of.
    async fn leader(&self) -> Option<usize> {
        let probes = self.servers.iter().map(|(_, stub)| {
            let mut stub = stub.clone();
            let mut request = Request::new(());
            self.authorize(&mut request);
            async move {
                let term = tokio::time::timeout(PROBE_MAX, A::term_led(&mut stub, request)).await;
                term.ok()?.ok()?
            }
        });
        let terms = futures::future::join_all(probes).await;
        let led = terms.into_iter().enumerate();
        let led = led.filter_map(|(index, term)| Some((term?, index)));
        led.max().map(|(_, index)| index)
    }

    /// A request with everything that goes into its metadata.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn request<T>(
        &self,
        message: T,
        timeout: Duration,
        key: Option<&OpKey>,
    ) -> Result<Request<T>, Error> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        self.authorize(&mut request);
        let metadata = request.metadata_mut();
        match key {
            None => {}
            Some(OpKey::Stream {
                stream,
                seq,
                done_below,
            }) => {
                metadata.insert(STREAM_KEY, (*stream).into());
                metadata.insert(SEQ_KEY, (*seq).into());
                metadata.insert(DONE_BELOW_KEY, (*done_below).into());
            }
            // The caller's own key arrived here as its hash, with the caller in it; the body is
            // hashed again over there.
            Some(OpKey::Idempotency { key, .. }) => {
                let text = format!("{key:032x}").parse();
                let text = text.map_err(|_| Error::new(Code::Internal, "a key is hexadecimal"))?;
                metadata.insert(IDEMPOTENCY_KEY, text);
            }
        }
        Ok(request)
    }

    /// Presents the token.
    pub fn authorize<T>(&self, request: &mut Request<T>) {
        if let Some(token) = &self.token {
            request
                .metadata_mut()
                .insert("authorization", token.clone());
        }
    }
}

fn connect<A: Api>(address: &str, tls: Option<&Connector>) -> Result<A::Stub, Error> {
    let bad = |why: &str| {
        Error::invalid(format!(
            "the server {address:?} {why}; use host:port, http://host:port or https://host:port"
        ))
    };
    let (uri, tls) = match address.split_once("://") {
        None => (format!("http://{address}"), None),
        Some(("http", _)) => (address.to_owned(), None),
        Some(("https", _)) if tls.is_none() => {
            return Err(bad(
                "needs the authority that must have signed its certificate (QUORATE_SERVERS_CA)",
            ));
        }
        // TLS is the connector's business: what travels within it is plain HTTP/2.
        Some(("https", rest)) => (format!("http://{rest}"), tls),
        Some(_) => return Err(bad("has an unknown scheme")),
    };
    let endpoint = Endpoint::from_shared(uri).map_err(|_| bad("is not an address"))?;
    if endpoint.uri().host().is_none_or(str::is_empty) || endpoint.uri().port().is_none() {
        return Err(bad("lacks its host or port"));
    }
    let endpoint = endpoint
        .connect_timeout(CONNECT_MAX)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER_MAX)
        .initial_stream_window_size(A::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(A::CONNECTION_WINDOW_BYTES);
    let channel = match tls {
        None => endpoint.connect_lazy(),
        Some(connector) => endpoint.connect_with_connector_lazy(connector.clone()),
    };
    Ok(A::over(channel))
}

/// What a failed call means. One that never reached a server was certainly not done.
pub fn failure(status: &Status) -> Error {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            let cause = error
                .source()
                .map_or_else(|| error.to_string(), ToString::to_string);
            return Error::new(
                Code::NoQuorum,
                format!(
                    "no connection to the server: {cause}; is it running, and is the address right?"
                ),
            );
        }
        if was_not_taken(error) {
            return Error::new(
                Code::NoQuorum,
                format!("the server closed the connection before it took the request: {error}"),
            );
        }
        source = error.source();
    }
    Error::from_status(status)
}

/// Whether this says that the request was not sent, or that the server did not look at it: it closed the
/// connection in order, naming the last request it took (RFC 9113, section 6.8), or refused the stream
/// (section 8.7).
fn was_not_taken(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        // Given for requests that still wait for the connection when it ends, and for no others.
        return error.is_canceled();
    }
    error.downcast_ref::<h2::Error>().is_some_and(|error| {
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_proto::queue::GetInfoRequest;
    use quorate_proto::queue::queues_client::QueuesClient;
    use tonic::transport::Channel;

    #[derive(Debug)]
    struct Queues;

    impl Api for Queues {
        type Stub = QueuesClient<Channel>;

        fn over(channel: Channel) -> Self::Stub {
            QueuesClient::new(channel)
        }

        async fn term_led(stub: &mut Self::Stub, _: Request<()>) -> Result<Option<u64>, Status> {
            stub.get_info(GetInfoRequest {}).await.map(|_| None)
        }
    }

    fn servers(list: &str) -> Result<Servers<Queues>, Error> {
        Servers::new(&Config::servers(list))
    }

    #[tokio::test]
    async fn addresses_are_checked_before_anything_is_sent() {
        for good in ["a:1", "http://a:1, b:2 ,", "[::1]:7072", "127.0.0.1:7072"] {
            assert!(servers(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            ",",
            "a",
            "http://a",
            "https://a:1",
            "ftp://a:1",
            ":1",
            "a b:1",
        ] {
            assert!(servers(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn another_server_takes_over_after_a_failure_and_only_one_step_for_many_failures() {
        let servers = Arc::new(servers("a:1,b:2,c:3").unwrap());
        servers.failed(0, Code::NotFound);
        assert_eq!(servers.current().0, 0, "the request was at fault");
        servers.failed(0, Code::NoQuorum);
        servers.failed(0, Code::OutcomeUnknown);
        assert_eq!(servers.current().0, 1);
        servers.failed(1, Code::OutcomeUnknown);
        servers.failed(2, Code::OutcomeUnknown);
        assert_eq!(servers.current().0, 0);
    }

    #[tokio::test]
    async fn a_connection_that_cannot_be_made_is_certainly_not_done() {
        // Nobody listens there.
        let servers = servers("127.0.0.1:1").unwrap();
        let (_, mut queues) = servers.current();
        let status = Queues::term_led(&mut queues, Request::new(()))
            .await
            .unwrap_err();
        let error = failure(&status);
        assert_eq!(error.code, Code::NoQuorum, "{error}");
    }

    /// A client's end of an HTTP/2 connection, and the other end.
    async fn connection() -> (
        hyper::client::conn::http2::SendRequest<String>,
        tokio::task::JoinHandle<()>,
        h2::server::Connection<tokio::io::DuplexStream, bytes::Bytes>,
    ) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let handshake = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(ours),
        );
        let (client, server) = tokio::join!(handshake, h2::server::handshake(theirs));
        let (sender, connection) = client.unwrap();
        let running = tokio::spawn(async move {
            let _ = connection.await;
        });
        (sender, running, server.unwrap())
    }

    fn failed<T>(result: Result<T, hyper::Error>) -> Error {
        failure(&Status::from_error(Box::new(result.err().unwrap())))
    }

    #[tokio::test]
    async fn a_request_that_the_server_did_not_take_is_certainly_not_done() {
        let get = || http::Request::new(String::new());
        // The connection ends before it is sent.
        let (mut sender, running, server) = connection().await;
        running.abort();
        let _ = running.await;
        drop(server);
        let error = failed(sender.send_request(get()).await);
        assert_eq!(error.code, Code::NoQuorum, "{error}");

        // The server shuts down without a look at it.
        let (mut sender, _running, mut server) = connection().await;
        let sent = tokio::spawn(sender.send_request(get()));
        server.abrupt_shutdown(h2::Reason::NO_ERROR);
        while server.accept().await.is_some() {}
        let error = failed(sent.await.unwrap());
        assert_eq!(error.code, Code::NoQuorum, "{error}");

        // It took the request, and the connection breaks.
        let (mut sender, _running, mut server) = connection().await;
        let sent = tokio::spawn(sender.send_request(get()));
        let taken = server.accept().await.unwrap().unwrap();
        drop((taken, server));
        let error = failed(sent.await.unwrap());
        assert_eq!(error.code.kind(), Kind::Unknown, "{error}");
    }
}
