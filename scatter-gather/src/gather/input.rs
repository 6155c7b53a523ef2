//! What can happen to a gather.

use super::ids::{AttemptId, Replica};
use super::nested::Nested;
use super::reason::Reason;
use std::time::Duration;

/// What a leaf says about its own answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// Nothing: a plain service, whose answer is whole.
    #[default]
    Whole,
    /// That something is missing in it.
    Partial,
    /// An inner node's account of the leaves below it.
    Nested(Box<Nested>),
}

/// One input. The closed list. An input for an attempt that no longer counts is ignored and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin. Once.
    Start,
    /// Answer to [`super::Output::Choose`]: the balancer offers this replica.
    Chosen {
        /// The attempt it is for.
        attempt: AttemptId,
        /// The replica, none of those excluded.
        replica: Replica,
        /// Its median latency, zero if unknown. A retry or hedge is not sent when the remaining time
        /// is shorter.
        p50: Duration,
        /// The plan's hedging quantile of its latency, if known.
        late_after: Option<Duration>,
    },
    /// Answer to [`super::Output::Choose`]: there is none to offer.
    NoReplica {
        /// The attempt it is for.
        attempt: AttemptId,
    },
    /// So much of a body has come so far. Needed only for bodies that come in pieces; the shell may
    /// leave it out below 64 KiB.
    Progress {
        /// The attempt.
        attempt: AttemptId,
        /// Bytes so far, all pieces together.
        bytes: u64,
    },
    /// A successful answer has arrived whole, trailers included, and is staged by the shell, until
    /// this step's outputs are carried out: unless one of them accepts it, it is dropped then.
    Reply {
        /// The attempt.
        attempt: AttemptId,
        /// Bytes of its body.
        bytes: u64,
        /// What it says about itself.
        told: Told,
    },
    /// An attempt has failed; nothing of it is staged any more.
    Failed {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: Reason,
        /// The leaf asked for less load (429, 503, or `grpc-retry-pushback-ms`): hedging stops.
        pushback: bool,
    },
    /// Answer to [`super::Output::Accept`]: the merger has it.
    Merged {
        /// The attempt.
        attempt: AttemptId,
    },
    /// Answer to [`super::Output::Accept`]: the merger refused it and is as it was before.
    Refused {
        /// The attempt.
        attempt: AttemptId,
        /// Why.
        reason: Reason,
    },
    /// The time of the last [`super::Output::SetTimer`] has come. A timer too many does no harm.
    Timer,
    /// Whoever asked is gone: end now.
    Cancel,
}
