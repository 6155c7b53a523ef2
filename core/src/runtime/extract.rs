//! What handlers take from a request, refused as problems.
//!
//! axum's own extractors answer plain text, and its JSON names no field. These answer
//! `application/problem+json` with the path of the field at fault, bound the body in bytes and in
//! time, and take nothing but JSON: a form that a foreign web page posts is refused by its type.

use crate::error::{Code, Error};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Uri};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Longest body in bytes, unless a route says otherwise by [`BodyLimit`].
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// A body within its bound that takes longer than this holds a connection for nothing.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// What is still read of a body over its bound, so that the client gets to read the refusal instead
/// of a reset connection.
const DISCARD_BYTES_MAX: usize = 16 << 20;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// Another bound for the bodies of some routes, in bytes:
/// `router.layer(axum::Extension(BodyLimit(n)))`.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// A whole body within its bound.
#[derive(Clone, Debug)]
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        read(&parts, body).await.map(Self)
    }
}

/// A JSON body. Types that deny unknown fields get them refused by name.
#[derive(Clone, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        check_json(&parts.headers)?;
        let body = read(&parts, body).await?;
        json(&body).map(Self)
    }
}

/// A JSON body or none: an empty body is `T::default()`.
#[derive(Clone, Debug)]
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let typed = parts.headers.contains_key(CONTENT_TYPE);
        let body = read(&parts, body).await?;
        if body.is_empty() && !typed {
            return Ok(Self(T::default()));
        }
        check_json(&parts.headers)?;
        if body.is_empty() {
            return Ok(Self(T::default()));
        }
        json(&body).map(Self)
    }
}

/// The query string.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        query(&parts.uri).map(Self)
    }
}

/// The parameters of the path.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(value)| Self(value))
            .map_err(|rejection| Error::invalid(rejection.body_text()))
    }
}

/// Reads a query string.
pub fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(value)| value)
        .map_err(|rejection| {
            let text = rejection.body_text();
            let why = text
                .rsplit_once("query string: ")
                .map_or(&*text, |(_, why)| why);
            Error::invalid(format!(
                "the query string: {why}; /openapi.json says what each parameter takes"
            ))
        })
}

/// Reads JSON; a refusal names the field. The path costs allocations, so it is looked for only after
/// a failure.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    // Structures would read an array as their fields in order.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Error::invalid("the body is an array: send a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        if bytes.is_empty() {
            return Error::invalid("the body is empty: send a JSON object");
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let path = serde_path_to_error::deserialize::<_, T>(&mut reader)
            .err()
            .map(|error| error.path().to_string())
            .filter(|path| path != ".");
        match (error.classify(), path) {
            (serde_json::error::Category::Data, Some(path)) => {
                Error::invalid(format!("{path}: {error}"))
            }
            (serde_json::error::Category::Data, None) => Error::invalid(error.to_string()),
            _ => Error::invalid(format!("the body is not JSON: {error}")),
        }
    })
}

fn check_json(headers: &HeaderMap) -> Result<(), Error> {
    let encoded = headers.get(CONTENT_ENCODING);
    if encoded.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Error::new(
            Code::UnsupportedMediaType,
            "the body has a Content-Encoding: send it without",
        ));
    }
    let given = headers
        .get(CONTENT_TYPE)
        .map(|value| value.to_str().unwrap_or_default());
    let essence = given
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json {
        return Ok(());
    }
    let told = match given {
        None => "the request has no Content-Type".to_owned(),
        Some(given) => format!(
            "Content-Type is {:?}",
            given.chars().take(80).collect::<String>()
        ),
    };
    Err(Error::new(
        Code::UnsupportedMediaType,
        format!(
            "{told}: send application/json (curl: --json or -H 'Content-Type: application/json')"
        ),
    ))
}

async fn read(parts: &Parts, mut body: Body) -> Result<Bytes, Error> {
    let limit = parts
        .extensions
        .get::<BodyLimit>()
        .map_or(BODY_BYTES_MAX, |limit| limit.0);
    let announced: Option<usize> = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    if announced.is_some_and(|bytes| bytes > limit) {
        // A client that waits for `100 Continue` sends nothing of it; others are drained a little.
        if !parts.headers.contains_key(http::header::EXPECT) {
            discard(body).await;
        }
        return Err(too_large(limit));
    }
    let collected = tokio::time::timeout(BODY_TIME_MAX, async {
        let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(limit));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Error::invalid(format!("the body broke off or is malformed: {error}"))
            })?;
            if let Ok(data) = frame.into_data() {
                if whole.len() + data.len() > limit {
                    return Ok(None);
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(Some(whole.freeze()))
    });
    match collected.await {
        Ok(Ok(Some(whole))) => Ok(whole),
        Ok(Ok(None)) => {
            discard(body).await;
            Err(too_large(limit))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::new(
            Code::DeadlineExceeded,
            format!(
                "the body did not arrive within {} s; nothing was done",
                BODY_TIME_MAX.as_secs()
            ),
        )),
    }
}

fn too_large(limit: usize) -> Error {
    Error::new(
        Code::TooLarge,
        format!(
            "the body is over {limit} bytes: send less at once, and put large payloads into blobs"
        ),
    )
}

async fn discard(mut body: Body) {
    let mut left = DISCARD_BYTES_MAX;
    let drained = tokio::time::timeout(DISCARD_TIME_MAX, async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes > left {
                break;
            }
            left -= bytes;
        }
    });
    // Too slow or done: the refusal goes out either way.
    let _ = drained.await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Job {
        #[allow(dead_code, reason = "only its type matters")]
        priority: u8,
        payload: Option<Box<serde_json::value::RawValue>>,
    }

    #[derive(Debug, Deserialize)]
    struct Jobs {
        jobs: Vec<Job>,
    }

    fn refusal(text: &str) -> String {
        let error = json::<Jobs>(text.as_bytes()).unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        error.detail
    }

    #[test]
    fn json_refusals_name_the_field() {
        assert!(
            refusal(r#"{"jobs":[{"priority":1},{"priority":"x"}]}"#)
                .starts_with("jobs[1].priority: ")
        );
        assert!(
            refusal(r#"{"jobs":[{"priority":1,"colour":2}]}"#).contains("unknown field `colour`")
        );
        assert!(refusal(r#"{"jobs":[{"priority":-1}]}"#).starts_with("jobs[0].priority: "));
        assert!(refusal(r#"{"jobs":[{"priority":1,"priority":2}]}"#).contains("duplicate field"));
        assert!(refusal(r#"{"jobs":"#).contains("not JSON"));
        assert!(refusal("").contains("empty"));
        assert!(refusal(&"[".repeat(100_000)).contains("JSON") || !refusal("[").is_empty());
    }

    #[test]
    fn payloads_keep_their_bytes() {
        let jobs: Jobs =
            json(br#"{"jobs":[{"priority":1,"payload":{ "b" : 1.0, "a":2 }}]}"#).unwrap();
        let payload = jobs.jobs[0].payload.as_ref().unwrap();
        assert_eq!(payload.get(), r#"{ "b" : 1.0, "a":2 }"#);
    }

    #[test]
    fn only_json_is_taken() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(value));
            check_json(&headers)
        };
        assert!(with("application/json").is_ok());
        assert!(with("Application/JSON; charset=utf-8").is_ok());
        assert!(with("application/merge-patch+json").is_ok());
        assert!(with("text/plain").is_err());
        assert!(with("application/x-www-form-urlencoded").is_err());
        assert!(check_json(&HeaderMap::new()).is_err());
    }
}
