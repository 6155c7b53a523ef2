//! One address and its connections.

use super::address::LeafUrl;
use super::admission::Admission;
use super::call::{Call, CallError, Reply};
use super::connect::{Connector, Dial};
use super::grpc;
use super::h1::H1;
use super::h2::H2;
use super::local::{self, Leaf};
use super::names::{Resolve, SystemNames};
use crate::gather::Reason;
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Request, Uri, Version};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Which HTTP a leaf speaks.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Found out at the first call: a connection of its own asks in HTTP/2.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without asking.
    Http2,
}

/// All hosts this process talks to. Connections are shared by everything that goes to one address in
/// one protocol; a host that nothing refers to any more is forgotten with its connections.
pub struct Hosts {
    admission: Arc<Admission>,
    names: Arc<dyn Resolve>,
    tls: Option<Connector>,
    all: Mutex<BTreeMap<(bool, String, Protocol), Weak<Host>>>,
}

impl fmt::Debug for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hosts").finish_non_exhaustive()
    }
}

impl Hosts {
    /// None yet; answers are counted here.
    pub fn new(admission: Arc<Admission>) -> Arc<Self> {
        Self::with(admission, Arc::new(SystemNames::default()), None)
    }

    /// The same with names of one's own, and with what secures connections to `https://`.
    pub(crate) fn with(
        admission: Arc<Admission>,
        names: Arc<dyn Resolve>,
        tls: Option<Connector>,
    ) -> Arc<Self> {
        Arc::new(Self {
            admission,
            names,
            tls,
            all: Mutex::default(),
        })
    }

    /// None yet, with the authorities that servers behind `https://` must be signed by.
    ///
    /// # Errors
    /// A file that cannot be used.
    #[cfg(feature = "tls")]
    pub fn secured(
        admission: Arc<Admission>,
        upstream: &quorate_core::tls::upstream::Upstream,
    ) -> Result<Arc<Self>, quorate_core::tls::TlsError> {
        let names = Arc::new(SystemNames::default());
        Ok(Self::with(admission, names, Some(upstream.connector()?)))
    }

    /// Whether `https://` can be called.
    pub(crate) fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    /// What resolves the names of replicas.
    pub fn names(&self) -> &Arc<dyn Resolve> {
        &self.names
    }

    /// What the answers are counted in.
    pub fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// Makes a leaf of this process the host of a URL, for as long as the host given back lives.
    pub(crate) fn put_local(
        &self,
        url: &LeafUrl,
        protocol: Protocol,
        leaf: Arc<dyn Leaf>,
    ) -> Arc<Host> {
        let mut host = Host::new(url, protocol, self);
        host.local = Some(leaf);
        let host = Arc::new(host);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(
            (url.is_secure(), url.authority(), protocol),
            Arc::downgrade(&host),
        );
        host
    }

    /// The host of a URL.
    pub fn host(&self, url: &LeafUrl, protocol: Protocol) -> Arc<Host> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (url.is_secure(), url.authority(), protocol);
        if let Some(host) = all.get(&key).and_then(Weak::upgrade) {
            return host;
        }
        all.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Host::new(url, protocol, self));
        all.insert(key, Arc::downgrade(&host));
        host
    }
}

/// What is known of the language spoken.
const UNKNOWN: u8 = 0;
const HTTP1: u8 = 1;
const HTTP2: u8 = 2;

/// One address.
pub struct Host {
    local: Option<Arc<dyn Leaf>>,
    dial: Dial,
    /// For requests of HTTP/2. Absent: it was read as one, so that it is one.
    authority: Option<Authority>,
    host_header: HeaderValue,
    auto: bool,
    speaks: Arc<AtomicU8>,
    asking: Single,
    h1: H1,
    h2: H2,
    admission: Arc<Admission>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("url", &self.dial.url.to_string())
            .field("local", &self.local.is_some())
            .finish_non_exhaustive()
    }
}

impl Host {
    fn new(url: &LeafUrl, protocol: Protocol, hosts: &Hosts) -> Self {
        let dial = Dial {
            url: url.clone(),
            tls: hosts.tls.clone(),
        };
        let authority = url.authority();
        let host_header = HeaderValue::from_str(&authority);
        Self {
            local: None,
            // A name that was read as an authority is a header value too.
            host_header: host_header.unwrap_or_else(|_| HeaderValue::from_static("leaf")),
            authority: Authority::try_from(authority).ok(),
            auto: protocol == Protocol::Auto,
            speaks: Arc::new(AtomicU8::new(match protocol {
                Protocol::Auto => UNKNOWN,
                Protocol::Http1 => HTTP1,
                Protocol::Http2 => HTTP2,
            })),
            asking: Single::default(),
            h1: H1::new(dial.clone()),
            h2: H2::new(dial.clone()),
            dial,
            admission: Arc::clone(&hosts.admission),
        }
    }

