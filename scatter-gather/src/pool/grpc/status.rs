//! How a call of gRPC ended, in the words of this crate.

use crate::gather::Reason;
use crate::pool::{CallError, Reply};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Characters of a status's text that are kept.
const TEXT_MAX: usize = 200;

/// Refuses an answer that is not gRPC, has not ended, or did not end with OK.
pub(super) fn check(reply: &Reply) -> Result<(), CallError> {
    let content_type = reply
        .headers
        .get(CONTENT_TYPE)
        .map(http::HeaderValue::as_bytes);
    if !content_type.is_some_and(|given| given.starts_with(b"application/grpc")) {
        let status = reply.status.as_u16();
        let told =
            format!("the leaf does not speak gRPC (it answered {status} in another content type)");
        return Err(match status {
            429 | 503 => CallError {
                pushback: true,
                ..CallError::new(Reason::Pushback, told)
            },
            _ if reply.status.is_success() => CallError::new(Reason::ContentType, told),
            _ => CallError::new(Reason::Status(status), told),
        });
    }
    let none = HeaderMap::new();
    // An answer of trailers alone has them in its head.
    let trailers = if reply.headers.contains_key("grpc-status") {
        &reply.headers
    } else {
        reply.trailers.as_ref().unwrap_or(&none)
    };
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let Some(code) = text("grpc-status").and_then(|code| code.parse::<u8>().ok()) else {
        let told = "the answer ended without a status of gRPC";
        return Err(CallError::new(Reason::Truncated, told));
    };
    if code == 0 {
        return Ok(());
    }
    let (name, status) = meaning(code);
    let message = unescape(text("grpc-message").unwrap_or_default());
    let asked_for_less =
        status == 429 || status == 503 || trailers.contains_key("grpc-retry-pushback-ms");
    Err(CallError {
        reason: if asked_for_less {
            Reason::Pushback
        } else {
            Reason::Status(status)
        },
        pushback: asked_for_less,
        detail: if message.is_empty() {
            format!("the leaf answered {name}")
        } else {
            format!("the leaf answered {name}: {message}")
        },
    })
}

/// A code's name, and the status of HTTP that says the same to a retry: below 500 is about the request.
fn meaning(code: u8) -> (&'static str, u16) {
    match code {
        1 => ("CANCELLED", 500),
        3 => ("INVALID_ARGUMENT", 400),
        4 => ("DEADLINE_EXCEEDED", 504),
        5 => ("NOT_FOUND", 404),
        6 => ("ALREADY_EXISTS", 409),
        7 => ("PERMISSION_DENIED", 403),
        8 => ("RESOURCE_EXHAUSTED", 429),
        9 => ("FAILED_PRECONDITION", 400),
        10 => ("ABORTED", 500),
        11 => ("OUT_OF_RANGE", 400),
        12 => ("UNIMPLEMENTED", 501),
        13 => ("INTERNAL", 500),
        14 => ("UNAVAILABLE", 503),
        15 => ("DATA_LOSS", 500),
        16 => ("UNAUTHENTICATED", 401),
        _ => ("UNKNOWN", 500),
    }
}

/// `grpc-message`: `%XX` to bytes, what is no UTF-8 replaced, cut.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len().min(TEXT_MAX * 4));
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes)
        .chars()
        .take(TEXT_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, StatusCode};

    fn reply(
        status: u16,
        headers: &[(&'static str, &'static str)],
        trailers: &[(&'static str, &'static str)],
    ) -> Reply {
        let map = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            pairs.collect::<HeaderMap>()
        };
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: map(headers),
            body: bytes::Bytes::new(),
            trailers: (!trailers.is_empty()).then(|| map(trailers)),
            held: Default::default(),
        }
    }

    /// OK is OK wherever it stands; what has no status was cut off; texts are readable; who asks for less
    /// load is heard.
    #[test]
    fn ends_are_read() {
        let grpc = ("content-type", "application/grpc+proto");
        assert!(check(&reply(200, &[grpc], &[("grpc-status", "0")])).is_ok());
        assert!(check(&reply(200, &[grpc, ("grpc-status", "0")], &[])).is_ok());
        let ends = |status, headers: &[_], trailers: &[_]| {
            check(&reply(status, headers, trailers)).unwrap_err()
        };
        assert_eq!(ends(200, &[grpc], &[]).reason, Reason::Truncated);
        assert_eq!(
            ends(200, &[grpc], &[("grpc-status", "x")]).reason,
            Reason::Truncated
        );
        assert_eq!(
            ends(200, &[("content-type", "text/html")], &[]).reason,
            Reason::ContentType
        );
        assert_eq!(ends(404, &[], &[]).reason, Reason::Status(404));
        assert!(ends(503, &[], &[]).pushback);
        let wrong = ends(
            200,
            &[grpc],
            &[("grpc-status", "3"), ("grpc-message", "no%20%C3%BC%zz")],
        );
        assert_eq!((wrong.reason, wrong.pushback), (Reason::Status(400), false));
        assert_eq!(wrong.detail, "the leaf answered INVALID_ARGUMENT: no ü%zz");
        let busy = ends(
            200,
            &[
                grpc,
                ("grpc-status", "13"),
                ("grpc-retry-pushback-ms", "50"),
            ],
            &[],
        );
        assert_eq!((busy.reason, busy.pushback), (Reason::Pushback, true));
        assert!(ends(200, &[grpc], &[("grpc-status", "8")]).pushback);
        assert_eq!(
            ends(200, &[grpc], &[("grpc-status", "99")]).reason,
            Reason::Status(500)
        );
    }
}
