//! [`Error`] to gRPC status and back, for servers and clients alike.
//!
//! A status carries the code as `ErrorInfo.reason` (google.rpc, domain `quorate`) and the hint when
//! to try again as `RetryInfo`. On the way back the reason decides. A status without one was not made
//! by Quorate: a proxy, a dead connection, a server that is something else. Whether the operation was
//! done is then known only for refusals that precede any work; the rest is `outcome_unknown`.

use crate::error::{Code, Error};
use std::collections::HashMap;
use std::time::Duration;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

/// `ErrorInfo.domain` of every status of ours.
pub const DOMAIN: &str = "quorate";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.code.as_str(), DOMAIN, HashMap::new());
        if let Some(ms) = error.retry_after_ms {
            details.set_retry_info(Some(Duration::from_millis(ms)));
        }
        let code = tonic::Code::from_i32(error.code.grpc_code());
        Self::with_error_details(code, error.detail, details)
    }
}

impl Error {
    /// What a gRPC call's failure means.
    pub fn from_status(status: &Status) -> Self {
        let ours = status
            .get_details_error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| Code::parse(&info.reason));
        let retry_after_ms = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
            .and_then(|delay| u64::try_from(delay.as_millis()).ok());
        let Some(code) = ours else {
            return Self::new(
                foreign(status.code()),
                format!("gRPC {:?}: {}", status.code(), status.message()),
            );
        };
        Self {
            code,
            detail: status.message().to_owned(),
            retry_after_ms,
        }
    }
}

/// The code for a status that says nothing of ours.
fn foreign(code: tonic::Code) -> Code {
    match code {
        tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::InvalidArgument,
        tonic::Code::Unauthenticated => Code::Unauthenticated,
        tonic::Code::PermissionDenied => Code::Forbidden,
        tonic::Code::NotFound => Code::NotFound,
        tonic::Code::Unimplemented => Code::Unimplemented,
        // tonic's own: a message over the limit of its decoder.
        tonic::Code::ResourceExhausted => Code::TooLarge,
        _ => Code::OutcomeUnknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_way_there_and_back() {
        for code in Code::ALL {
            let error = Error::new(*code, "what to do").retry_after_ms(250);
            let status = Status::from(error.clone());
            assert_eq!(status.code() as i32, code.grpc_code());
            assert_eq!(Error::from_status(&status), error);
            let bare = Error::new(*code, "");
            assert_eq!(Error::from_status(&Status::from(bare.clone())), bare);
        }
    }

    #[test]
    fn a_foreign_failure_is_never_taken_for_certainly_not_done() {
        for code in 1..=16 {
            let status = Status::new(tonic::Code::from_i32(code), "x");
            assert!(!Error::from_status(&status).code.retryable(), "{code}");
        }
    }
}
