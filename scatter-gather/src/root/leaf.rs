//! What is sent to a leaf, and what its answer says.
//!
//! Level 0 is any HTTP service: a success is an answer. Level 1 reads `Quorate-Deadline-Ms` and may say
//! `Quorate-Complete: false`. An inner node answers in an envelope that lists the leaves it covers.

use super::answer::Envelope;
use super::fanout::Fanout;
use super::question::{Question, Source};
use crate::definition::{LeafKind, Values, is_ours};
use crate::gather::{Covered, Kind, MapId, Nested, Reason, Told};
use crate::merge::Piece;
use crate::pool::{Call, CallError, Reply, Target};
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

/// What a leaf says about its own answer; looked up in each.
const COMPLETE: HeaderName = HeaderName::from_static("quorate-complete");

/// What is the same in all calls of a request.
pub(super) struct Outgoing<'a> {
    fanout: &'a Fanout,
    question: &'a Question,
    method: Method,
    headers: HeaderMap,
    /// The headers of the call before, with the deadline and priority they tell: the first calls of a
    /// request go out together and are told the same.
    told: Option<(u64, bool, Arc<HeaderMap>)>,
    reply_bytes: u64,
    /// The leaves speak gRPC.
    addressed: bool,
    /// The leaves are nodes, and the question is about keys: each node is told of its own.
    keyed: bool,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(fanout: &'a Fanout, question: &'a Question) -> Self {
        let spec = fanout.spec();
        let method = spec.request.method.as_deref();
        let method = method.and_then(|method| method.parse().ok());
        let limit = spec.limits.reply_bytes;
        Self {
            fanout,
            question,
            method: method.unwrap_or_else(|| question.method.clone()),
            headers: headers(fanout, question),
            told: None,
            addressed: spec.leaves == LeafKind::Grpc,
            keyed: spec.leaves == LeafKind::Nodes && !question.keys.is_empty(),
            // An envelope takes a third more than what is in it, and lists leaves.
            reply_bytes: match spec.leaves {
                LeafKind::Nodes => limit.saturating_mul(2),
                LeafKind::Http | LeafKind::Grpc => limit,
            },
        }
    }

    /// The call to one replica of a shard.
    ///
    /// # Errors
    /// A path that is none.
    pub(super) fn call(
        &mut self,
        shard: usize,
        target: &Target,
        kind: Kind,
        remaining: Duration,
    ) -> Result<Call, CallError> {
        let low_priority = kind == Kind::Hedge;
        let headers = self.told(remaining, low_priority);
        let mut call = Call {
            headers,
            body: self.question.body.clone(),
            remaining: Some(remaining),
            low_priority,
            // Over HTTP nobody is told.
            shard: (self.addressed || target.is_local())
                .then(|| Arc::clone(self.fanout.addressed(shard))),
            ..Call::new(self.method.clone(), target.path().clone(), self.reply_bytes)
        };
        let request = &self.fanout.request;
        let question = self.question;
        if self.keyed {
            self.add_keys(shard, &mut call);
        }
        if request.is_plain() && question.source == Source::Query && question.query.is_empty() {
            return Ok(call);
        }
        let spec = &self.fanout.spec().shards[shard];
        let (from, to) = spec
            .range
            .as_ref()
            .map_or(("", ""), |(a, b)| (a.as_str(), b.as_str()));
        let values = Values {
            shard: &spec.id,
            from,
            to,
            body: &question.body,
            query: &question.query,
        };
        if !request.headers.is_empty() {
            let headers = Arc::make_mut(&mut call.headers);
            for (name, value) in request.fill(&values) {
                headers.insert(name, value);
            }
        }
        let base = target.url().base();
        let path = match (&request.path, question.source) {
            (Some(template), _) => format!("{base}{}", template.path(&values)),
            (None, Source::Query) => with_query(base, &question.query),
            (None, Source::Route) => {
                with_query(&format!("{base}{}", question.path), &question.query)
            }
        };
        call.path = path
            .parse()
            .map_err(|_| CallError::new(Reason::Connect, format!("{path:?} is no path")))?;
        if let Some(template) = &request.body {
            call.body = template.body(&values);
        }
        Ok(call)
    }

    fn add_keys(&self, shard: usize, call: &mut Call) {
        let headers = Arc::make_mut(&mut call.headers);
        for key in &self.question.keys {
            let own = self.fanout.keys().shard(key) == Ok(shard);
            if own && let Ok(value) = HeaderValue::try_from(percent(key)) {
                headers.append("quorate-key", value);
            }
        }
    }

    fn told(&mut self, remaining: Duration, low_priority: bool) -> Arc<HeaderMap> {
        let ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        if let Some((told_ms, told_low, headers)) = &self.told
            && (*told_ms, *told_low) == (ms, low_priority)
        {
            return Arc::clone(headers);
        }
        let mut headers = self.headers.clone();
        headers.insert("quorate-deadline-ms", HeaderValue::from(ms));
        if low_priority {
            headers.insert("quorate-priority", HeaderValue::from_static("low"));
        }
        let headers = Arc::new(headers);
        self.told = Some((ms, low_priority, Arc::clone(&headers)));
        headers
    }
}

/// The headers that leaves get, but for what differs from call to call.
fn headers(fanout: &Fanout, question: &Question) -> HeaderMap {
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
    if let Some(own) = &fanout.credential
        && !headers.contains_key(AUTHORIZATION)
    {
        headers.insert(AUTHORIZATION, own.clone());
    }
    if fanout.spec().leaves != LeafKind::Nodes {
        let theirs = headers.get(ACCEPT).map(HeaderValue::as_bytes);
        if theirs.is_none_or(|a| a.starts_with(b"application/vnd.quorate.")) {
            headers.remove(ACCEPT);
            // Without the header everything is welcome.
            if fanout.merger().accepts() != "*/*" {
                headers.insert(ACCEPT, HeaderValue::from_static(fanout.merger().accepts()));
            }
        }
        return headers;
    }
    headers.insert(ACCEPT, HeaderValue::from_static(ENVELOPE));
    headers.insert("quorate-nested", HeaderValue::from_static("1"));
    headers.insert("quorate-depth", HeaderValue::from(question.depth + 1));
    if !question.may_hedge {
        headers.insert("quorate-hedge-budget", HeaderValue::from_static("0"));
    }
    if let Some((from, to)) = &question.range {
        let range = format!("{},{}", percent(from), percent(to));
        if let Ok(value) = HeaderValue::try_from(range) {
            headers.insert("quorate-range", value);
        }
    }
    headers
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
        let told = match status {
            300..=399 => "; redirects are not followed: name the place it leads to",
            404 | 405 => "; request.path and request.method say what leaves are asked",
            _ => "",
        };
        return Err(CallError::new(
            Reason::Status(status),
            format!("the leaf answered {status}{told}"),
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
    let partial = reply.headers.get(COMPLETE);
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
    let told = Nested {
        leaves: envelope.leaves,
        covered: envelope
            .covered
            .iter()
            .map(|covered| Covered {
                map: MapId {
                    name: (*covered.map).into(),
                    version: covered.version,
                },
                shards: covered.shards.iter().map(|id| (**id).into()).collect(),
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