    /// Whether it is a leaf of this process.
    pub(super) fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.h1.connections() + self.h2.connections()
    }

    /// Connections that were ever opened.
    pub fn connected(&self) -> u64 {
        self.h1.connected() + self.h2.connected()
    }

    /// Of those over HTTP/2, the ones that ended in an error: the peer went away, or sent one away (GOAWAY).
    pub fn lost(&self) -> u64 {
        self.h2.lost()
    }

    /// Makes a call and reads the answer whole. Dropping the future cancels the call.
    pub async fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if let Some(leaf) = &self.local {
            return local::call(&**leaf, call, &self.admission).await;
        }
        match &call.shard {
            Some(shard) if shard.grpc => {
                let reply = self.exchange(&grpc::leaf::call(call, shard)?).await?;
                grpc::leaf::answer(reply, call.reply_bytes)
            }
            _ => self.exchange(call).await,
        }
    }

    /// The same as it is, whatever language the leaf speaks over HTTP.
    pub(super) async fn exchange(&self, call: &Call) -> Result<Reply, CallError> {
        let http2 = self.speaks_http2().await?;
        let request = self.request(call, http2)?;
        if !http2 {
            return self
                .h1
                .call(request, call.reply_bytes, &self.admission)
                .await;
        }
        let outcome = self
            .h2
            .call(request, call.reply_bytes, &self.admission)
            .await;
        if let Err(error) = &outcome
            && self.auto
            && matches!(error.reason, Reason::Reset | Reason::Connect)
            && self.h2.connections() == 0
        {
            // Perhaps somebody else answers there by now.
            self.speaks.store(UNKNOWN, Ordering::Relaxed);
        }
        outcome
    }

    fn request(&self, call: &Call, http2: bool) -> Result<Request<Full<Bytes>>, CallError> {
        let malformed = |error: http::Error| CallError::new(Reason::Connect, error.to_string());
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        if http2 {
            let mut parts = http::uri::Parts::default();
            parts.scheme = Some(if self.dial.url.is_secure() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            });
            parts.authority.clone_from(&self.authority);
            parts.path_and_query = Some(call.path.clone());
            *request.uri_mut() = Uri::from_parts(parts).map_err(|e| malformed(e.into()))?;
            *request.version_mut() = Version::HTTP_2;
            *request.headers_mut() = HeaderMap::clone(&call.headers);
        } else {
            *request.uri_mut() = Uri::from(call.path.clone());
            let mut headers = HeaderMap::with_capacity(call.headers.len() + 1);
            headers.insert(HOST, self.host_header.clone());
            headers.extend(HeaderMap::clone(&call.headers));
            *request.headers_mut() = headers;
        }
        Ok(request)
    }

    async fn speaks_http2(&self) -> Result<bool, CallError> {
        let known = || match self.speaks.load(Ordering::Relaxed) {
            HTTP1 => Some(false),
            HTTP2 => Some(true),
            _ => None,
        };
        if let Some(known) = known() {
            return Ok(known);
        }
        let (dial, speaks) = (self.dial.clone(), Arc::clone(&self.speaks));
        // Once, and large: it must not lie in every call.
        let ask = Box::pin(async move {
            let http2 = dial.speaks_http2().await?;
            speaks.store(if http2 { HTTP2 } else { HTTP1 }, Ordering::Relaxed);
            Ok(http2)
        });
        self.asking.run(known, ask).await
    }
}

/// A thing that many wait for and one does. It goes on when the one that began it is dropped, and its
/// failure is everybody's, so that a dead host costs one timeout and not one for each who waits.
#[derive(Debug, Default)]
pub(super) struct Single {
    turn: Arc<tokio::sync::Mutex<()>>,
    failed: Arc<Failed>,
}

#[derive(Debug, Default)]
struct Failed {
    count: AtomicU64,
    last: Mutex<Option<CallError>>,
}

impl Single {
    /// Gives what `there` finds, or what `make` gives.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        there: impl Fn() -> Option<T>,
        make: impl Future<Output = io::Result<T>> + Send + 'static,
    ) -> Result<T, CallError> {
        let before = self.failed.count.load(Ordering::Acquire);
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if let Some(there) = there() {
            return Ok(there);
        }
        if self.failed.count.load(Ordering::Acquire) != before {
            let last = self
                .failed
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(error) = last.clone() {
                return Err(error);
            }
        }
        let failed = Arc::clone(&self.failed);
        let task = tokio::spawn(async move {
            let made = make.await.map_err(|error| {
                let error = CallError::new(Reason::Connect, error.to_string());
                let mut last = failed.last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(error.clone());
                failed.count.fetch_add(1, Ordering::Release);
                error
            });
            drop(turn);
            made
        });
        task.await
            .map_err(|error| CallError::new(Reason::Connect, error.to_string()))?
    }
}

/// How long a connection without calls is kept.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(15);
