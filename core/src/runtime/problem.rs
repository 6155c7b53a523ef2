//! Refusals on the wire: `application/problem+json` (RFC 9457) for REST, a status for gRPC.

use crate::error::{Code, Error};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Problem {
    /// `urn:quorate:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do about it.
    pub detail: String,
    /// One of the closed list of codes.
    pub code: String,
    /// Whether the very same request may be sent again without harm.
    pub retryable: bool,
    /// When trying again makes sense, if that is known.
    pub retry_after_ms: Option<u64>,
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self {
            kind: format!("urn:quorate:problem:{}", error.code),
            title: error.code.title().to_owned(),
            status: error.code.http_status(),
            detail: error.detail.clone(),
            code: error.code.as_str().to_owned(),
            retryable: error.code.retryable(),
            retry_after_ms: error.retry_after_ms,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1)));
        }
        if self.status == Code::Unauthenticated.http_status() {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if self.code == Code::Internal {
            tracing::error!(detail = %self.detail, "internal error");
        }
        Problem::from(&self).into_response()
    }
}

/// Whether a request speaks gRPC and must be refused in its language.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A refusal in the language of the request.
pub fn refuse(headers: &HeaderMap, error: Error) -> Response {
    if is_grpc(headers) {
        tonic::Status::from(error).into_http()
    } else {
        error.into_response()
    }
}

/// The fallback for routes that do not exist.
pub async fn no_such_route(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    if is_grpc(&headers) {
        let error = Error::new(Code::Unimplemented, format!("there is no method {path}"));
        return refuse(&headers, error);
    }
    Error::not_found(format!(
        "there is no {method} {path} here; the API's GET /openapi.json lists what there is"
    ))
    .into_response()
}

/// A router that refuses what it does not know as problems, and is counted and timed.
pub fn complete(router: axum::Router) -> axum::Router {
    router
        .fallback(no_such_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(super::observe::Observe)
}

/// The fallback for routes that exist with another method. The one answer whose status (405) is not
/// its code's, because HTTP has a better one.
pub async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let error = Error::invalid(format!(
        "{path} does not take {method}; the header Allow lists what it takes"
    ));
    Problem {
        status: StatusCode::METHOD_NOT_ALLOWED.as_u16(),
        ..Problem::from(&error)
    }
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_documented_status_and_fields() {
        for code in Code::ALL {
            let response = Error::new(*code, "do this")
                .retry_after_ms(1500)
                .into_response();
            assert_eq!(response.status().as_u16(), code.http_status());
            assert_eq!(response.headers()[CONTENT_TYPE], MEDIA_TYPE);
            assert_eq!(response.headers()[RETRY_AFTER], "2");
            let text = serde_json::to_value(Problem::from(&Error::new(*code, "x"))).unwrap();
            let keys: Vec<&String> = text.as_object().unwrap().keys().collect();
            let mut want = [
                "type",
                "title",
                "status",
                "detail",
                "code",
                "retryable",
                "retry_after_ms",
            ];
            want.sort_unstable();
            assert_eq!(keys.len(), want.len());
            assert!(want.iter().all(|key| text.get(key).is_some()));
        }
    }

    #[test]
    fn grpc_is_refused_in_grpc() {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/grpc+proto"),
        );
        let response = refuse(&headers, Error::new(Code::Unauthenticated, "x"));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "16");
    }
}
