//! Mergers as they are written, read and written again.

use super::{ConcatOptions, EACH_MAX, HttpOptions, JsonOptions, MajorityOptions, MergeSpec, NAMES};
use crate::merge::{Pointer, PointerError};
use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

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
            Self::Http(options) | Self::Grpc(options) if !options.pure => {
                map.serialize_value(&options.url)?;
            }
            Self::Http(options) | Self::Grpc(options) => map.serialize_value(options)?,
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
            "grpc" => MergeSpec::Grpc(map.next_value::<UrlOrOptions>()?.0),
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
