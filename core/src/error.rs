//! One error type and one table: every refusal of every pattern has a [`Code`], and the code alone
//! decides the HTTP status, the gRPC status and whether a retry makes sense.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What happened to the operation that failed. A caller decides by this, not by the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Refused; the same request will be refused again.
    Rejected,
    /// Certainly not done; trying again may succeed.
    Retryable,
    /// Perhaps done. Safe to retry only under the same idempotency key or stream number.
    Unknown,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $http:literal $grpc:literal $kind:ident $title:literal;)*) => {
        /// The closed list of error codes of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            /// Every code, for tables in docs and tests.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code as it stands in `code` of a problem and in `ErrorInfo.reason`.
            pub const fn as_str(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The HTTP status.
            pub const fn http_status(self) -> u16 { match self { $(Self::$variant => $http,)* } }
            /// The gRPC status, as its number in google.rpc.Code.
            pub const fn grpc_code(self) -> i32 { match self { $(Self::$variant => $grpc,)* } }
            /// What the failure says about the operation.
            pub const fn kind(self) -> Kind { match self { $(Self::$variant => Kind::$kind,)* } }
            /// The short human title of a problem.
            pub const fn title(self) -> &'static str { match self { $(Self::$variant => $title,)* } }
        }
    };
}

codes! {
    /// The request is malformed.
    InvalidArgument "invalid_argument" 400 3 Rejected "invalid request";
    /// No or a wrong credential.
    Unauthenticated "unauthenticated" 401 16 Rejected "credential required";
    /// The caller may not do this.
    Forbidden "forbidden" 403 7 Rejected "not allowed";
    /// No such thing.
    NotFound "not_found" 404 5 Rejected "not found";
    /// A newer grant of the same resource exists.
    StaleFencingToken "stale_fencing_token" 409 9 Rejected "superseded by a newer lease";
    /// The lease was settled before, differently.
    AlreadySettled "already_settled" 409 9 Rejected "already settled";
    /// The batch takes no more jobs.
    BatchSealed "batch_sealed" 409 9 Rejected "batch is sealed";
    /// Another live session holds this candidate id.
    CandidateTaken "candidate_taken" 409 6 Rejected "candidate id in use";
    /// The target is not a candidate.
    NotACandidate "not_a_candidate" 409 9 Rejected "not a candidate";
    /// The lease has ended.
    LeaseExpired "lease_expired" 410 9 Rejected "lease expired";
    /// The session is unknown or has ended.
    SessionExpired "session_expired" 410 9 Rejected "session expired";
    /// The body or a field is over its bound.
    TooLarge "too_large" 413 8 Rejected "too large";
    /// The content type is not understood.
    UnsupportedMediaType "unsupported_media_type" 415 3 Rejected "unsupported media type";
    /// The idempotency key was used for another request.
    IdempotencyMismatch "idempotency_mismatch" 422 9 Rejected "idempotency key reused";
    /// A quota or a limit on load is reached.
    OverQuota "over_quota" 429 8 Retryable "over quota";
    /// A bug of ours.
    Internal "internal" 500 13 Unknown "internal error";
    /// Not built yet.
    Unimplemented "unimplemented" 501 12 Rejected "not implemented";
    /// Too few shards answered.
    InsufficientShards "insufficient_shards" 502 14 Retryable "too few shards answered";
    /// No leader or no majority; certainly not done.
    NoQuorum "no_quorum" 503 14 Retryable "no quorum";
    /// Perhaps done.
    OutcomeUnknown "outcome_unknown" 503 14 Unknown "outcome unknown";
    /// The deadline passed before the work was begun or, for reads, before it ended.
    DeadlineExceeded "deadline_exceeded" 504 4 Retryable "deadline exceeded";
    /// A disk of the cluster is full.
    StorageFull "storage_full" 507 8 Retryable "storage full";
}

impl Code {
    /// Whether the very same request may be sent again without a key and without harm.
    pub fn retryable(self) -> bool {
        self.kind() == Kind::Retryable
    }

    /// The code of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal or failure that a caller can act on. `detail` says what to do; it never holds a secret
/// or a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What happened and what to do about it.
    pub detail: String,
    /// When trying again makes sense, if it is known.
    pub retry_after_ms: Option<u64>,
}

impl Error {
    /// A failure with this code and text.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_ms: None,
        }
    }

    /// What an operation ends with whose last attempt ended with this. `unknown` keeps what became of an attempt
    /// that may have been executed: after one, an operation is not called certainly not done, nor refused because
    /// the client stream that remembered it is over.
    #[must_use]
    pub fn after(self, unknown: &mut Option<Self>) -> Self {
        let says_not_done =
            self.code.kind() == Kind::Retryable || self.code == Code::SessionExpired;
        match unknown {
            Some(unknown) if says_not_done => unknown.clone(),
            _ => {
                if self.code.kind() == Kind::Unknown {
                    *unknown = Some(self.clone());
                }
                self
            }
        }
    }

    /// The same failure with a hint when to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Shorthand for [`Code::InvalidArgument`].
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, detail)
    }

    /// Shorthand for [`Code::NotFound`].
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// Shorthand for [`Code::Unimplemented`].
    pub fn unimplemented(what: impl fmt::Display) -> Self {
        Self::new(
            Code::Unimplemented,
            format!("{what} is not built yet; leave it out"),
        )
    }
}

impl From<crate::types::NameError> for Error {
    fn from(error: crate::types::NameError) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After an attempt that may have been executed nothing is certainly not done; a refusal stands.
    #[test]
    fn what_may_have_been_done_stays_unknown() {
        let of = |code| Error::new(code, "");
        let mut unknown = None;
        assert_eq!(of(Code::NoQuorum).after(&mut unknown).code, Code::NoQuorum);
        assert_eq!(unknown, None);
        let lost = Error::new(Code::OutcomeUnknown, "lost");
        assert_eq!(lost.clone().after(&mut unknown), lost);
        for code in [
            Code::NoQuorum,
            Code::OverQuota,
            Code::StorageFull,
            Code::SessionExpired,
        ] {
            assert_eq!(of(code).after(&mut unknown), lost, "{code}");
        }
        for code in [Code::InvalidArgument, Code::AlreadySettled] {
            assert_eq!(of(code).after(&mut unknown).code, code);
        }
    }
}
