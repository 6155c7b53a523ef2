//! A [`Leaf`] as a service: any path over HTTP, and `quorate.scatter.v1.Leaf` over gRPC.

use super::{PART_BYTES, REQUEST_BYTES_MAX, pieces, remaining};
use crate::api::grpc::reflected;
use crate::pool::{Leaf, LeafAnswer, LeafError, LeafRequest};
use axum::Router;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use http::uri::PathAndQuery;
use quorate_core::error::{Code, Error};
use quorate_core::grpc_timeout;
use quorate_core::runtime::extract::{BodyLimit, Raw};
use quorate_proto::scatter as pb;
use quorate_proto::scatter::leaf_server::{self, LeafServer};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use tonic::Status;
use tonic::service::Routes;

/// When a caller that was sent away should ask again.
const RETRY_AFTER_MS: u64 = 50;

/// Serves a leaf. An answer that has no time left is given up.
///
/// # Errors
/// A bug: the descriptions of the API do not encode.
pub fn leaf_router(leaf: Arc<dyn Leaf>) -> Result<Router, Error> {
    let service =
        LeafServer::new(Grpc(Arc::clone(&leaf))).max_decoding_message_size(REQUEST_BYTES_MAX);
    let grpc = reflected(Routes::new(service), "quorate.scatter.v1.Leaf")?.into_axum_router();
    let plain = Router::new()
        .route("/", axum::routing::any(over_http))
        .route("/{*path}", axum::routing::any(over_http));
    Ok(plain
        .layer(axum::Extension(BodyLimit(REQUEST_BYTES_MAX)))
        .with_state(leaf)
        .merge(grpc))
}

async fn over_http(State(leaf): State<Arc<dyn Leaf>>, request: Request) -> Response {
    answer_http(&*leaf, request)
        .await
        .unwrap_or_else(axum::response::IntoResponse::into_response)
}

async fn answer_http(leaf: &dyn Leaf, request: Request) -> Result<Response, Error> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let headers = request.headers().clone();
    let Raw(body) = Raw::from_request(request, &()).await?;
    let question = LeafRequest {
        shard: None,
        range: None,
        method,
        path: uri.path_and_query().cloned().unwrap_or_else(root),
        remaining: remaining(&headers),
        low_priority: headers.get("quorate-priority").is_some_and(|v| v == "low"),
        headers: Arc::new(headers),
        body,
    };
    let answer = ask(leaf, question).await?;
    let mut response = answer.body.into_response();
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    let given = answer.content_type.as_deref();
    if let Some(value) = given.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(CONTENT_TYPE, value);
    }
    let complete = if answer.partial { "false" } else { "true" };
    headers.insert("quorate-complete", HeaderValue::from_static(complete));
    Ok(response)
}

fn root() -> PathAndQuery {
    PathAndQuery::from_static("/")
}

/// Asks the leaf, for as long as its answer is of use.
async fn ask(leaf: &dyn Leaf, question: LeafRequest) -> Result<LeafAnswer, Error> {
    let remaining = question.remaining;
    let answering = AssertUnwindSafe(leaf.answer(question)).catch_unwind();
    let answered = match remaining {
        None => answering.await,
        Some(remaining) => tokio::time::timeout(remaining, answering)
            .await
            .map_err(|_| Error::new(Code::DeadlineExceeded, "its time has passed"))?,
    };
    let answer = answered.map_err(|_| Error::new(Code::Internal, "the leaf panicked"))?;
    answer.map_err(|error| match error {
        LeafError::Busy => {
            Error::new(Code::OverQuota, error.to_string()).retry_after_ms(RETRY_AFTER_MS)
        }
        LeafError::Failed(_) => Error::new(Code::Internal, error.to_string()),
        LeafError::Refused(_) => Error::invalid(error.to_string()),
    })
}

/// The leaf over gRPC.
struct Grpc(Arc<dyn Leaf>);

#[tonic::async_trait]
impl leaf_server::Leaf for Grpc {
    type AnswerStream = BoxStream<'static, Result<pb::LeafPart, Status>>;

    async fn answer(
        &self,
        request: tonic::Request<pb::LeafRequest>,
    ) -> Result<tonic::Response<Self::AnswerStream>, Status> {
        let remaining = grpc_timeout::of(request.metadata())?;
        let (metadata, _, asked) = request.into_parts();
        let mut headers = metadata.into_headers();
        headers.remove(CONTENT_TYPE);
        if let Ok(value) = HeaderValue::from_str(&asked.content_type)
            && !value.is_empty()
        {
            headers.insert(CONTENT_TYPE, value);
        }
        let wrong = |what: &str| Error::invalid(format!("{what}: send it as HTTP has it"));
        let question = LeafRequest {
            shard: Some(asked.shard.into()).filter(|id: &Arc<str>| !id.is_empty()),
            range: asked.range.map(|range| (range.from, range.to)),
            method: match asked.method.as_str() {
                "" => http::Method::POST,
                method => method.parse().map_err(|_| wrong("method"))?,
            },
            path: match asked.path.as_str() {
                "" => root(),
                path => path.parse().map_err(|_| wrong("path"))?,
            },
            headers: Arc::new(headers),
            body: asked.body,
            remaining,
            low_priority: asked.low_priority,
        };
        let answer = ask(&*self.0, question).await?;
        let mut content_type = Some(answer.content_type.map(String::from).unwrap_or_default());
        let partial = answer.partial;
        let parts = pieces(answer.body).map(move |body| {
            debug_assert!(body.len() <= PART_BYTES);
            Ok(pb::LeafPart {
                body,
                content_type: content_type.take().unwrap_or_default(),
                partial,
            })
        });
        Ok(tonic::Response::new(stream::iter(parts).boxed()))
    }
}
