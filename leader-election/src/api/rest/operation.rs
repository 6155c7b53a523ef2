//! What every handler takes: who calls, under which key, when the request arrived, and the body.

use crate::api::{Api, caller};
use crate::service::Caller;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::request::Parts;
use quorate_core::clock;
use quorate_core::error::Error;
use quorate_core::key::{IDEMPOTENCY_KEY, idempotency_key};
use quorate_core::runtime::extract::{Json, OptionalJson, Raw};
use quorate_core::types::{Mono, Principal};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A mutation with a JSON body.
pub(super) struct Operation<T> {
    /// Who calls, with the key of `Idempotency-Key`.
    pub(super) caller: Caller,
    /// When the request arrived, after it was sent.
    pub(super) received: Mono,
    /// The body.
    pub(super) body: T,
}

impl<T: DeserializeOwned> FromRequest<Api> for Operation<T> {
    type Rejection = Error;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Error> {
        let received = clock::boottime();
        let (request, caller) = identify(request, api).await?;
        let Json(body) = Json::from_request(request, api).await?;
        Ok(Self {
            caller,
            received,
            body,
        })
    }
}

/// A mutation without a body: `{}` is one too.
pub(super) struct Order(pub(super) Caller);

/// A body that holds nothing.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

impl FromRequest<Api> for Order {
    type Rejection = Error;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Error> {
        let (request, caller) = identify(request, api).await?;
        let OptionalJson(Empty {}) = OptionalJson::from_request(request, api).await?;
        Ok(Self(caller))
    }
}

/// A question.
pub(super) struct Asker(pub(super) Caller);

impl FromRequestParts<Api> for Asker {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _api: &Api) -> Result<Self, Error> {
        Ok(Self(caller(parts.extensions.get::<Principal>())))
    }
}

/// Reads the headers, and the body too if its hash is needed for a key.
async fn identify(request: Request, api: &Api) -> Result<(Request, Caller), Error> {
    let mut caller = caller(request.extensions().get::<Principal>());
    let Some(key) = header(request.headers(), IDEMPOTENCY_KEY)? else {
        return Ok((request, caller));
    };
    let route = format!("{} {}", request.method(), request.uri().path());
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (parts, body) = request.into_parts();
    let rest = Request::from_parts(parts.clone(), body);
    let Raw(body) = Raw::from_request(rest, api).await?;
    caller.key = Some(idempotency_key(
        &caller.principal,
        &route,
        &key,
        &[query.as_bytes(), &body],
    )?);
    Ok((Request::from_parts(parts, Body::from(body)), caller))
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Result<Option<Arc<str>>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Error::invalid(format!("{name}: comes twice; send it once")));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(Arc::from(text))),
        Err(_) => Err(Error::invalid(format!(
            "{name}: send visible ASCII characters only"
        ))),
    }
}
