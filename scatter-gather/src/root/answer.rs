//! What a request comes to: a result, and the truth about it.

use super::fanout::Fanout;
use crate::gather::{Counts, Failure, Fate, Outcome};
use crate::merge::Merged;
use crate::pool::Replicas;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_core::error::{Code, Error};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Shards that a refusal names.
const NAMED_MAX: usize = 5;

/// An answer with its account.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The merged body.
    pub merged: Merged,
    /// Every planned shard was merged whole.
    pub complete: bool,
    /// The map it was made by.
    pub map: MapLine,
    /// Direct shards by fate.
    pub counts: Counts,
    /// Leaves of the whole tree by fate.
    pub leaves: Counts,
    /// The leaves that are in the result.
    pub covered: Vec<CoveredLine>,
    /// Shard by shard.
    pub shards: Vec<ShardLine>,
    /// Call by call.
    pub attempts: Vec<AttemptLine>,
    /// Hedges that were sent.
    pub hedges: u32,
    /// Retries that were sent.
    pub retries: u32,
    /// Extra calls that the budget denied.
    pub denied: u32,
    /// Many shards were late together, so that hedging stopped.
    pub late_together: bool,
    /// A leaf asked for less load, so that hedging stopped.
    pub pushback: bool,
    /// From the request to the end of gathering.
    pub elapsed: Duration,
    /// Status of HTTP, by the definition.
    pub status: u16,
}

/// A map and its version.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapLine {
    /// Its name.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub name: Arc<str>,
    /// Its version.
    pub version: u64,
}

/// One shard of an answer.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShardLine {
    /// Its id.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub shard: Arc<str>,
    /// `merged`, `failed`, `timed_out`, `skipped` or `unneeded`.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub outcome: Cow<'static, str>,
    /// Why, unless it was merged.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub reason: Option<Cow<'static, str>>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// It was merged, and its own answer was partial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Who gave the merged answer, or was asked last.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub replica: Option<Arc<str>>,
    /// Calls that were sent.
    pub attempts: u8,
    /// Until this fate.
    pub elapsed_ms: f64,
}

/// One call.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AttemptLine {
    /// The shard, by its place in the answer's list.
    pub index: usize,
    /// `primary`, `hedge` or `retry`.
    pub kind: &'static str,
    /// Who was chosen.
    #[cfg_attr(feature = "server", schema(value_type = Option<String>))]
    pub replica: Option<Arc<str>>,
    /// When it was sent, from the start; absent: it was not.
    pub sent_us: Option<u64>,
    /// How long it took.
    pub took_us: Option<u64>,
    /// `merged`, `cancelled`, `not_sent`, or the reason of its failure.
    pub outcome: &'static str,
    /// Why, in words.
    pub detail: Option<String>,
}

/// Leaves of a map that a result covers.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoveredLine {
    /// The map.
    #[cfg_attr(feature = "server", schema(value_type = String))]
    pub map: Arc<str>,
    /// Its version.
    pub version: u64,
    /// Ids of shards.
    #[cfg_attr(feature = "server", schema(value_type = Vec<String>))]
    pub shards: Vec<Arc<str>>,
}

/// The written form of an answer with its account.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The result, if it is JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<Box<RawValue>>,
    /// The result, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_base64: Option<String>,
    /// Its content type, if it is not JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Every planned shard was merged whole.
    pub complete: bool,
    /// Shard by shard.
    pub shards: Vec<ShardLine>,
    /// The map.
    pub map: MapLine,
    /// Leaves of the whole tree.
    pub leaves: Counts,
    /// The leaves in the result.
    pub covered: Vec<CoveredLine>,
    /// Until the end of gathering.
    pub elapsed_ms: f64,
    /// Call by call, if it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "server", schema(value_type = Option<crate::api::schema::Explanation>))]
    pub explain: Option<Box<RawValue>>,
}

/// How an answer came about.
#[derive(Serialize)]
struct Explanation<'a> {
    hedges: u32,
    retries: u32,
    denied: u32,
    late_together: bool,
    pushback: bool,
    attempts: &'a [AttemptLine],
}

