//! Mergers as a definition names them.
//!
//! `"concat"`, or an object with one member, whose name is the merger and whose value its options:
//! `{"sum":{"pointer":"/value"}}`. Unknown names and options are refused by name.

use super::concat::Concat;
use super::count::Counting;
use super::deep::{Arrays, Conflict, Deep};
use super::each::Each;
use super::extreme::Extreme;
use super::first::First;
use super::fold::{AnyFold, Bounded};
use super::group_by::{GroupBy, Grouping};
use super::histogram::Histogram;
use super::majority::Majority;
use super::sum::Adding;
use super::top_k::{Page, TopK};
use super::{Bounds, Merger, Merging, Pointer, PointerError};
use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// Most elements a `top_k` keeps: its page and what lies before it.
pub(super) const TOP_K_MAX: usize = 10_000;
/// Most groups a `group_by` keeps.
pub(super) const GROUPS_MAX: usize = 100_000;
/// Most bounds of a histogram.
pub(super) const BOUNDS_MAX: usize = 1_000;
/// Most mergers beside each other.
pub(super) const EACH_MAX: usize = 16;

/// The merger of a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum MergeSpec {
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
    /// Several beside each other.
    Each(Vec<MergeSpec>),
    /// A merge container.
    Http(HttpOptions),
}

/// None.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// Of `concat`.
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointerOptions {
    /// Where the number is.
    pub pointer: Pointer,
}

/// Of `count`.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsonOptions {
    /// Where two documents differ.
    pub conflict: OnConflict,
    /// Where two arrays meet.
    pub arrays: OnArrays,
}

/// Of `majority`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MajorityOptions {
    /// The JSON value that is compared; absent, the bodies byte by byte.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<Pointer>,
}

/// Of `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpOptions {
    /// Where the merge container takes its call.
    pub url: String,
    /// It may be called twice.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pure: bool,
}

/// A merger that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// The option at fault, as a path below `merge`.
    pub field: String,
    /// What is wrong and what to write.
    pub problem: String,
}

const NAMES: &[&str] = &[
    "concat",
    "top_k",
    "sum",
    "min",
    "max",
    "count",
    "histogram",
    "group_by",
    "json",
    "first",
    "majority",
    "each",
    "http",
];

