//! Mergers as a definition names them.
//!
//! `"concat"`, or an object with one member, whose name is the merger and whose value its options:
//! `{"sum":{"pointer":"/value"}}`. Unknown names and options are refused by name.

mod options;
mod written;

pub use options::{
    ConcatOptions, CountOptions, GroupByOptions, HistogramOptions, HttpOptions, JsonOptions,
    MajorityOptions, NoOptions, OnArrays, OnConflict, Order, PointerOptions, TopKOptions,
};

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
    /// A merge container that takes lines of JSON.
    Http(HttpOptions),
    /// A merge container that speaks gRPC.
    Grpc(HttpOptions),
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

/// Every merger's name, in the order of the list above.
pub(crate) const NAMES: &[&str] = &[
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
    "grpc",
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
            Self::Grpc(_) => "grpc",
        }
    }

    /// Whether it reads JSON and nothing else.
    pub fn reads_json(&self) -> bool {
        match self {
            Self::Concat(options) => options.pointer.is_some(),
            Self::Majority(options) => options.pointer.is_some(),
            Self::First(_) | Self::Http(_) | Self::Grpc(_) => false,
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
            Self::Json(_)
            | Self::First(_)
            | Self::Majority(_)
            | Self::Each(_)
            | Self::Http(_)
            | Self::Grpc(_) => None,
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
            Self::Http(_) | Self::Grpc(_) => return None,
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