impl Answer {
    pub(super) fn new(
        fanout: &Fanout,
        places: &[usize],
        replicas: &[Arc<Replicas>],
        outcome: &Outcome,
        merged: Merged,
        attempts: Vec<AttemptLine>,
        details: Vec<Option<String>>,
    ) -> Self {
        let accounting = &outcome.accounting;
        let effort = &accounting.effort;
        let complete = outcome.complete();
        let mut details = details.into_iter();
        let mut own = Vec::with_capacity(places.len());
        let lines = accounting.shards.iter().enumerate().map(|(i, report)| {
            let replica = report.replica.and_then(|replica| {
                let target = replicas[i].targets().get(usize::from(replica.0))?;
                Some(Arc::clone(target.name()))
            });
            let merged = report.fate == Fate::Merged;
            let id = fanout.shard_id(places[i]);
            if merged {
                own.push(Arc::clone(id));
            }
            ShardLine {
                shard: Arc::clone(id),
                outcome: Cow::Borrowed(report.fate.as_str()),
                reason: report.reason.map(|reason| Cow::Borrowed(reason.as_str())),
                detail: details.next().flatten().filter(|_| !merged),
                partial: report.partial,
                replica,
                attempts: report.attempts,
                elapsed_ms: ms(report.elapsed),
            }
        });
        let shards: Vec<ShardLine> = lines.collect();
        let mut covered = vec![CoveredLine {
            map: Arc::clone(&accounting.map.name),
            version: accounting.map.version,
            shards: own,
        }];
        covered.extend(accounting.covered.iter().map(|covered| CoveredLine {
            map: Arc::clone(&covered.map.name),
            version: covered.map.version,
            shards: covered.shards.clone(),
        }));
        Self {
            merged,
            complete,
            map: MapLine {
                name: Arc::clone(&accounting.map.name),
                version: accounting.map.version,
            },
            counts: accounting.counts,
            leaves: accounting.leaves,
            covered,
            shards,
            attempts,
            hedges: effort.hedges,
            retries: effort.retries,
            denied: effort.denied,
            late_together: effort.late_together,
            pushback: effort.pushback,
            elapsed: outcome.elapsed,
            status: if complete {
                200
            } else {
                fanout.spec().partial_status
            },
        }
    }

    /// `planned=3;merged=2;…`, as the header `Quorate-Shards` has it.
    pub fn shards_header(&self) -> String {
        let counts = &self.counts;
        format!(
            "planned={};merged={};failed={};timed_out={};skipped={};unneeded={}",
            counts.planned,
            counts.merged,
            counts.failed,
            counts.timed_out,
            counts.skipped,
            counts.unneeded
        )
    }

    /// The answer with its account in one document.
    pub fn envelope(&self) -> Envelope {
        let text = std::str::from_utf8(&self.merged.body).ok();
        let json = text.and_then(|text| RawValue::from_string(text.to_owned()).ok());
        let is_json = self
            .merged
            .content_type
            .as_deref()
            .is_none_or(|given| given.contains("json"));
        let (result, result_base64) = match json {
            Some(json) if is_json => (Some(json), None),
            _ => (None, Some(STANDARD.encode(&self.merged.body))),
        };
        Envelope {
            content_type: self
                .merged
                .content_type
                .as_deref()
                .filter(|_| result.is_none())
                .map(str::to_owned),
            result,
            result_base64,
            complete: self.complete,
            shards: self.shards.clone(),
            map: self.map.clone(),
            leaves: self.leaves,
            covered: self.covered.clone(),
            elapsed_ms: ms(self.elapsed),
            explain: None,
        }
    }

    /// The same with every call that was made or considered.
    pub fn explained(&self) -> Envelope {
        let explanation = Explanation {
            hedges: self.hedges,
            retries: self.retries,
            denied: self.denied,
            late_together: self.late_together,
            pushback: self.pushback,
            attempts: &self.attempts,
        };
        Envelope {
            explain: serde_json::value::to_raw_value(&explanation).ok(),
            ..self.envelope()
        }
    }
}

/// In milliseconds, to the microsecond.
#[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
fn ms(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Why there is no answer, with the first shards at fault.
pub(super) fn refused(
    failure: Failure,
    outcome: &Outcome,
    fanout: &Fanout,
    places: &[usize],
    details: &[Option<String>],
) -> Error {
    let counts = &outcome.accounting.counts;
    let mut told = format!("{} of {} shards answered", counts.merged, counts.planned);
    let lost = outcome.accounting.shards.iter().enumerate();
    let lost = lost.filter(|(_, report)| matches!(report.fate, Fate::Failed | Fate::TimedOut));
    for (n, (i, report)) in lost.clone().enumerate().take(NAMED_MAX) {
        let reason = report.reason.map_or("?", |reason| reason.as_str());
        let _ = write!(
            told,
            "{} shard {}: {reason} after {} attempt{}",
            if n == 0 { ";" } else { "," },
            fanout.shard_id(places[i]),
            report.attempts,
            if report.attempts == 1 { "" } else { "s" }
        );
        if let Some(detail) = &details[i] {
            let _ = write!(told, " ({})", detail.chars().take(200).collect::<String>());
        }
    }
    let more = lost.count().saturating_sub(NAMED_MAX);
    if more > 0 {
        let _ = write!(told, ", and {more} more");
    }
    match failure {
        Failure::InsufficientShards => Error::new(
            Code::InsufficientShards,
            format!("too few for the policy: {told}. GET …/targets shows the replicas' health"),
        ),
        Failure::DeadlineExceeded => Error::new(
            Code::DeadlineExceeded,
            format!("not enough in time: {told}. Raise timeout_ms, or let the policy accept less"),
        ),
        Failure::Canary => Error::new(
            Code::InsufficientShards,
            format!(
                "the shards asked first did not live through it, so the others were not asked: {told}"
            ),
        ),
        Failure::Cancelled => Error::new(Code::DeadlineExceeded, "the caller went away"),
    }
}
