//! Reading JSON answers without building what is not needed.
//!
//! An answer of a megabyte is looked through once; values that are kept are copied, the rest is never
//! allocated.

use super::{Piece, Pointer, Refusal};
use crate::gather::Reason;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The value that `pointer` leads to, as it stands in the text; `None` if it leads nowhere. The whole
/// text is checked to be JSON.
pub(super) fn at<'a>(body: &'a [u8], pointer: &Pointer) -> Result<Option<&'a RawValue>, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let found = Descend(pointer.tokens()).deserialize(&mut reader);
    let found = found.and_then(|found| reader.end().map(|()| found));
    found.map_err(|error| not_json(&error))
}

/// The same, refusing an answer that has nothing there.
pub(super) fn need<'a>(piece: &'a Piece, pointer: &Pointer) -> Result<&'a RawValue, Refusal> {
    check_type(piece)?;
    at(&piece.body, pointer)?
        .ok_or_else(|| Refusal::nonsense(format!("the answer has nothing at {pointer:}")))
}

/// Reads a value that was found.
pub(super) fn read<'a, T: serde::Deserialize<'a>>(
    raw: &'a RawValue,
    what: &str,
    pointer: &Pointer,
) -> Result<T, Refusal> {
    serde_json::from_str(raw.get())
        .map_err(|_| Refusal::nonsense(format!("the answer's {pointer} is not {what}")))
}

/// Refuses an answer that says it is something else than JSON. One that says nothing may be.
pub(super) fn check_type(piece: &Piece) -> Result<(), Refusal> {
    let Some(given) = &piece.content_type else {
        return Ok(());
    };
    if is_json(given) {
        return Ok(());
    }
    Err(Refusal {
        reason: Reason::ContentType,
        detail: format!(
            "the answer is {:?}, and this merger reads application/json",
            given.chars().take(80).collect::<String>()
        ),
    })
}

/// Whether a content type is JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

fn not_json(error: &serde_json::Error) -> Refusal {
    Refusal::nonsense(format!(
        "the answer is not JSON (line {}, column {})",
        error.line(),
        error.column()
    ))
}

struct Descend<'p>(&'p [String]);

impl<'de> DeserializeSeed<'de> for Descend<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return serde::Deserialize::deserialize(reader).map(Some);
        }
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descend<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((name, rest)) = self.0.split_first() else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(hit) = map.next_key_seed(IsKey(name))? {
            // Of a member that is there twice the last counts, as in most readers.
            if hit {
                found = map.next_value_seed(Descend(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

struct IsKey<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(body: &str, pointer: &str) -> Option<String> {
        at(body.as_bytes(), &pointer.parse().unwrap())
            .unwrap()
            .map(|raw| raw.get().to_owned())
    }

    /// Values are found byte for byte; what leads nowhere is nothing; broken text is refused.
    #[test]
    fn finds_what_is_there() {
        let body = r#"{"a":{"b":[1, 2.50],"":null},"x\u0079":{}, "s":"t"}"#;
        assert_eq!(find(body, "").unwrap(), body);
        assert_eq!(find(body, "/a/b").unwrap(), "[1, 2.50]");
        assert_eq!(find(body, "/a/").unwrap(), "null");
        assert_eq!(find(body, "/xy").unwrap(), "{}");
        for nowhere in ["/b", "/a/c", "/a/b/0", "/s/t"] {
            assert_eq!(find(body, nowhere), None, "{nowhere}");
        }
        for broken in ["", "{", "{}x", "nul", "{\"a\":}"] {
            assert!(
                at(broken.as_bytes(), &"/a".parse().unwrap()).is_err(),
                "{broken}"
            );
        }
        let deep = "[".repeat(1 << 20);
        assert!(at(deep.as_bytes(), &"/a".parse().unwrap()).is_err());
    }
}
