//! Why a shard, or one attempt at it, came to nothing.

use std::fmt;

/// The closed list of reasons. The name ([`Reason::as_str`]) stands in answers and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The balancer had no replica to offer that was not tried.
    NoReplica,
    /// No connection: refused, unreachable, handshake failed. Nothing was sent.
    Connect,
    /// The connection or stream ended before an answer: a crash, perhaps.
    Reset,
    /// The body ended before its announced length, or its connection did.
    Truncated,
    /// A status that is not a success.
    Status(u16),
    /// The leaf refused because it has too much to do (429 or 503).
    Pushback,
    /// The body is larger than [`super::Caps::reply_bytes`].
    TooLarge,
    /// All bodies of this request together exceed [`super::Caps::request_bytes`].
    RequestBytes,
    /// The body is not of the content type that the merger reads.
    ContentType,
    /// The body is not what the merger reads: no JSON, a pointer that leads nowhere, wrong counts.
    Nonsense,
    /// The merger's `merge_bytes` would be exceeded.
    MergeBytes,
    /// The answer covers a leaf that another merged answer covers already.
    Overlap,
    /// The answer was made under another version of a shard map than one merged already.
    MapVersion,
    /// The attempt ran longer than [`super::Plan::attempt_timeout`].
    Timeout,
    /// The request's cutoff came first.
    Deadline,
    /// The plan says that this shard cannot match.
    NoMatch,
    /// The canary failed, so nothing more was sent.
    Canary,
    /// The policy was met without it.
    PolicyMet,
    /// The policy could no longer be met, so waiting for it was pointless.
    OutOfReach,
    /// Whoever asked is gone.
    Cancelled,
}

impl Reason {
    /// The reason as it stands in answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoReplica => "no_replica",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Truncated => "truncated",
            Self::Status(_) => "status",
            Self::Pushback => "pushback",
            Self::TooLarge => "too_large",
            Self::RequestBytes => "request_bytes",
            Self::ContentType => "content_type",
            Self::Nonsense => "nonsense",
            Self::MergeBytes => "merge_bytes",
            Self::Overlap => "overlap",
            Self::MapVersion => "map_version",
            Self::Timeout => "timeout",
            Self::Deadline => "deadline",
            Self::NoMatch => "no_match",
            Self::Canary => "canary",
            Self::PolicyMet => "policy_met",
            Self::OutOfReach => "out_of_reach",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether another replica may do better. A body that is too large here is too large there, and
    /// a 4xx other than 408 and 429 is about the request.
    pub const fn retryable(self) -> bool {
        match self {
            Self::Connect
            | Self::Reset
            | Self::Truncated
            | Self::Pushback
            | Self::ContentType
            | Self::Nonsense
            | Self::MapVersion
            | Self::Timeout => true,
            Self::Status(status) => status >= 500 || status == 408 || status == 429,
            _ => false,
        }
    }

    /// Whether the request may have done this to the leaf: it died over it, or hung.
    pub const fn crash(self) -> bool {
        matches!(
            self,
            Self::Reset | Self::Truncated | Self::Timeout | Self::Deadline
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            reason => f.write_str(reason.as_str()),
        }
    }
}
