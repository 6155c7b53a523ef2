//! Settlements as REST writes them: alone, in a list, and within a request for work.

use super::values::{AnyJson, Base64, BlobDto, blobs_in, given, raw};
use crate::convert::within;
use crate::machine::{LeaseId, SessionId, Settle, Settled, Settlement};
use quorate_core::error::Error;
use quorate_core::runtime::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// Makes two structs of one settlement: for a lease named in the path, and for an item of a list. serde
/// can deny unknown fields or flatten, not both.
macro_rules! settlement_in {
    ($(#[$doc:meta])* $alone:ident, $item:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    } |$value:ident| $settlement:expr) => {
        $(#[$doc])*
        #[derive(Default, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $alone {
            /// The session that holds the lease, checked when given.
            session: Option<String>,
            $($(#[$field_doc])* #[serde(default)] $field: $type,)*
        }

        $(#[$doc])*
        #[derive(Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $item {
            /// The grant.
            lease_id: String,
            /// The session that holds the lease, checked when given.
            #[serde(default)]
            session: Option<String>,
            $($(#[$field_doc])* #[serde(default)] $field: $type,)*
        }

        impl $alone {
            pub(super) fn of(self, lease: &str) -> Result<Settle, Error> {
                let $value = self;
                Ok(Settle {
                    lease: lease.parse()?,
                    session: session_in($value.session.as_deref())?,
                    settlement: $settlement,
                })
            }
        }

        impl $item {
            fn into_settle(self) -> Result<Settle, Error> {
                let $item { lease_id, session, $($field,)* } = self;
                let lease: LeaseId = lease_id.parse().map_err(|e| within("lease_id", e))?;
                $alone { session, $($field,)* }.of(&lease.to_string())
            }
        }
    };
}

settlement_in! {
    /// The work is done.
    Complete, CompleteItem {
        /// What came out: any JSON value, up to 64 KiB.
        #[serde(deserialize_with = "raw")]
        #[schema(value_type = Option<AnyJson>)]
        result: Option<Box<RawValue>>,
        /// Or any bytes.
        #[schema(value_type = Option<String>, content_encoding = "base64")]
        result_base64: Option<Base64>,
        /// Files that came out.
        outputs: Vec<BlobDto>,
    } |value| {
        let result = given("result", value.result, value.result_base64)?;
        let (result, result_is_json) = result.unwrap_or_default();
        Settlement::Complete { result, result_is_json, outputs: blobs_in(value.outputs) }
    }
}

settlement_in! {
    /// The attempt failed.
    Fail, FailItem {
        /// Why. Cut after 2 KiB.
        error: String,
        /// Whether another attempt makes sense; without one the job is dead at once. Default true.
        retry: Option<bool>,
        /// Overrides the backoff.
        delay_ms: Option<u64>,
        /// Exit code of the worker's process.
        exit_code: Option<i32>,
        /// Signal that ended it.
        signal: Option<i32>,
        /// The last output of it; of a longer one the last 4 KiB.
        log_tail: String,
    } |value| Settlement::Fail {
        error: value.error.into(),
        retry: value.retry.unwrap_or(true),
        delay_ms: value.delay_ms,
        exit_code: value.exit_code,
        signal: value.signal,
        log_tail: value.log_tail.into(),
    }
}

settlement_in! {
    /// The work was not begun: charges no attempt.
    Release, ReleaseItem {} |_value| Settlement::Release
}

/// Reads a session; absent is none.
pub(super) fn session_in(session: Option<&str>) -> Result<Option<SessionId>, Error> {
    session
        .map(|text| text.parse().map_err(|e| within("session", e)))
        .transpose()
}

/// Settlements of several leases.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleMany {
    #[serde(default)]
    complete: Vec<CompleteItem>,
    #[serde(default)]
    fail: Vec<FailItem>,
    #[serde(default)]
    release: Vec<ReleaseItem>,
}

impl SettleMany {
    pub(super) fn new(
        complete: Vec<CompleteItem>,
        fail: Vec<FailItem>,
        release: Vec<ReleaseItem>,
    ) -> Self {
        Self {
            complete,
            fail,
            release,
        }
    }

    /// In the order in which they are answered: complete, fail, release.
    pub(super) fn into_settle(self) -> Result<Vec<Settle>, Error> {
        fn list<T>(
            field: &'static str,
            items: Vec<T>,
            read: fn(T) -> Result<Settle, Error>,
        ) -> impl Iterator<Item = Result<Settle, Error>> {
            let items = items.into_iter().enumerate();
            items.map(move |(i, item)| {
                read(item).map_err(|e| within(format_args!("{field}[{i}]"), e))
            })
        }
        list("complete", self.complete, CompleteItem::into_settle)
            .chain(list("fail", self.fail, FailItem::into_settle))
            .chain(list("release", self.release, ReleaseItem::into_settle))
            .collect()
    }
}

/// What became of one settlement.
#[derive(Serialize, ToSchema)]
#[schema(as = SettleOutcome)]
pub(super) struct SettledOut {
    lease_id: String,
    /// It is recorded, now or by the same settlement before.
    settled: bool,
    /// Why not.
    error: Option<Problem>,
}

impl SettledOut {
    pub(super) fn list(leases: Vec<LeaseId>, outcomes: Vec<Settled>) -> Vec<Self> {
        let pairs = leases.into_iter().zip(outcomes);
        pairs
            .map(|(lease, outcome)| Self {
                lease_id: lease.to_string(),
                settled: outcome.is_ok(),
                error: outcome.err().map(|error| Problem::from(&error)),
            })
            .collect()
    }
}
