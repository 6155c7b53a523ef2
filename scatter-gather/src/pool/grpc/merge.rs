//! A merge container that speaks gRPC: `quorate.scatter.v1.Merge/Merge`.

use super::{joined, messages, put};
use crate::merge::{MergeCall, MergeFailure, Merged, Piece, Refusal};
use crate::pool::{Host, Hosts, LeafUrl, Protocol};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::HeaderMap;
use quorate_proto::scatter as pb;
use std::sync::Arc;
use std::time::Duration;

const MERGE: &str = "/quorate.scatter.v1.Merge/Merge";

/// Bytes of an answer in one message: far below what servers of gRPC take by default (4 MiB).
const PIECE_BYTES: usize = 1 << 20;

/// Calls a merge container over gRPC.
#[derive(Debug)]
pub struct GrpcMerge {
    url: LeafUrl,
    host: Arc<Host>,
    reply_bytes: u64,
}

impl GrpcMerge {
    /// A container at this URL, whose results are at most so long.
    pub fn new(hosts: &Hosts, url: LeafUrl, reply_bytes: u64) -> Self {
        Self {
            host: hosts.host(&url, Protocol::Http2),
            url,
            reply_bytes,
        }
    }
}

impl MergeCall for GrpcMerge {
    fn encode(&self, piece: &Piece) -> Result<Bytes, Refusal> {
        let mut framed = BytesMut::new();
        let mut rest = piece.body.clone();
        loop {
            let body = rest.split_to(rest.len().min(PIECE_BYTES));
            let message = pb::MergePiece {
                shard: piece.shard.to_string(),
                index: piece.index,
                status: u32::from(piece.status),
                content_type: piece.content_type.as_deref().unwrap_or_default().to_owned(),
                body,
                more: !rest.is_empty(),
            };
            put(&message, &mut framed);
            if !message.more {
                return Ok(framed.freeze());
            }
        }
    }

    fn merge(
        &self,
        pieces: Bytes,
        within: Duration,
    ) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        let (host, url) = (Arc::clone(&self.host), self.url.to_string());
        let failed = {
            let url = url.clone();
            move |told: &dyn std::fmt::Display| {
                MergeFailure::External(format!("the merge container {url} failed: {told}"))
            }
        };
        let call = super::call(
            "",
            MERGE,
            HeaderMap::new(),
            pieces,
            Some(within),
            self.reply_bytes,
        );
        let reply_bytes = self.reply_bytes;
        Box::pin(async move {
            let call = call.map_err(|error| failed(&error))?;
            let reply = match tokio::time::timeout(within, host.exchange(&call)).await {
                Err(_) => return Err(MergeFailure::Timeout(url)),
                Ok(reply) => reply.map_err(|error| failed(&error))?,
            };
            let parts: Vec<pb::MergedPart> =
                messages(&reply).map_err(|error| failed(&error.detail))?;
            let Some(first) = parts.first() else {
                return Err(failed(&"its answer has no part"));
            };
            let content_type = Some(first.content_type.as_str()).filter(|text| !text.is_empty());
            let content_type = content_type.map(Into::into);
            let body = joined(parts.into_iter().map(|part| part.body));
            if body.len() as u64 > reply_bytes {
                return Err(failed(&format!("its result is over {reply_bytes} bytes")));
            }
            Ok(Merged { content_type, body })
        })
    }
}
