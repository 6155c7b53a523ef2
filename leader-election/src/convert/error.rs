//! Errors inside answers of a stream. The error of a whole call travels as a gRPC status instead.

use quorate_core::error::{Code, Error};
use quorate_proto::election as pb;

/// To protobuf.
pub fn error_into(error: Error) -> pb::Error {
    pb::Error {
        code: error.code.as_str().to_owned(),
        detail: error.detail,
        retry_after_ms: error.retry_after_ms,
    }
}

/// From protobuf. A code this build does not know comes from a newer server and says nothing about
/// whether the operation was done.
pub fn error_from(error: pb::Error) -> Error {
    match Code::parse(&error.code) {
        Some(code) => Error {
            code,
            detail: error.detail,
            retry_after_ms: error.retry_after_ms,
        },
        None => Error {
            code: Code::OutcomeUnknown,
            detail: format!(
                "the server answered the unknown code {:?}: {}",
                error.code.chars().take(64).collect::<String>(),
                error.detail
            ),
            retry_after_ms: error.retry_after_ms,
        },
    }
}
