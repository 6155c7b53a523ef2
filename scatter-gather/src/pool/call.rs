//! One call, as data, and how its answer is read.

use super::admission::{Admission, Held};
use crate::gather::Reason;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// What is sent. Cloning one copies no text.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// Path and query at the target.
    pub path: PathAndQuery,
    /// Headers as they go over HTTP, without `Host` and `Content-Length`.
    pub headers: Arc<HeaderMap>,
    /// The body.
    pub body: Bytes,
    /// Longest answer in bytes.
    pub reply_bytes: u64,
    /// How long its answer is of use, if that is known: for leaves of gRPC and of this process. Over HTTP
    /// it is among the headers.
    pub remaining: Option<Duration>,
    /// It is a hedge.
    pub low_priority: bool,
    /// Which shard is asked, where leaves are told.
    pub shard: Option<Arc<Addressed>>,
}

impl Call {
    /// A call without headers and body.
    pub fn new(method: Method, path: PathAndQuery, reply_bytes: u64) -> Self {
        Self {
            method,
            path,
            headers: Arc::default(),
            body: Bytes::new(),
            reply_bytes,
            remaining: None,
            low_priority: false,
            shard: None,
        }
    }
}

impl Call {
    /// The same with so much time left, where it says how much there is.
    #[must_use]
    #[cfg(feature = "server")]
    pub(crate) fn within(mut self, remaining: Duration) -> Self {
        self.remaining = Some(remaining);
        let ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let timeout =
            http::HeaderValue::try_from(quorate_core::grpc_timeout::format(remaining)).ok();
        for (name, value) in [
            ("quorate-deadline-ms", Some(http::HeaderValue::from(ms))),
            (quorate_core::grpc_timeout::GRPC_TIMEOUT, timeout),
        ] {
            if let Some(value) = value
                && self.headers.contains_key(name)
            {
                Arc::make_mut(&mut self.headers).insert(name, value);
            }
        }
        self
    }
}

/// The shard that a call is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressed {
    /// Its id.
    pub id: Arc<str>,
    /// The keys it has, if the map has ranges.
    pub range: Option<(String, String)>,
    /// Its leaves speak gRPC.
    pub grpc: bool,
}

/// A whole answer, whatever its status.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// What came after the body.
    pub trailers: Option<HeaderMap>,
    /// Keeps the room its body takes.
    pub held: Held,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct CallError {
    /// For the account.
    pub reason: Reason,
    /// The leaf asked for less load.
    pub pushback: bool,
    /// For people.
    pub detail: String,
}

impl CallError {
    /// A failure without pushback.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            pushback: false,
            detail: detail.into(),
        }
    }

    /// What a failure of the connection means.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let reason = if error.is_incomplete_message() || error.is_body_write_aborted() {
            Reason::Truncated
        } else if error.is_parse() {
            Reason::Nonsense
        } else {
            Reason::Reset
        };
        Self::new(reason, error.to_string())
    }
}

/// Reads a body whole, within its bound and the process's.
pub(super) async fn read(
    headers: &HeaderMap,
    body: &mut Incoming,
    reply_bytes: u64,
    admission: &Arc<Admission>,
) -> Result<(Bytes, Option<HeaderMap>, Held), CallError> {
    let too_large = || {
        CallError::new(
            Reason::TooLarge,
            format!("the answer is over {reply_bytes} bytes (limits.reply_bytes)"),
        )
    };
    let announced: Option<u64> = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    if announced.is_some_and(|bytes| bytes > reply_bytes) {
        return Err(too_large());
    }
    let mut held = Held::default();
    let mut first = Bytes::new();
    let mut whole = Whole {
        bytes: Vec::new(),
        announced: announced.and_then(|bytes| usize::try_from(bytes).ok()),
    };
    let mut trailers = None;
    let mut bytes = 0_u64;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| match CallError::of(&error) {
            // The head has come; whatever ends the body before its end has cut it.
            cut if cut.reason == Reason::Reset => CallError::new(Reason::Truncated, cut.detail),
            other => other,
        })?;
        match frame.into_data() {
            Ok(data) => {
                bytes += data.len() as u64;
                if bytes > reply_bytes {
                    return Err(too_large());
                }
                admission.reserve(&mut held, data.len()).map_err(|reason| {
                    CallError::new(reason, "this process holds too many bytes of answers")
                })?;
                // Most answers are one frame, which then is the body without a copy.
                if first.is_empty() && whole.bytes.is_empty() {
                    first = data;
                } else {
                    if whole.bytes.is_empty() {
                        whole.append(&std::mem::take(&mut first));
                    }
                    whole.append(&data);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let body = if whole.bytes.is_empty() {
        first
    } else {
        whole.bytes.into()
    };
    Ok((body, trailers, held))
}

/// A body that is put together from its frames.
struct Whole {
    bytes: Vec<u8>,
    /// Its length, by its head's word.
    announced: Option<usize>,
}

/// Room that is made on a head's word alone: more only as bytes come, so that a leaf that announces much and
/// sends nothing takes nothing.
const ROOM_FIRST: usize = 2 << 20;

impl Whole {
    /// Appends a frame. Room doubles, and ends at what was announced: a body of a little over a megabyte
    /// does not take two.
    fn append(&mut self, data: &[u8]) {
        let needed = self.bytes.len() + data.len();
        if needed > self.bytes.capacity() {
            let double = 2 * self.bytes.capacity();
            let room = match self.announced.filter(|announced| *announced >= needed) {
                Some(announced) => double.max(ROOM_FIRST).min(announced),
                None => double,
            };
            self.bytes
                .reserve_exact(room.max(needed) - self.bytes.len());
        }
        self.bytes.extend_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(bytes: usize, announced: Option<usize>) -> Whole {
        let mut whole = Whole {
            bytes: Vec::new(),
            announced,
        };
        for frame in vec![7; bytes].chunks(16_000) {
            whole.append(frame);
        }
        assert_eq!(whole.bytes, vec![7; bytes]);
        whole
    }

    /// What was announced takes just its room; what was not, at most twice; and a false word does no harm.
    #[test]
    fn bodies_take_the_room_they_need() {
        for bytes in [20_000, (1 << 20) + 1_000, 5 << 20] {
            assert_eq!(filled(bytes, Some(bytes)).bytes.capacity(), bytes);
            assert!(filled(bytes, None).bytes.capacity() <= 2 * bytes);
            assert!(filled(bytes, Some(100)).bytes.capacity() <= 2 * bytes);
        }
        let little = filled(20_000, Some(1 << 30));
        assert!(little.bytes.capacity() <= ROOM_FIRST);
    }
}
