//! The call to a merge container.

use super::address::LeafUrl;
use super::call::Call;
use super::host::{Host, Hosts, Protocol};
use crate::merge::{MergeCall, MergeFailure, Merged, NDJSON};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method};
use std::sync::Arc;
use std::time::Duration;

/// Calls a merge container over HTTP.
#[derive(Debug)]
pub struct HttpMerge {
    url: LeafUrl,
    host: Arc<Host>,
    reply_bytes: u64,
}

impl HttpMerge {
    /// A container at this URL, whose answers are at most so long.
    pub fn new(hosts: &Hosts, url: LeafUrl, reply_bytes: u64) -> Self {
        let host = hosts.host(&url, Protocol::Auto);
        Self {
            url,
            host,
            reply_bytes,
        }
    }
}

impl MergeCall for HttpMerge {
    fn merge(
        &self,
        lines: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        headers.insert("quorate-deadline-ms", HeaderValue::from(ms));
        let path = if self.url.base().is_empty() {
            PathAndQuery::from_static("/merge")
        } else {
            self.url.path()
        };
        let call = Call {
            headers: Arc::new(headers),
            body: lines,
            ..Call::new(Method::POST, path, self.reply_bytes)
        };
        let (host, url) = (Arc::clone(&self.host), self.url.to_string());
        Box::pin(async move {
            let reply = match tokio::time::timeout(within, host.call(&call)).await {
                Err(_) => return Err(MergeFailure::Timeout(url)),
                Ok(Err(error)) => {
                    let told = format!("the merge container {url} failed: {error}");
                    return Err(MergeFailure::External(told));
                }
                Ok(Ok(reply)) => reply,
            };
            if !reply.status.is_success() {
                let told = format!("the merge container {url} answered {}", reply.status);
                return Err(MergeFailure::External(told));
            }
            let content_type = reply.headers.get(CONTENT_TYPE);
            Ok(Merged {
                content_type: content_type.and_then(|v| v.to_str().ok()).map(Into::into),
                body: reply.body,
            })
        })
    }
}
