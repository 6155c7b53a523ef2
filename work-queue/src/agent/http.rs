//! The other way to do a job: a POST to an endpoint of the application next to the agent.
//!
//! The body is the payload; headers tell the rest. 2xx completes with the body as the result, 429 and
//! 503 ask for another attempt (after `Retry-After` seconds if given), any other 4xx is a dead letter,
//! everything else is a failed attempt. Only this host: the agent is a sidecar, not a gateway.

use super::StartError;
use crate::machine::{Lease, Settlement, limits};
use crate::worker::{Context, cut};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::sync::Arc;
use std::time::Duration;

/// An endpoint that accepts no connection within this time is down.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// What of an error's body is kept.
const ERROR_BODY_MAX: usize = limits::LOG_TAIL_BYTES_MAX;

/// A checked endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    uri: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Endpoint {
    pub(crate) fn new(url: &str) -> Result<Self, StartError> {
        let bad = |why: &str| StartError::Endpoint {
            url: url.to_owned(),
            why: why.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(bad("its scheme is not http"));
        }
        let host = uri.host().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let local = host == "localhost"
            || address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if !local {
            return Err(bad("it is not on this host"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_MAX));
        connector.set_nodelay(true);
        Ok(Self {
            uri,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Does one job. A job that is told to stop has its request dropped, which closes the connection.
    pub(crate) async fn call(&self, lease: &Lease, context: &Context) -> Settlement {
        tokio::select! {
            settlement = self.exchange(lease) => settlement,
            () = context.cancelled() => Settlement::Release,
        }
    }

    async fn exchange(&self, lease: &Lease) -> Settlement {
        let content_type = if lease.payload_is_json {
            "application/json"
        } else {
            "application/octet-stream"
        };
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, content_type)
            .header("work-job-id", lease.job.to_string())
            .header("work-queue", lease.queue.as_str())
            .header("work-attempt", lease.attempt)
            .header("work-fencing-token", lease.id.token().0);
        if let Some(traceparent) = &lease.traceparent {
            request = request.header("traceparent", traceparent.as_ref());
        }
        let request = match request.body(Full::new(lease.payload.clone())) {
            Ok(request) => request,
            Err(error) => return fail(format!("the request could not be made: {error}"), None),
        };
        let response = match self.client.request(request).await {
            Ok(response) => response,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let text = format!(
                    "{} could not be reached: {}; is the application running?",
                    self.uri,
                    cause.unwrap_or_else(|| error.to_string())
                );
                return fail(text, None);
            }
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limits::RESULT_BYTES_MAX).collect().await;
        match (head.status, body) {
            (status, Ok(body)) if status.is_success() => complete(&head.headers, body.to_bytes()),
            (status, Err(error)) if status.is_success() => {
                let large = error.downcast_ref::<LengthLimitError>().is_some();
                let text = if large {
                    format!(
                        "the answer has more than {} bytes; store it as a blob and answer its address",
                        limits::RESULT_BYTES_MAX
                    )
                } else {
                    format!("the answer broke off: {error}")
                };
                refusal(text, !large, None, "")
            }
            (status, body) => {
                let body = body
                    .map(http_body_util::Collected::to_bytes)
                    .unwrap_or_default();
                refused(status, &head.headers, &body)
            }
        }
    }
}

fn complete(headers: &HeaderMap, body: Bytes) -> Settlement {
    let json = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    Settlement::Complete {
        result_is_json: json && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(),
        result: body,
        outputs: Vec::new(),
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Settlement {
    let again = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let delay_ms = headers
        .get(RETRY_AFTER)
        .filter(|_| again)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1000).min(limits::DELAY_MS_MAX));
    let body = String::from_utf8_lossy(body);
    refusal(
        format!("the application answered {status}"),
        again || !status.is_client_error(),
        delay_ms,
        cut(&body, ERROR_BODY_MAX),
    )
}

fn fail(error: String, delay_ms: Option<u64>) -> Settlement {
    refusal(error, true, delay_ms, "")
}

fn refusal(error: String, retry: bool, delay_ms: Option<u64>, log_tail: &str) -> Settlement {
    Settlement::Fail {
        error: Arc::from(error),
        retry,
        delay_ms,
        exit_code: None,
        signal: None,
        log_tail: Arc::from(log_tail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_endpoints_of_this_host_are_accepted() {
        for good in [
            "http://localhost:8080/x",
            "http://127.0.0.1/",
            "http://[::1]:80/",
        ] {
            assert!(Endpoint::new(good).is_ok(), "{good}");
        }
        for bad in [
            "https://localhost/",
            "http://example.com/",
            "localhost",
            "http://10.0.0.1/",
            "",
        ] {
            assert!(
                matches!(Endpoint::new(bad), Err(StartError::Endpoint { .. })),
                "{bad}"
            );
        }
    }
}
