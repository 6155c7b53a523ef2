//! What is sent to a leaf, and what its answer says.
//!
//! Level 0 is any HTTP service: a success is an answer. Level 1 reads `Quorate-Deadline-Ms` and may say
//! `Quorate-Complete: false`. An inner node answers in an envelope that lists the leaves it covers.

use super::answer::Envelope;
use super::fanout::Fanout;
use super::question::{Question, Source};
use crate::definition::{LeafKind, Values, is_ours};
use crate::gather::{Counts, Covered, Kind, MapId, Nested, Reason, Told};
use crate::merge::Piece;
use crate::pool::{Call, CallError, LeafUrl, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HeaderName,
    HeaderValue, RANGE,
};
use http::{HeaderMap, Method};
use std::sync::Arc;
use std::time::Duration;

/// The media type of an answer with its account.
pub const ENVELOPE: &str = "application/vnd.quorate.answer+json";

/// What is the same in all calls of a request.
pub(super) struct Outgoing<'a> {
    fanout: &'a Fanout,
    question: &'a Question,
    headers: HeaderMap,
    method: Method,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(fanout: &'a Fanout, question: &'a Question) -> Self {
        let mut headers = HeaderMap::with_capacity(question.headers.len() + 4);
        for (name, value) in &question.headers {
            // Credentials are for us, unless the definition says that leaves want them; a part of an
            // answer or a packed one cannot be merged.
            let credential =
                (name == AUTHORIZATION || name == COOKIE) && !fanout.request.forward.contains(name);
            let transport = name == ACCEPT_ENCODING || name == RANGE;
            if !is_ours(name) && !credential && !transport && !is_conditional(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let accept = match fanout.spec().leaves {
            LeafKind::Nodes => Some(HeaderValue::from_static(ENVELOPE)),
            LeafKind::Http | LeafKind::Grpc => {
                let theirs = headers.get(ACCEPT).map(HeaderValue::as_bytes);
                let envelope = theirs.is_some_and(|a| a.starts_with(b"application/vnd.quorate."));
                (envelope || theirs.is_none())
                    .then(|| HeaderValue::from_static(fanout.merger().accepts()))
            }
        };
        if let Some(accept) = accept {
            headers.insert(ACCEPT, accept);
        }
        if fanout.spec().leaves == LeafKind::Nodes {
            headers.insert("quorate-nested", HeaderValue::from_static("1"));
            headers.insert("quorate-depth", HeaderValue::from(question.depth + 1));
            if !question.may_hedge {
                headers.insert("quorate-hedge-budget", HeaderValue::from_static("0"));
            }
            for key in &question.keys {
                if let Ok(value) = HeaderValue::from_str(&percent(key)) {
                    headers.append("quorate-key", value);
                }
            }
        }
        let method = fanout.spec().request.method.as_deref();
        let method = method.and_then(|method| method.parse().ok());
        Self {
            fanout,
            question,
            headers,
            method: method.unwrap_or_else(|| question.method.clone()),
        }
    }

    /// The call to one replica of a shard.
    pub(super) fn call(
        &self,
        shard: usize,
        url: &LeafUrl,
        kind: Kind,
        remaining: Duration,
    ) -> Call {
        let spec = &self.fanout.spec().shards[shard];
        let (from, to) = spec
            .range
            .as_ref()
            .map_or(("", ""), |(a, b)| (a.as_str(), b.as_str()));
        let values = Values {
            shard: &spec.id,
            from,
            to,
            body: &self.question.body,
            query: &self.question.query,
        };
        let request = &self.fanout.request;
        let mut headers = self.headers.clone();
        for (name, value) in request.fill(&values) {
            headers.insert(name, value);
        }
        let ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        headers.insert("quorate-deadline-ms", HeaderValue::from(ms));
        if kind == Kind::Hedge {
            headers.insert("quorate-priority", HeaderValue::from_static("low"));
        }
        let path = match (&request.path, self.question.source) {
            (Some(template), _) => format!("{}{}", url.base(), template.path(&values)),
            (None, Source::Query) => with_query(url.base(), &self.question.query),
            (None, Source::Route) => with_query(
                &format!("{}{}", url.base(), self.question.path),
                &self.question.query,
            ),
        };
        let body = match &request.body {
            Some(template) => template.body(&values),
            None => self.question.body.clone(),
        };
        let limit = self.fanout.spec().limits.reply_bytes;
        Call {
            method: self.method.clone(),
            path: path.into(),
            headers,
            body,
            // An envelope takes a third more than what is in it, and lists leaves.
            reply_bytes: match self.fanout.spec().leaves {
                LeafKind::Nodes => limit.saturating_mul(2),
                LeafKind::Http | LeafKind::Grpc => limit,
            },
        }
    }
}

fn with_query(path: &str, query: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    }
}

