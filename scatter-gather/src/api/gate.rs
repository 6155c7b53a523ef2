//! The API of a leaf gate: everything goes to the leaf but a few paths of the gate's own.
//!
//! A gate is transparent: what a root says in its `Quorate-` headers (keys, depth, priority) is meant for
//! whoever stands behind it, which may be an inner node. Only what belongs to a connection, and the token
//! of the gate's own listener, ends here; and the deadline is brought up to date.

use crate::definition::is_hop;
use crate::gate::{Gate, Load, REPLY_BYTES_MAX, TIMEOUT_DEFAULT};
use crate::pool::Call;
use crate::root::deadline;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, TE};
use http::uri::PathAndQuery;
use http_body_util::{BodyExt as _, Full};
use quorate_core::error::Error;
use quorate_core::grpc_timeout;
use quorate_core::runtime::extract::Raw;
use quorate_core::runtime::problem;
use std::sync::Arc;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Quorate leaf gate",
    description = "Everything that is not listed here goes to the leaf, as far as the leaf can take it. \
                   Answers carry `Quorate-Load`."
))]
struct Head;

/// What the handlers share.
#[derive(Clone, Debug)]
struct Shared {
    gate: Arc<Gate>,
    /// The listener's own token is not the leaf's business.
    hide_token: bool,
    /// What the leaf is shown where nothing else is (`Authorization`).
    credential: Option<HeaderValue>,
}

/// All routes of a gate. `hide_token` keeps the client's `Authorization` from the leaf; `credential` is shown
/// to it where no other is.
pub fn gate_router(
    gate: Arc<Gate>,
    hide_token: bool,
    credential: Option<HeaderValue>,
) -> Result<Router, Error> {
    let (routes, mut openapi) = OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(load))
        .split_for_parts();
    openapi.merge(quorate_core::runtime::info::ApiDoc::openapi());
    let describe = super::describe(&openapi)?;
    Ok(routes
        .route("/openapi.json", get(describe))
        .route("/", any(pass))
        .route("/{*path}", any(pass))
        .with_state(Shared {
            gate,
            hide_token,
            credential,
        }))
}

/// How much the leaf has to do, and how much more it gets.
#[utoipa::path(get, path = "/v1/gate", responses(
    (status = 200, description = "the load", body = Load)))]
async fn load(State(shared): State<Shared>) -> axum::Json<Load> {
    axum::Json(shared.gate.load())
}

async fn pass(State(shared): State<Shared>, request: Request) -> Response {
    let grpc = problem::is_grpc(request.headers());
    let mut response = forward(&shared, request, grpc)
        .await
        .unwrap_or_else(|error| {
            if grpc {
                tonic::Status::from(error).into_http()
            } else {
                error.into_response()
            }
        });
    let load = shared.gate.load();
    metrics::gauge!("quorate_gate_limit").set(f64::from(u32::try_from(load.limit).unwrap_or(0)));
    metrics::gauge!("quorate_gate_in_flight")
        .set(f64::from(u32::try_from(load.in_flight).unwrap_or(0)));
    metrics::gauge!("quorate_gate_queued").set(f64::from(u32::try_from(load.queued).unwrap_or(0)));
    let told = format!(
        "in_flight={};limit={};queued={}",
        load.in_flight, load.limit, load.queued
    );
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert("quorate-load", told);
    }
    response
}

/// Passes a request on. Of gRPC, streams of requests are read to their end first, and so are answers.
async fn forward(shared: &Shared, request: Request, grpc: bool) -> Result<Response, Error> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let given = request.headers().clone();
    let hedge = given.get("quorate-priority").is_some_and(|v| v == "low");
    let Raw(body) = Raw::from_request(request, &()).await?;
    let timeout = match given.get(grpc_timeout::GRPC_TIMEOUT) {
        Some(value) if grpc => value.to_str().ok().and_then(grpc_timeout::parse),
        _ => None,
    };
    let within = match timeout {
        Some(timeout) => timeout,
        None => deadline(&given)?.unwrap_or(TIMEOUT_DEFAULT),
    };
    let mut headers = HeaderMap::with_capacity(given.len());
    for (name, value) in &given {
        let trailers = grpc && name == TE;
        let token = name == AUTHORIZATION && shared.hide_token;
        if (!is_hop(name) || trailers) && !token {
            headers.append(name.clone(), value.clone());
        }
    }
    if let Some(credential) = &shared.credential
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, credential.clone());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = format!("{}{path}", shared.gate.url().base());
    let path: PathAndQuery = path
        .parse()
        .map_err(|_| Error::invalid("the path has characters that no path has"))?;
    let call = Call {
        headers: Arc::new(headers),
        body,
        low_priority: hedge,
        ..Call::new(method, path, REPLY_BYTES_MAX)
    };
    let reply = shared.gate.call(call, within).await?;
    let mut response = match reply.trailers {
        None => reply.body.into_response(),
        Some(trailers) => {
            let body = Full::new(reply.body).with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::new(Body::new(body))
        }
    };
    response.headers_mut().clear();
    *response.status_mut() = reply.status;
    for (name, value) in &reply.headers {
        // What the leaf says about its answer (Quorate-Complete) is the root's to read.
        if !is_hop(name) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    Ok(response)
}
