//! What every handler takes: who calls, under which key, and the body.

use crate::api::{Api, caller};
use crate::service::Caller;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::request::Parts;
use quorate_core::error::Error;
use quorate_core::key::{IDEMPOTENCY_KEY, idempotency_key};
use quorate_core::runtime::extract::{Json, OptionalJson, Raw};
use quorate_core::types::Principal;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Longest `traceparent`: version 00 has 55 characters, later ones may append.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// A mutation with a JSON body.
pub(super) struct Operation<T> {
    /// Who calls, with the key of `Idempotency-Key`.
    pub(super) caller: Caller,
    /// W3C trace context of the request.
    pub(super) traceparent: Option<Arc<str>>,
    /// The body.
    pub(super) body: T,
}

impl<T: DeserializeOwned> FromRequest<Api> for Operation<T> {
    type Rejection = Error;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Error> {
        let (request, caller, traceparent) = identify(request, api).await?;
        let Json(body) = Json::from_request(request, api).await?;
        Ok(Self {
            caller,
            traceparent,
            body,
        })
    }
}

/// A mutation whose body may be absent, which stands for the default.
pub(super) struct Order<T = Empty> {
    /// Who calls, with the key of `Idempotency-Key`.
    pub(super) caller: Caller,
    /// The body.
    pub(super) body: T,
}

/// A body that holds nothing.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

impl<T: DeserializeOwned + Default> FromRequest<Api> for Order<T> {
    type Rejection = Error;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Error> {
        let (request, caller, _) = identify(request, api).await?;
        let OptionalJson(body) = OptionalJson::from_request(request, api).await?;
        Ok(Self { caller, body })
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
async fn identify(
    request: Request,
    api: &Api,
) -> Result<(Request, Caller, Option<Arc<str>>), Error> {
    let mut caller = caller(request.extensions().get::<Principal>());
    let traceparent = header(request.headers(), "traceparent", TRACEPARENT_BYTES_MAX)?;
    let Some(key) = header(request.headers(), IDEMPOTENCY_KEY, usize::MAX)? else {
        return Ok((request, caller, traceparent));
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
    Ok((
        Request::from_parts(parts, Body::from(body)),
        caller,
        traceparent,
    ))
}

fn header(headers: &HeaderMap, name: &str, bytes_max: usize) -> Result<Option<Arc<str>>, Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Error::invalid(format!("{name}: comes twice; send it once")));
    }
    match value.to_str() {
        Ok(text) if text.len() <= bytes_max => Ok(Some(Arc::from(text))),
        Ok(text) => Err(Error::invalid(format!(
            "{name}: {} bytes are too long; send up to {bytes_max}",
            text.len()
        ))),
        Err(_) => Err(Error::invalid(format!(
            "{name}: send visible ASCII characters only"
        ))),
    }
}
