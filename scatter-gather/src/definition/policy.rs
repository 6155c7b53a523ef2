//! `"policy"`: `"all"`, `"deadline"`, or floors and stops that combine; see [`crate::gather::Policy`].

use crate::gather::{Coverage, Policy, Share};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A policy as it is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum PolicySpec {
    /// Every shard, or an error.
    #[default]
    All,
    /// Whatever has come in time, at least one shard.
    Deadline,
    /// Floors and stops.
    Options(PolicyOptions),
}

/// Floors and stops.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyOptions {
    /// At least so many shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quorum: Option<u32>,
    /// At least this share of the weight, 0 to 1, and then a wait that is the shorter the less is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<f64>,
    /// Done at so many shards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<u32>,
    /// Shards without which there is no answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<String>,
    /// Wait until the deadline for whatever comes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub until_deadline: bool,
}

impl PolicySpec {
    /// Shards without which there is no answer.
    pub fn required(&self) -> &[String] {
        match self {
            Self::Options(options) => &options.required,
            Self::All | Self::Deadline => &[],
        }
    }

    /// For the engine. The coverage has been checked.
    pub fn policy(&self) -> Policy {
        match self {
            Self::All => Policy::ALL,
            Self::Deadline => Policy::DEADLINE,
            Self::Options(options) => Policy {
                quorum: options.quorum,
                coverage: options.coverage.and_then(Share::of).map(Coverage::at_least),
                first: options.first,
                until_deadline: options.until_deadline,
            },
        }
    }

    /// The same for a request that asks only some of the shards: numbers of shards are at most theirs.
    pub fn policy_for(&self, shards: usize) -> Policy {
        let most = u32::try_from(shards).unwrap_or(u32::MAX).max(1);
        let whole = self.policy();
        Policy {
            quorum: whole.quorum.map(|quorum| quorum.min(most)),
            first: whole.first.map(|first| first.min(most)),
            ..whole
        }
    }
}

impl Serialize for PolicySpec {
    fn serialize<S: Serializer>(&self, writer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => writer.serialize_str("all"),
            Self::Deadline => writer.serialize_str("deadline"),
            Self::Options(options) => options.serialize(writer),
        }
    }
}

impl<'de> Deserialize<'de> for PolicySpec {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct PolicyVisitor;
        impl<'de> Visitor<'de> for PolicyVisitor {
            type Value = PolicySpec;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"all\", \"deadline\" or an object such as {\"quorum\":3}")
            }
            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PolicySpec, E> {
                match name {
                    "all" => Ok(PolicySpec::All),
                    "deadline" => Ok(PolicySpec::Deadline),
                    other => Err(E::custom(format!(
                        "unknown policy {:?}: use \"all\", \"deadline\" or an object such as {{\"quorum\":3}}",
                        other.chars().take(64).collect::<String>()
                    ))),
                }
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicySpec, A::Error> {
                let options = PolicyOptions::deserialize(MapAccessDeserializer::new(map))?;
                if options == PolicyOptions::default() {
                    return Err(A::Error::custom(
                        "an empty policy: use \"all\", or name quorum, coverage, first or required",
                    ));
                }
                Ok(PolicySpec::Options(options))
            }
        }
        reader.deserialize_any(PolicyVisitor)
    }
}