impl MergeSpec {
    /// The sum of the numbers at this JSON pointer.
    ///
    /// # Errors
    /// A text that is no pointer.
    pub fn sum(pointer: &str) -> Result<Self, quorate_core::Error> {
        let pointer: Pointer = pointer
            .parse()
            .map_err(|error: PointerError| quorate_core::Error::invalid(error.to_string()))?;
        Ok(Self::Sum(PointerOptions { pointer }))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Concat(_) => "concat",
            Self::TopK(_) => "top_k",
            Self::Sum(_) => "sum",
            Self::Min(_) => "min",
            Self::Max(_) => "max",
            Self::Count(_) => "count",
            Self::Histogram(_) => "histogram",
            Self::GroupBy(_) => "group_by",
            Self::Json(_) => "json",
            Self::First(_) => "first",
            Self::Majority(_) => "majority",
            Self::Each(_) => "each",
            Self::Http(_) => "http",
        }
    }

    /// Whether it reads JSON and nothing else.
    pub fn reads_json(&self) -> bool {
        match self {
            Self::Concat(options) => options.pointer.is_some(),
            Self::Majority(options) => options.pointer.is_some(),
            Self::First(_) | Self::Http(_) => false,
            _ => true,
        }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SpecError> {
        let refuse = |field: &str, problem: String| {
            Err(SpecError {
                field: format!("{}.{field}", self.name()),
                problem,
            })
        };
        match self {
            Self::Concat(options) if options.pointer.is_some() && !options.separator.is_empty() => {
                refuse("separator", "arrays have commas: leave it out".to_owned())
            }
            Self::TopK(options) => {
                let all = options.k.saturating_add(options.offset);
                if options.k == 0 || all > TOP_K_MAX {
                    return refuse(
                        "k",
                        format!("k is {}, k + offset {all}: use 1 to {TOP_K_MAX}", options.k),
                    );
                }
                if options.score.is_root() && options.key.is_some() {
                    return refuse("key", "an element that is its score has no key".to_owned());
                }
                Ok(())
            }
            Self::Histogram(options) => {
                let bounds = &options.bounds;
                let increasing = bounds.windows(2).all(|pair| pair[0] < pair[1]);
                let finite = bounds.iter().all(|bound| bound.is_finite());
                if bounds.is_empty() || bounds.len() > BOUNDS_MAX || !increasing || !finite {
                    return refuse(
                        "bounds",
                        format!("give 1 to {BOUNDS_MAX} numbers, each larger than the one before"),
                    );
                }
                Ok(())
            }
            Self::GroupBy(options) => {
                if options.groups_max == 0 || options.groups_max > GROUPS_MAX {
                    return refuse("groups_max", format!("use 1 to {GROUPS_MAX}"));
                }
                if options.top == Some(0) {
                    return refuse("top", "use 1 or more, or leave it out".to_owned());
                }
                match &options.other {
                    Some(other) if other.overlaps(&options.pointer) => refuse(
                        "other",
                        "it must not lie within pointer, nor pointer within it".to_owned(),
                    ),
                    _ => Ok(()),
                }
            }
            Self::Each(parts) => Self::check_each(parts),
            _ => Ok(()),
        }
    }

    fn check_each(parts: &[Self]) -> Result<(), SpecError> {
        let refuse = |problem: String| {
            Err(SpecError {
                field: "each".to_owned(),
                problem,
            })
        };
        if parts.is_empty() || parts.len() > EACH_MAX {
            return refuse(format!("name 1 to {EACH_MAX} mergers"));
        }
        let mut places: Vec<&Pointer> = Vec::new();
        for part in parts {
            part.check()?;
            let Some(own) = part.places() else {
                return refuse(format!(
                    "{} gives no member of a document, so it cannot stand beside others: use it alone",
                    part.name()
                ));
            };
            for place in own {
                if let Some(other) = places.iter().find(|other| other.overlaps(place)) {
                    return refuse(format!(
                        "two results would stand at {other:} and {place:}: give each a place of its own"
                    ));
                }
                places.push(place);
            }
        }
        Ok(())
    }

    /// Where its result stands in the document, if it stands at places.
    fn places(&self) -> Option<Vec<&Pointer>> {
        let one = |pointer| Some(vec![pointer]);
        match self {
            Self::Concat(options) => one(options.pointer.as_ref()?),
            Self::TopK(options) => one(&options.pointer),
            Self::Sum(options) | Self::Min(options) | Self::Max(options) => one(&options.pointer),
            Self::Count(options) => one(&options.pointer),
            Self::Histogram(options) => one(&options.pointer),
            Self::GroupBy(options) => {
                let mut places = vec![&options.pointer];
                places.extend(&options.other);
                Some(places)
            }
            Self::Json(_) | Self::First(_) | Self::Majority(_) | Self::Each(_) | Self::Http(_) => {
                None
            }
        }
    }

    /// An empty state. `None` for a merge container, whose state is not here.
    pub(super) fn fold(&self) -> Option<Box<dyn AnyFold>> {
        Some(match self {
            Self::Concat(options) => match &options.pointer {
                None => Box::new(Concat::bodies(&options.separator)),
                Some(pointer) => Box::new(Concat::arrays(pointer.clone())),
            },
            Self::TopK(options) => Box::new(TopK::new(Page {
                pointer: options.pointer.clone(),
                score: options.score.clone(),
                key: options.key.clone(),
                k: options.k,
                offset: options.offset,
                ascending: options.order == Order::Asc,
            })),
            Self::Sum(options) => Box::new(Adding::new(options.pointer.clone())),
            Self::Min(options) => Box::new(Extreme::min(options.pointer.clone())),
            Self::Max(options) => Box::new(Extreme::max(options.pointer.clone())),
            Self::Count(options) => {
                Box::new(Counting::new(options.pointer.clone(), options.of.clone()))
            }
            Self::Histogram(options) => Box::new(Histogram::new(
                options.pointer.clone(),
                options.values.clone(),
                options.bounds.clone(),
            )),
            Self::GroupBy(options) => Box::new(GroupBy::new(Grouping {
                pointer: options.pointer.clone(),
                groups_max: options.groups_max,
                other: options.other.clone(),
                top: options.top,
            })),
            Self::Json(options) => Box::new(Deep::new(
                match options.conflict {
                    OnConflict::Error => Conflict::Error,
                    OnConflict::First => Conflict::First,
                    OnConflict::Last => Conflict::Last,
                },
                match options.arrays {
                    OnArrays::Values => Arrays::Values,
                    OnArrays::Concat => Arrays::Concat,
                },
            )),
            Self::First(_) => Box::new(First::default()),
            Self::Majority(options) => Box::new(Majority::new(options.pointer.clone())),
            Self::Each(parts) => {
                let parts: Option<Vec<_>> = parts.iter().map(Self::fold).collect();
                Box::new(Each::new(parts?))
            }
            Self::Http(_) => return None,
        })
    }

    /// The merger itself. `None` for a merge container: see [`super::External`].
    pub fn merger(&self) -> Option<Builtin> {
        self.fold().map(|_| Builtin(self.clone()))
    }
}

/// A built-in merger.
#[derive(Clone, Debug)]
pub struct Builtin(MergeSpec);

impl Merger for Builtin {
    fn init(&self, bounds: Bounds) -> Box<dyn Merging> {
        let fold = self.0.fold();
        let fold = fold.expect("a Builtin is made only of a specification that has a fold");
        Box::new(Bounded::new(fold, bounds))
    }

    fn accepts(&self) -> &'static str {
        if self.0.reads_json() {
            "application/json"
        } else {
            "*/*"
        }
    }
}

