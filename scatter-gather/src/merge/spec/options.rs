//! The options of the mergers.

use crate::merge::Pointer;
use serde::{Deserialize, Serialize};

/// None.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Of `concat`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConcatOptions {
    /// Join the arrays there; absent, join the bodies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
    /// Between two bodies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub separator: String,
}

/// Of `sum`, `min` and `max`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointerOptions {
    /// Where the number is.
    pub pointer: Pointer,
}

/// Of `count`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountOptions {
    /// Where the count is put.
    pub pointer: Pointer,
    /// The array whose elements are counted; absent, answers are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Pointer>,
}

/// Which score is the best.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The largest.
    #[default]
    Desc,
    /// The smallest.
    Asc,
}

/// Of `top_k`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopKOptions {
    /// Where the array is.
    pub pointer: Pointer,
    /// Where an element's score is.
    pub score: Pointer,
    /// Where what an element is known by is; with it, equal elements count once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Pointer>,
    /// How many.
    pub k: usize,
    /// How many of the best to leave out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: usize,
    /// Which score is the best.
    #[serde(default)]
    pub order: Order,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// Of `histogram`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistogramOptions {
    /// Where the counts are.
    pub pointer: Pointer,
    /// Upper bounds of the buckets, increasing; one more bucket takes what is above.
    pub bounds: Vec<f64>,
    /// Where a leaf has the numbers themselves; absent, it sends counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Pointer>,
}

/// Of `group_by`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupByOptions {
    /// Where the object of numbers is.
    pub pointer: Pointer,
    /// Groups kept at most, the first ones by name.
    #[serde(default = "GroupByOptions::groups_max")]
    pub groups_max: usize,
    /// Where the sum of all other groups is put; absent, an answer that brings too many is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Pointer>,
    /// How many of the largest the result has; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
}

impl GroupByOptions {
    const fn groups_max() -> usize {
        10_000
    }
}

/// What stands where two documents differ.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// There is no result.
    #[default]
    Error,
    /// The first shard's value.
    First,
    /// The last shard's value.
    Last,
}

/// What becomes of two arrays.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnArrays {
    /// They are equal or in conflict.
    #[default]
    Values,
    /// One after the other.
    Concat,
}

/// Of `json`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsonOptions {
    /// Where two documents differ.
    pub conflict: OnConflict,
    /// Where two arrays meet.
    pub arrays: OnArrays,
}

/// Of `majority`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MajorityOptions {
    /// The JSON value that is compared; absent, the bodies byte by byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
}

/// Of `http` and `grpc`.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
    /// Where the merge container is; for gRPC without a path.
    pub url: String,
    /// It may be called twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pure: bool,
}
