//! gRPC over the same connections as everything else: messages in frames of five bytes and a length, and a
//! status in the trailers. Nothing more of it is needed to call a leaf or a merge container, and so each
//! call is bounded, counted and cancelled as any other.

pub(super) mod leaf;
mod merge;
mod status;

pub use merge::GrpcMerge;

use super::call::{Call, CallError, Reply};
use crate::gather::Reason;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use prost::Message;
use quorate_core::grpc_timeout;
use std::sync::Arc;
use std::time::Duration;

/// Whether it is compressed, and its length.
const HEAD_BYTES: usize = 5;
/// What frames and fields may take beside the body they carry.
const EXTRA_BYTES: u64 = 64 << 10;

/// A message in its frame, appended.
fn put(message: &impl Message, out: &mut BytesMut) {
    let length = message.encoded_len();
    out.reserve(HEAD_BYTES + length);
    out.put_u8(0);
    // Bodies are bounded far below 4 GiB wherever a message is made; more would be cut off by the peer.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // It fails for want of room, and the room was reserved.
    let _ = message.encode(out);
}

/// A call of a method, with messages in their frames. `headers` are metadata.
fn call(
    base: &str,
    method: &str,
    mut headers: HeaderMap,
    messages: Bytes,
    within: Option<Duration>,
    reply_bytes: u64,
) -> Result<Call, CallError> {
    let path = format!("{base}{method}");
    let path: PathAndQuery = path
        .parse()
        .map_err(|_| CallError::new(Reason::Connect, format!("{path:?} is no path")))?;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    let timeout = within.and_then(|time| HeaderValue::try_from(grpc_timeout::format(time)).ok());
    if let Some(timeout) = timeout {
        headers.insert(HeaderName::from_static(grpc_timeout::GRPC_TIMEOUT), timeout);
    }
    Ok(Call {
        headers: Arc::new(headers),
        body: messages,
        ..Call::new(
            Method::POST,
            path,
            reply_bytes
                .saturating_add(reply_bytes / 64)
                .saturating_add(EXTRA_BYTES),
        )
    })
}

/// The messages of an answer that ended well.
fn messages<M: Message + Default>(reply: &Reply) -> Result<Vec<M>, CallError> {
    status::check(reply)?;
    let nonsense = |told: &str| CallError::new(Reason::Nonsense, told);
    let mut rest = reply.body.clone();
    let mut all = Vec::new();
    while rest.has_remaining() {
        if rest.len() < HEAD_BYTES {
            return Err(nonsense("the answer ends within a frame"));
        }
        let compressed = rest.get_u8() != 0;
        let length = rest.get_u32() as usize;
        if compressed {
            return Err(CallError::new(
                Reason::ContentType,
                "the answer is packed (grpc-encoding), although it was not asked for",
            ));
        }
        if length > rest.len() {
            return Err(nonsense("the answer ends within a frame"));
        }
        let message = M::decode(rest.split_to(length));
        all.push(
            message.map_err(|error| nonsense(&format!("the answer does not decode: {error}")))?,
        );
    }
    Ok(all)
}

/// Pieces of a body put together, without a copy if there is one.
fn joined(pieces: impl ExactSizeIterator<Item = Bytes>) -> Bytes {
    let mut pieces = pieces;
    if pieces.len() == 1 {
        return pieces.next().unwrap_or_default();
    }
    let mut whole = BytesMut::new();
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}
