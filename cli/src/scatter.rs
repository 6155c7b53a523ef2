//! From the flags of a client command to a root of scatter/gather.

use crate::errors::{Exit, Failure, Outcome};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method};
use quorate_core::error::{Code, Error};
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::runtime::{Pattern, Settings};
use quorate_core::types::Name;
use quorate_scatter_gather::pool::{Call, Host, LeafUrl, Protocol};
use quorate_scatter_gather::root::ENVELOPE;
use quorate_scatter_gather::server::upstream;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Longest answer that is printed.
const REPLY_BYTES_MAX: u64 = 256 << 20;
/// Longest wait; the fan-out's own timeout comes first.
const WAIT: Duration = Duration::from_secs(3_600);

/// The first root of the settings.
pub(crate) struct Server {
    url: LeafUrl,
    host: Arc<Host>,
    token: Option<HeaderValue>,
}

/// What it answered.
pub(crate) struct Asked {
    /// The body as it came.
    pub(crate) body: bytes::Bytes,
    /// Every shard is in it.
    pub(crate) complete: bool,
    /// How many shards came to what.
    pub(crate) shards: String,
}

impl Server {
    /// As flags, environment and file say. Connects with the first request.
    pub(crate) fn open(flags: &ClientFlags) -> Outcome<Self> {
        let settings = Settings::load(Pattern::ScatterGather, &flags.values)?;
        let server = settings.servers.0.first();
        let server = server.ok_or_else(|| Failure::config("servers names no server"))?;
        let url = LeafUrl::parse(&server.to_string())
            .map_err(|error| Failure::config(format!("servers: {error}")))?;
        let token = upstream::credential(&settings)?;
        let hosts = upstream::hosts(&settings, Some(("servers", &url)))?;
        Ok(Self {
            host: hosts.host(&url, Protocol::Http2),
            url,
            token,
        })
    }

    /// Asks a fan-out.
    pub(crate) async fn ask(
        &self,
        fanout: &Name,
        body: Vec<u8>,
        keys: &[String],
        timeout_ms: Option<u64>,
        explain: bool,
    ) -> Outcome<Asked> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if explain {
            headers.insert(ACCEPT, HeaderValue::from_static(ENVELOPE));
            headers.insert("quorate-explain", HeaderValue::from_static("1"));
        }
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if let Some(ms) = timeout_ms {
            headers.insert("quorate-deadline-ms", HeaderValue::from(ms));
        }
        for key in keys {
            let value = HeaderValue::from_str(&escape(key))
                .map_err(|_| Failure::usage("--key: it cannot be sent"))?;
            headers.append("quorate-key", value);
        }
        let path = format!("{}/v1/fanouts/{fanout}/query", self.url.base());
        let path = path
            .parse()
            .map_err(|error| Failure::config(format!("servers: {error}")))?;
        let call = Call {
            headers: Arc::new(headers),
            body: body.into(),
            ..Call::new(Method::POST, path, REPLY_BYTES_MAX)
        };
        let reply = tokio::time::timeout(WAIT, self.host.call(&call)).await;
        let reply = reply.map_err(|_| Error::new(Code::DeadlineExceeded, "no answer"))?;
        let reply = reply.map_err(|error| {
            let told = format!(
                "{} cannot be asked ({error}): is it running there? --servers or \
                 QUORATE_SERVERS names another",
                self.url
            );
            Failure::new(Exit::Unavailable, told)
        })?;
        let header = |name: &str| {
            let value = reply
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let complete = header("quorate-complete");
        if complete.is_empty() {
            return Err(problem(reply.status.as_u16(), &reply.body).into());
        }
        Ok(Asked {
            complete: complete == "true",
            shards: header("quorate-shards"),
            body: reply.body,
        })
    }
}

fn problem(status: u16, body: &[u8]) -> Error {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = problem["code"].as_str().and_then(Code::parse);
    let detail = problem["detail"].as_str();
    Error::new(
        code.unwrap_or(Code::OutcomeUnknown),
        detail.map_or_else(|| format!("the server answered {status}"), str::to_owned),
    )
}

fn escape(key: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    key.bytes()
        .map(|byte| {
            if safe(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
