//! A call to a leaf as `quorate.scatter.v1.Leaf/Answer`, and its answer as any leaf's.

use super::{joined, messages, put};
use crate::definition::is_ours;
use crate::gather::Reason;
use crate::pool::call::{Addressed, Call, CallError, Reply};
use bytes::BytesMut;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};
use quorate_proto::scatter as pb;

const ANSWER: &str = "/quorate.scatter.v1.Leaf/Answer";

/// The same call in gRPC.
pub(in crate::pool) fn call(call: &Call, shard: &Addressed) -> Result<Call, CallError> {
    let mut headers = HeaderMap::with_capacity(call.headers.len() + 3);
    for (name, value) in &*call.headers {
        if !is_ours(name)
            && name != CONTENT_TYPE
            && name != ACCEPT
            && !name.as_str().starts_with("grpc-")
        {
            headers.append(name.clone(), value.clone());
        }
    }
    let content_type = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let message = pb::LeafRequest {
        shard: shard.id.to_string(),
        range: shard.range.as_ref().map(|(from, to)| pb::KeyRange {
            from: from.clone(),
            to: to.clone(),
        }),
        body: call.body.clone(),
        content_type: content_type.unwrap_or_default().to_owned(),
        method: call.method.to_string(),
        path: call.path.to_string(),
        low_priority: call.low_priority,
    };
    let mut framed = BytesMut::new();
    put(&message, &mut framed);
    super::call(
        "",
        ANSWER,
        headers,
        framed.freeze(),
        call.remaining,
        call.reply_bytes,
    )
}

/// The leaf's answer, put together.
pub(in crate::pool) fn answer(reply: Reply, reply_bytes: u64) -> Result<Reply, CallError> {
    let parts: Vec<pb::LeafPart> = messages(&reply)?;
    let Some(first) = parts.first() else {
        return Err(CallError::new(Reason::Nonsense, "the answer has no part"));
    };
    let mut headers = HeaderMap::new();
    if !first.content_type.is_empty() {
        let value = HeaderValue::from_str(&first.content_type);
        let told = "the answer's content type has characters that none has";
        let value = value.map_err(|_| CallError::new(Reason::Nonsense, told))?;
        headers.insert(CONTENT_TYPE, value);
    }
    if parts.iter().any(|part| part.partial) {
        headers.insert("quorate-complete", HeaderValue::from_static("false"));
    }
    let body = joined(parts.into_iter().map(|part| part.body));
    if body.len() as u64 > reply_bytes {
        let told = format!("the answer is over {reply_bytes} bytes (limits.reply_bytes)");
        return Err(CallError::new(Reason::TooLarge, told));
    }
    Ok(Reply {
        status: StatusCode::OK,
        headers,
        body,
        trailers: reply.trailers,
        held: reply.held,
    })
}
