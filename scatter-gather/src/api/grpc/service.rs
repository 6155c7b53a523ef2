//! The calls: read, ask, answer.

use super::account::account;
use crate::root::{Answer, Question, Root};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use quorate_core::error::Error;
use quorate_core::grpc_timeout;
use quorate_core::types::Name;
use quorate_proto::scatter as pb;
use quorate_proto::scatter::scatter_server;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Bytes of a result in one part: far below what clients take by default (4 MiB).
const PART_BYTES: usize = 1 << 20;

/// The service.
pub(super) struct Scatter(pub(super) Arc<Root>);

impl Scatter {
    async fn ask(&self, request: Request<pb::QueryRequest>) -> Result<(Answer, bool), Error> {
        let timeout = grpc_timeout::of(request.metadata())?;
        let (metadata, _, asked) = request.into_parts();
        let fanout = self.0.fanout(&Name::new(&asked.fanout)?)?;
        let headers = headers(metadata, &asked.content_type)?;
        let mut question = Question::query(asked.body).with_headers(headers)?;
        question.timeout = match (timeout, question.timeout) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let range = asked.range.map(|range| (range.from, range.to));
        question.only(asked.keys, range)?;
        let answer = self.0.ask(&fanout, question).await?;
        Ok((answer, asked.explain))
    }
}

/// The metadata as headers of HTTP, without what is about this call.
fn headers(metadata: MetadataMap, content_type: &str) -> Result<HeaderMap, Error> {
    let mut headers = metadata.into_headers();
    headers.remove(TE);
    headers.remove(CONTENT_TYPE);
    let own: Vec<_> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("grpc-") || name.as_str().ends_with("-bin"))
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
    if !content_type.is_empty() {
        let value = HeaderValue::from_str(content_type).map_err(|_| {
            Error::invalid("content_type: it has characters that no content type has")
        })?;
        headers.insert(CONTENT_TYPE, value);
    }
    Ok(headers)
}

fn content_type(answer: &Answer) -> String {
    let given = answer.merged.content_type.as_deref();
    given.unwrap_or_default().to_owned()
}

fn pieces(mut whole: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let next = whole.split_to(whole.len().min(PART_BYTES));
        (!next.is_empty()).then_some(next)
    })
}

#[tonic::async_trait]
impl scatter_server::Scatter for Scatter {
    async fn query(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> Result<Response<pb::Answer>, Status> {
        let (answer, explain) = self.ask(request).await?;
        Ok(Response::new(pb::Answer {
            account: Some(account(&answer, explain)),
            content_type: content_type(&answer),
            result: answer.merged.body,
        }))
    }

    type QueryStreamStream = BoxStream<'static, Result<pb::AnswerPart, Status>>;

    async fn query_stream(
        &self,
        request: Request<pb::QueryRequest>,
    ) -> Result<Response<Self::QueryStreamStream>, Status> {
        use pb::answer_part::Part;
        let (answer, explain) = self.ask(request).await?;
        let closing = Part::Closing(pb::Closing {
            content_type: content_type(&answer),
            account: Some(account(&answer, explain)),
        });
        let parts = pieces(answer.merged.body).map(Part::Result);
        let parts = parts.chain(std::iter::once(closing));
        let parts = parts.map(|part| Ok(pb::AnswerPart { part: Some(part) }));
        Ok(Response::new(stream::iter(parts).boxed()))
    }
}