/// Headers that ask for an answer only if something has changed: there is no such thing as a third of
/// "not modified".
fn is_conditional(name: &HeaderName) -> bool {
    name.as_str().starts_with("if-")
}

fn percent(key: &str) -> String {
    key.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// Reads an answer: what it says about itself, and what there is to merge.
pub(super) fn read(
    fanout: &Fanout,
    shard: usize,
    reply: &Reply,
) -> Result<(Told, Piece), CallError> {
    let status = reply.status.as_u16();
    if status == 429 || status == 503 {
        return Err(CallError {
            reason: Reason::Pushback,
            pushback: true,
            detail: format!("the leaf answered {status}: it has too much to do"),
        });
    }
    if !reply.status.is_success() {
        return Err(CallError::new(
            Reason::Status(status),
            if reply.status.is_redirection() {
                format!(
                    "the leaf answered {status}; redirects are not followed: name the place it leads to"
                )
            } else {
                format!("the leaf answered {status}")
            },
        ));
    }
    let encoded = reply.headers.get(CONTENT_ENCODING);
    if encoded.is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(CallError::new(
            Reason::ContentType,
            "the answer is packed (Content-Encoding), although it was not asked for",
        ));
    }
    let content_type = reply.headers.get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let piece = Piece {
        shard: Arc::clone(fanout.shard_id(shard)),
        index: u32::try_from(shard).unwrap_or(u32::MAX),
        status,
        content_type: content_type.map(Into::into),
        body: reply.body.clone(),
        nested: false,
    };
    if fanout.spec().leaves == LeafKind::Nodes {
        return nested(piece);
    }
    let partial = reply.headers.get("quorate-complete");
    let partial = partial.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"false"));
    let told = if partial { Told::Partial } else { Told::Whole };
    Ok((told, piece))
}

fn nested(piece: Piece) -> Result<(Told, Piece), CallError> {
    let nonsense = |detail: String| CallError::new(Reason::Nonsense, detail);
    let envelope: Envelope = serde_json::from_slice(&piece.body)
        .map_err(|error| nonsense(format!("the node's answer is no envelope: {error}")))?;
    let body = match (&envelope.result, &envelope.result_base64) {
        (Some(result), None) => Bytes::copy_from_slice(result.get().as_bytes()),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|_| nonsense("the node's result is no base64".to_owned()))?,
        _ => return Err(nonsense("the node's answer has no result".to_owned())),
    };
    let counts = &envelope.leaves;
    let told = Nested {
        leaves: Counts {
            planned: counts.planned,
            merged: counts.merged,
            failed: counts.failed,
            timed_out: counts.timed_out,
            skipped: counts.skipped,
            unneeded: counts.unneeded,
        },
        covered: envelope
            .covered
            .iter()
            .map(|covered| Covered {
                map: MapId {
                    name: covered.map.as_str().into(),
                    version: covered.version,
                },
                shards: covered.shards.iter().map(|id| id.as_str().into()).collect(),
            })
            .collect(),
        partial: !envelope.complete,
    };
    let piece = Piece {
        content_type: envelope.content_type.map(Into::into),
        body,
        nested: true,
        ..piece
    };
    Ok((Told::Nested(Box::new(told)), piece))
}
