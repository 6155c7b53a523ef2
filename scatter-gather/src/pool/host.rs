//! One address and its connections.

use super::address::LeafUrl;
use super::admission::Admission;
use super::call::{Call, CallError, Reply};
use super::connect;
use super::h1::H1;
use super::h2::H2;
use super::local::{self, Leaf};
use crate::gather::Reason;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Uri, Version};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Which HTTP a leaf speaks.
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
    /// HTTP/2 without TLS, without asking.
    Http2,
}

/// All hosts this process talks to. Connections are shared by everything that goes to one address in
/// one protocol; a host that nothing refers to any more is forgotten with its connections.
#[derive(Debug)]
pub struct Hosts {
    admission: Arc<Admission>,
    all: Mutex<BTreeMap<(String, Protocol), Weak<Host>>>,
}

impl Hosts {
    /// None yet; answers are counted here.
    pub fn new(admission: Arc<Admission>) -> Arc<Self> {
        Arc::new(Self {
            admission,
            all: Mutex::default(),
        })
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
        let mut host = Host::new(url, protocol, Arc::clone(&self.admission));
        host.local = Some(leaf);
        let host = Arc::new(host);
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((url.authority(), protocol), Arc::downgrade(&host));
        host
    }

    /// The host of a URL.
    pub fn host(&self, url: &LeafUrl, protocol: Protocol) -> Arc<Host> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (url.authority(), protocol);
        if let Some(host) = all.get(&key).and_then(Weak::upgrade) {
            return host;
        }
        all.retain(|_, host| host.strong_count() > 0);
        let host = Arc::new(Host::new(url, protocol, Arc::clone(&self.admission)));
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
    url: LeafUrl,
    authority: String,
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
            .field("authority", &self.authority)
            .field("local", &self.local.is_some())
            .finish_non_exhaustive()
    }
}

impl Host {
    fn new(url: &LeafUrl, protocol: Protocol, admission: Arc<Admission>) -> Self {
        let authority = url.authority();
        let host_header = HeaderValue::from_str(&authority);
        Self {
            local: None,
            // A name that was read as an authority is a header value too.
            host_header: host_header.unwrap_or_else(|_| HeaderValue::from_static("leaf")),
            authority,
            auto: protocol == Protocol::Auto,
            speaks: Arc::new(AtomicU8::new(match protocol {
                Protocol::Auto => UNKNOWN,
                Protocol::Http1 => HTTP1,
                Protocol::Http2 => HTTP2,
            })),
            asking: Single::default(),
            h1: H1::new(url.clone()),
            h2: H2::new(url.clone()),
            url: url.clone(),
            admission,
        }
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.h1.connections() + self.h2.connections()
    }

    /// Connections that were ever opened.
    pub fn connected(&self) -> u64 {
        self.h1.connected() + self.h2.connected()
    }

    /// Makes a call and reads the answer whole. Dropping the future cancels the call.
    pub async fn call(&self, call: &Call) -> Result<Reply, CallError> {
        if let Some(leaf) = &self.local {
            return local::call(&**leaf, call, &self.admission).await;
        }
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
        let malformed =
            |error: &dyn std::fmt::Display| CallError::new(Reason::Connect, error.to_string());
        let uri: Uri = if http2 {
            format!("http://{}{}", self.authority, call.path)
                .parse()
                .map_err(|e| malformed(&e))?
        } else {
            call.path.parse().map_err(|e| malformed(&e))?
        };
        let mut request = Request::new(Full::new(call.body.clone()));
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers.clone();
        if http2 {
            *request.version_mut() = Version::HTTP_2;
        } else {
            request.headers_mut().insert(HOST, self.host_header.clone());
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
        let (url, speaks) = (self.url.clone(), Arc::clone(&self.speaks));
        let ask = async move {
            let http2 = connect::speaks_http2(&url).await?;
            speaks.store(if http2 { HTTP2 } else { HTTP1 }, Ordering::Relaxed);
            Ok(http2)
        };
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