impl Serialize for Pointer {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        writer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let text = String::deserialize(reader)?;
        text.parse()
            .map_err(|error: PointerError| D::Error::custom(error))
    }
}

impl Serialize for MergeSpec {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        if *self == Self::Concat(ConcatOptions::default())
            || *self == Self::Json(JsonOptions::default())
            || *self == Self::Majority(MajorityOptions::default())
            || matches!(self, Self::First(_))
        {
            return writer.serialize_str(self.name());
        }
        let mut map = writer.serialize_map(Some(1))?;
        map.serialize_key(self.name())?;
        match self {
            Self::Concat(options) => map.serialize_value(options)?,
            Self::TopK(options) => map.serialize_value(options)?,
            Self::Sum(options) | Self::Min(options) | Self::Max(options) => {
                map.serialize_value(options)?;
            }
            Self::Count(options) => map.serialize_value(options)?,
            Self::Histogram(options) => map.serialize_value(options)?,
            Self::GroupBy(options) => map.serialize_value(options)?,
            Self::Json(options) => map.serialize_value(options)?,
            Self::First(options) => map.serialize_value(options)?,
            Self::Majority(options) => map.serialize_value(options)?,
            Self::Each(parts) => map.serialize_value(parts)?,
            Self::Http(options) if !options.pure => map.serialize_value(&options.url)?,
            Self::Http(options) => map.serialize_value(options)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for MergeSpec {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = MergeSpec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a merger: \"concat\", or an object with one member such as {\"sum\":{\"pointer\":\"/value\"}}",
        )
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<MergeSpec, E> {
        let one = MapDeserializer::new(std::iter::once((name, NoneGiven)));
        self.visit_map(one)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MergeSpec, A::Error> {
        let name: String = map
            .next_key()?
            .ok_or_else(|| A::Error::custom(format!("it is empty: name one of {NAMES:?}")))?;
        let spec = match name.as_str() {
            "concat" => MergeSpec::Concat(map.next_value()?),
            "top_k" => MergeSpec::TopK(map.next_value()?),
            "sum" => MergeSpec::Sum(map.next_value()?),
            "min" => MergeSpec::Min(map.next_value()?),
            "max" => MergeSpec::Max(map.next_value()?),
            "count" => MergeSpec::Count(map.next_value()?),
            "histogram" => MergeSpec::Histogram(map.next_value()?),
            "group_by" => MergeSpec::GroupBy(map.next_value()?),
            "json" => MergeSpec::Json(map.next_value()?),
            "first" => MergeSpec::First(map.next_value()?),
            "majority" => MergeSpec::Majority(map.next_value()?),
            "each" => MergeSpec::Each(map.next_value::<Parts>()?.0),
            "http" => MergeSpec::Http(map.next_value::<UrlOrOptions>()?.0),
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(A::Error::custom(format!(
                    "unknown merger {shown:?}: use one of {}",
                    NAMES.join(", ")
                )));
            }
        };
        if map.next_key::<serde::de::IgnoredAny>()?.is_some() {
            return Err(A::Error::custom(
                "it has more than one member: name one merger, or several within {\"each\":[…]}",
            ));
        }
        Ok(spec)
    }
}

/// The options of a merger that is named without any.
struct NoneGiven;

impl<'de, E: serde::de::Error> serde::de::IntoDeserializer<'de, E> for NoneGiven {
    type Deserializer = MapDeserializer<'de, std::iter::Empty<(&'static str, &'static str)>, E>;

    fn into_deserializer(self) -> Self::Deserializer {
        MapDeserializer::new(std::iter::empty())
    }
}

/// The parts of `each`, bounded while they are read: they nest no further.
struct Parts(Vec<MergeSpec>);

impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct PartsVisitor;
        impl<'de> Visitor<'de> for PartsVisitor {
            type Value = Parts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of mergers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = seq.next_element::<MergeSpec>()? {
                    if matches!(part, MergeSpec::Each(_)) || parts.len() == EACH_MAX {
                        return Err(A::Error::custom(format!(
                            "each takes at most {EACH_MAX} mergers and does not nest"
                        )));
                    }
                    parts.push(part);
                }
                Ok(Parts(parts))
            }
        }
        reader.deserialize_seq(PartsVisitor)
    }
}

/// `"http://…"` or the options with it.
struct UrlOrOptions(HttpOptions);

impl<'de> Deserialize<'de> for UrlOrOptions {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct UrlVisitor;
        impl<'de> Visitor<'de> for UrlVisitor {
            type Value = UrlOrOptions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or {\"url\":…,\"pure\":true}")
            }
            fn visit_str<E>(self, url: &str) -> Result<UrlOrOptions, E> {
                Ok(UrlOrOptions(HttpOptions {
                    url: url.to_owned(),
                    pure: false,
                }))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UrlOrOptions, A::Error> {
                let reader = serde::de::value::MapAccessDeserializer::new(map);
                HttpOptions::deserialize(reader).map(UrlOrOptions)
            }
        }
        reader.deserialize_any(UrlVisitor)
    }
}
