//! Settlements as REST writes them: alone, in a list, and within a request for work.

use super::values::{AnyJson, Base64, BlobDto, blobs_in, given, raw};
use crate::convert::reply::misfit;
use crate::convert::within;
use crate::machine::{LeaseId, SessionId, Settle, Settled, Settlement, limits};
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

    /// What is to be settled, and the list to answer it with, in the order complete, fail, release. A lease id that
    /// is none is answered for itself, as everything else that is wrong with one item.
    pub(super) fn into_settle(self) -> Result<(Vec<Settle>, Answers), Error> {
        let mut settle = Vec::new();
        let mut answers = Vec::new();
        let mut take = |lease: String, read: Result<Settle, Error>| {
            let refused = read.map(|one| settle.push(one)).err();
            answers.push((lease, refused));
        };
        for item in self.complete {
            take(item.lease_id.clone(), item.into_settle());
        }
        for item in self.fail {
            take(item.lease_id.clone(), item.into_settle());
        }
        for item in self.release {
            take(item.lease_id.clone(), item.into_settle());
        }
        if answers.len() > limits::LEASES_PER_REQUEST_MAX {
            return Err(Error::invalid(format!(
                "{} settlements in one request; send at most {}",
                answers.len(),
                limits::LEASES_PER_REQUEST_MAX
            )));
        }
        Ok((settle, Answers(answers)))
    }
}

/// The leases of a list of settlements, with why one of them was not even asked for.
pub(super) struct Answers(Vec<(String, Option<Error>)>);

impl Answers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// With what became of those that were asked for.
    pub(super) fn with(self, outcomes: Vec<Settled>) -> Vec<SettledOut> {
        let mut outcomes = outcomes.into_iter();
        let answers = self.0.into_iter();
        answers
            .map(|(lease_id, refused)| {
                let error = match refused {
                    Some(error) => Some(error),
                    None => outcomes.next().unwrap_or_else(|| Err(misfit())).err(),
                };
                SettledOut {
                    lease_id,
                    settled: error.is_none(),
                    error: error.map(|error| Problem::from(&error)),
                }
            })
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
