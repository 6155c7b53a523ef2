//! Asking: `POST /v1/fanouts/{f}/query`, and every path that a fan-out has as a route.

use super::Api;
use crate::root::{Answer, ENVELOPE, Envelope, Fanout, Question, Source};
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use quorate_core::error::{Code, Error};
use quorate_core::runtime::extract::{BodyLimit, Path, Raw};
use quorate_core::runtime::problem::{self, Problem};
use quorate_core::types::Name;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(query))
}

/// Sends the body to every shard and answers with what they say together.
///
/// The headers `Quorate-Complete`, `Quorate-Shards` and `Quorate-Map-Version` tell the truth about it;
/// `Accept: application/vnd.quorate.answer+json` gives the account shard by shard, and with
/// `Quorate-Explain: 1` call by call. `Quorate-Key` and `Quorate-Range` ask only the shards concerned,
/// `Quorate-Deadline-Ms` is what the caller has left.
#[utoipa::path(post, path = "/v1/fanouts/{fanout}/query", tag = "query",
    params(
        ("fanout" = String, Path),
        ("quorate-key" = Option<String>, Header, description = "only the shard of this key, with other characters as %XX; may come several times"),
        ("quorate-range" = Option<String>, Header, description = "FROM,TO: only the shards that have keys in this range"),
        ("quorate-deadline-ms" = Option<u64>, Header, description = "what the caller has left"),
        ("quorate-explain" = Option<u8>, Header, description = "1: the envelope tells call by call how the answer came about"),
    ),
    request_body(content = Vec<u8>, description = "goes to the shards as it is", content_type = "*/*"),
    responses(
        (status = 200, description = "the merged body, complete or partial as the headers say; with its account if that is accepted",
            content((Vec<u8> = "*/*"), (Envelope = "application/vnd.quorate.answer+json")),
            headers(
                ("quorate-complete" = bool, description = "every planned shard was merged whole"),
                ("quorate-shards" = String, description = "planned=…;merged=…;failed=…;timed_out=…;skipped=…;unneeded=…"),
                ("quorate-map-version" = u64, description = "version of the map of shards"),
            )),
        (status = "4XX", body = Problem, content_type = "application/problem+json"),
        (status = 429, description = "too much is under way; nothing was sent", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "too few shards answered", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "not enough in time", body = Problem, content_type = "application/problem+json"),
    ))]
async fn query(
    State(api): State<Api>,
    Path(fanout): Path<String>,
    request: Request,
) -> Result<Response, Error> {
    let fanout = api.root.fanout(&Name::new(&fanout)?)?;
    ask(&api, &fanout, Source::Query, request).await
}

/// A path that is none of the container's own.
pub(super) async fn route(State(api): State<Api>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let grpc = problem::is_grpc(request.headers());
    match api.root.route(&method, &path).filter(|_| !grpc) {
        Some(fanout) => ask(&api, &fanout, Source::Route, request)
            .await
            .unwrap_or_else(axum::response::IntoResponse::into_response),
        None => {
            let (uri, headers) = (request.uri().clone(), request.headers().clone());
            problem::no_such_route(method, uri, headers).await
        }
    }
}

async fn ask(
    api: &Api,
    fanout: &Arc<Fanout>,
    source: Source,
    mut request: Request,
) -> Result<Response, Error> {
    let limit = usize::try_from(fanout.spec().limits.body_bytes).unwrap_or(usize::MAX);
    request.extensions_mut().insert(BodyLimit(limit));
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let headers = request.headers().clone();
    let Raw(body) = match Raw::from_request(request, &()).await {
        Err(error) if error.code == Code::TooLarge => return Err(fanout.body_too_large()),
        read => read?,
    };
    let envelope = wants_envelope(&headers);
    let explain = headers.get("quorate-explain").is_some_and(|v| v == "1");
    let mut question = Question::query(body).with_headers(headers)?;
    question.source = source;
    question.method = method;
    question.query = uri.query().unwrap_or_default().to_owned();
    if source == Source::Route {
        uri.path().clone_into(&mut question.path);
    }
    let answer = api.root.ask(fanout, question).await?;
    Ok(respond(&answer, envelope, explain))
}

fn wants_envelope(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|one| one.trim().starts_with(ENVELOPE)))
}

fn respond(answer: &Answer, envelope: bool, explain: bool) -> Response {
    let (content_type, body) = if envelope {
        let envelope = if explain {
            answer.explained()
        } else {
            answer.envelope()
        };
        match serde_json::to_vec(&envelope) {
            Ok(body) => (Some(ENVELOPE.to_owned()), body.into()),
            Err(error) => {
                let code = quorate_core::Code::Internal;
                return Error::new(code, format!("the account is no JSON: {error}"))
                    .into_response();
            }
        }
    } else {
        let given = answer.merged.content_type.as_deref();
        (given.map(str::to_owned), answer.merged.body.clone())
    };
    let mut response = Response::new(axum::body::Body::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if let Some(content_type) = content_type.and_then(|text| HeaderValue::from_str(&text).ok()) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    let complete = if answer.complete { "true" } else { "false" };
    headers.insert("quorate-complete", HeaderValue::from_static(complete));
    if let Ok(shards) = HeaderValue::from_str(&answer.shards_header()) {
        headers.insert("quorate-shards", shards);
    }
    headers.insert("quorate-map-version", HeaderValue::from(answer.map.version));
    response
}
