//! What the OpenAPI text says of parts whose written form is not what their types look like.
#![allow(
    dead_code,
    reason = "these types are shapes: nothing is ever read into them"
)]

use crate::definition::PolicyOptions;
use crate::merge::{
    ConcatOptions, CountOptions, GroupByOptions, HistogramOptions, HttpOptions, JsonOptions,
    MajorityOptions, NoOptions, Pointer, PointerOptions, TopKOptions,
};
use crate::root::AttemptLine;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

/// `"all"`, `"deadline"`, or floors and stops that combine.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Policy {
    /// `"all"`: every shard, or an error. `"deadline"`: whatever has come in time.
    Name(String),
    /// Floors and stops.
    Options(PolicyOptions),
}

/// An object with one member, whose name is the merger and whose value its options. A merger that needs none
/// may be named alone: `"concat"`.
#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Merge {
    /// Bodies or arrays one after the other.
    Concat(ConcatOptions),
    /// The best elements.
    TopK(TopKOptions),
    /// The sum of a number.
    Sum(PointerOptions),
    /// The smallest number.
    Min(PointerOptions),
    /// The largest number.
    Max(PointerOptions),
    /// How many.
    Count(CountOptions),
    /// Counts in buckets.
    Histogram(HistogramOptions),
    /// An object of sums.
    GroupBy(GroupByOptions),
    /// Documents united.
    Json(JsonOptions),
    /// One answer.
    First(NoOptions),
    /// What most say.
    Majority(MajorityOptions),
    /// Several of the others beside each other.
    Each(Vec<serde_json::Value>),
    /// A merge container that takes lines of JSON.
    Http(Container),
    /// A merge container that speaks gRPC.
    Grpc(Container),
}

/// A URL, or the options with it.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum Container {
    /// Its URL.
    Url(String),
    /// The options.
    Options(HttpOptions),
}

/// How an answer came about.
#[derive(ToSchema)]
pub(crate) struct Explanation {
    /// Hedges that were sent.
    hedges: u32,
    /// Retries that were sent.
    retries: u32,
    /// Extra calls that the budget denied.
    denied: u32,
    /// Many shards were late together, so that hedging stopped.
    late_together: bool,
    /// A leaf asked for less load, so that hedging stopped.
    pushback: bool,
    /// Call by call.
    attempts: Vec<AttemptLine>,
}

/// A JSON pointer (RFC 6901), written as a string.
impl PartialSchema for Pointer {
    fn schema() -> RefOr<Schema> {
        String::schema()
    }
}

impl ToSchema for Pointer {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::NAMES;

    /// The mergers that the OpenAPI text describes are those that there are.
    #[test]
    fn every_merger_is_described() {
        let schema = serde_json::to_value(Merge::schema()).unwrap();
        let kinds = schema["oneOf"].as_array().unwrap();
        let names = kinds.iter().map(|kind| {
            let members = kind["properties"].as_object().unwrap();
            members.keys().next().unwrap().as_str()
        });
        assert_eq!(names.collect::<Vec<_>>(), NAMES);
    }
}
