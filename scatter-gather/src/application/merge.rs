//! A [`Merger`] as a service: `POST /merge` with lines of JSON, and `quorate.scatter.v1.Merge` over gRPC.

use super::{REQUEST_BYTES_MAX, pieces, remaining};
use crate::api::grpc::reflected;
use crate::merge::{Bounds, MergeFailure, Merged, Merger, Merging, Piece};
use axum::Router;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use quorate_core::error::{Code, Error};
use quorate_core::grpc_timeout;
use quorate_core::runtime::extract::{BodyLimit, Raw};
use quorate_proto::scatter as pb;
use quorate_proto::scatter::merge_server::{self, MergeServer};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Status, Streaming};

/// Time for a merger that is not told how long it has.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Clone)]
struct Shared {
    merger: Arc<dyn Merger>,
    bounds: Bounds,
}

/// Serves a merger that keeps at most what `bounds` say, and takes at most 64 MiB of lines.
///
/// # Errors
/// A bug: the descriptions of the API do not encode.
pub fn merge_router(merger: impl Merger, bounds: Bounds) -> Result<Router, Error> {
    let shared = Shared {
        merger: Arc::new(merger),
        bounds,
    };
    let service =
        MergeServer::new(Grpc(shared.clone())).max_decoding_message_size(REQUEST_BYTES_MAX);
    let grpc = reflected(Routes::new(service), "quorate.scatter.v1.Merge")?.into_axum_router();
    Ok(Router::new()
        .route("/merge", post(over_http))
        .layer(axum::Extension(BodyLimit(REQUEST_BYTES_MAX)))
        .with_state(shared)
        .merge(grpc))
}

/// One line.
#[derive(Deserialize)]
struct Line<'a> {
    shard: &'a str,
    status: u16,
    #[serde(default)]
    content_type: Option<&'a str>,
    #[serde(default, borrow)]
    body: Option<&'a RawValue>,
    #[serde(default)]
    body_base64: Option<&'a str>,
}

async fn over_http(State(shared): State<Shared>, request: Request) -> Response {
    merge_http(&shared, request)
        .await
        .unwrap_or_else(axum::response::IntoResponse::into_response)
}

async fn merge_http(shared: &Shared, request: Request) -> Result<Response, Error> {
    let within = remaining(request.headers()).unwrap_or(TIMEOUT_DEFAULT);
    let Raw(body) = Raw::from_request(request, &()).await?;
    let mut merging = shared.merger.init(shared.bounds);
    let lines = body.split(|byte| *byte == b'\n').zip(0..);
    for (line, index) in lines.filter(|(line, _)| !line.is_empty()) {
        push(&mut *merging, piece(line, index)?)?;
    }
    let merged = finish(merging, within).await?;
    let mut response = merged.body.into_response();
    response.headers_mut().remove(CONTENT_TYPE);
    let given = merged.content_type.as_deref();
    if let Some(value) = given.and_then(|text| HeaderValue::from_str(text).ok()) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    Ok(response)
}

fn piece(line: &[u8], index: u32) -> Result<Piece, Error> {
    let wrong = |told: String| Error::invalid(format!("line {}: {told}", u64::from(index) + 1));
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
    let json = line
        .body
        .map(|body| Bytes::copy_from_slice(body.get().as_bytes()));
    let bytes = line
        .body_base64
        .map(|text| STANDARD.decode(text))
        .transpose();
    let bytes = bytes.map_err(|_| wrong("body_base64 is no base64".to_owned()))?;
    let (content_type, body) = match (json, bytes) {
        (Some(json), None) => (Some("application/json"), json),
        (None, Some(bytes)) => (line.content_type, Bytes::from(bytes)),
        _ => return Err(wrong("send body or body_base64, one of them".to_owned())),
    };
    Ok(Piece {
        shard: line.shard.into(),
        index,
        status: line.status,
        content_type: content_type.map(Into::into),
        body,
        nested: false,
    })
}

fn push(merging: &mut dyn Merging, piece: Piece) -> Result<(), Error> {
    let shard = Arc::clone(&piece.shard);
    merging
        .push(piece)
        .map_err(|refusal| Error::invalid(format!("shard {shard}: {refusal}")))
}

async fn finish(merging: Box<dyn Merging>, within: Duration) -> Result<Merged, Error> {
    merging
        .finish(within)
        .await
        .map_err(|failure| match failure {
            MergeFailure::Timeout(_) => Error::new(Code::DeadlineExceeded, failure.to_string()),
            MergeFailure::NoResult(_) | MergeFailure::External(_) => {
                Error::new(Code::InsufficientShards, failure.to_string())
            }
        })
}

/// The merger over gRPC.
struct Grpc(Shared);

impl Grpc {
    /// Reads pieces and pushes each when it is whole. At most one is held besides the merger's own.
    async fn take(
        &self,
        mut stream: Streaming<pb::MergePiece>,
    ) -> Result<Box<dyn Merging>, Status> {
        let mut merging = self.0.merger.init(self.0.bounds);
        let mut open: Option<(pb::MergePiece, BytesMut)> = None;
        while let Some(part) = stream.message().await? {
            let more = part.more;
            let (head, body) = match open.take() {
                None => {
                    let body = BytesMut::from(part.body.clone());
                    (part, body)
                }
                Some((head, mut body)) => {
                    if head.index != part.index {
                        let told =
                            "index: the piece before was to go on (more), and this is another one";
                        return Err(Error::invalid(told).into());
                    }
                    if body.len() + part.body.len() > REQUEST_BYTES_MAX {
                        let told =
                            format!("an answer is over {REQUEST_BYTES_MAX} bytes: send less");
                        return Err(Error::new(Code::TooLarge, told).into());
                    }
                    body.extend_from_slice(&part.body);
                    (head, body)
                }
            };
            if more {
                open = Some((head, body));
                continue;
            }
            let status = u16::try_from(head.status);
            let piece = Piece {
                shard: head.shard.into(),
                index: head.index,
                status: status.map_err(|_| Error::invalid("status: it is no status of HTTP"))?,
                content_type: (!head.content_type.is_empty()).then(|| head.content_type.into()),
                body: body.freeze(),
                nested: false,
            };
            push(&mut *merging, piece)?;
        }
        match open {
            None => Ok(merging),
            Some(_) => Err(Error::invalid("the stream ends within an answer (more)").into()),
        }
    }
}

#[tonic::async_trait]
impl merge_server::Merge for Grpc {
    type MergeStream = BoxStream<'static, Result<pb::MergedPart, Status>>;

    async fn merge(
        &self,
        request: tonic::Request<Streaming<pb::MergePiece>>,
    ) -> Result<tonic::Response<Self::MergeStream>, Status> {
        let within = grpc_timeout::of(request.metadata())?.unwrap_or(TIMEOUT_DEFAULT);
        let begin = tokio::time::Instant::now();
        let merging = tokio::time::timeout(within, self.take(request.into_inner()))
            .await
            .map_err(|_| Error::new(Code::DeadlineExceeded, "its time has passed"))??;
        let merged = finish(merging, within.saturating_sub(begin.elapsed())).await?;
        let mut content_type = Some(merged.content_type.map(String::from).unwrap_or_default());
        let parts = pieces(merged.body).map(move |body| {
            Ok(pb::MergedPart {
                body,
                content_type: content_type.take().unwrap_or_default(),
            })
        });
        Ok(tonic::Response::new(stream::iter(parts).boxed()))
    }
}
