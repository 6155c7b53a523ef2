//! Values that several resources share: payloads, blobs, labels, pages, and fields that are not built.

use crate::machine::Blob;
use axum::Json;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_core::error::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A field that is specified and not built yet: refused by name when it is there.
#[derive(Debug, Default)]
pub(super) struct NotBuilt;

impl<'de> Deserialize<'de> for NotBuilt {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not built yet; leave it out"))
    }
}

/// Bytes as a pair of fields, one of which is set: the JSON text itself, or base64. `json` says whether
/// they are meant to be a JSON text; if they are not, or a document would not carry them unchanged
/// (white space around the value), they are shown in base64.
pub(super) fn shown(bytes: Bytes, json: bool) -> (Option<Box<RawValue>>, Option<Base64>) {
    if json
        && let Ok(text) = serde_json::from_slice::<Box<RawValue>>(&bytes)
        && text.get().len() == bytes.len()
    {
        return (Some(text), None);
    }
    (None, Some(Base64(bytes)))
}

/// The same for bytes that may be absent.
pub(super) fn shown_if(
    bytes: Option<Bytes>,
    json: bool,
) -> (Option<Box<RawValue>>, Option<Base64>) {
    bytes.map_or((None, None), |bytes| shown(bytes, json))
}

/// Bytes in base64 (RFC 4648, with padding).
#[derive(Debug)]
pub(super) struct Base64(pub(super) Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|error| {
            serde::de::Error::custom(format!(
                "not base64 with the alphabet A-Z a-z 0-9 + / and padding: {error}"
            ))
        })?;
        Ok(Self(bytes.into()))
    }
}

/// What a caller gave as JSON or in base64: the bytes, and whether they are JSON. JSON keeps the
/// caller's own text, so that it comes back byte for byte.
pub(super) fn given(
    field: &str,
    json: Option<Box<RawValue>>,
    base64: Option<Base64>,
) -> Result<Option<(Bytes, bool)>, Error> {
    match (json, base64) {
        (Some(_), Some(_)) => Err(Error::invalid(format!(
            "{field}, {field}_base64: both are there; send one"
        ))),
        (Some(json), None) => {
            let text: Box<str> = json.into();
            Ok(Some((Bytes::from(String::from(text)), true)))
        }
        (None, Some(Base64(bytes))) => Ok(Some((bytes, false))),
        (None, None) => Ok(None),
    }
}

/// Reads a field that may be null: present and null is JSON `null`, not absent.
pub(super) fn raw<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A file outside the queue.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Blob)]
pub(super) struct BlobDto {
    /// Where it is.
    uri: String,
    /// Lower-case hexadecimal; empty when unknown.
    #[serde(default)]
    sha256: String,
    /// Bytes.
    #[serde(default)]
    size: u64,
}

impl From<Blob> for BlobDto {
    fn from(blob: Blob) -> Self {
        Self {
            uri: blob.uri.to_string(),
            sha256: blob.sha256.to_string(),
            size: blob.size,
        }
    }
}

pub(super) fn blobs_in(blobs: Vec<BlobDto>) -> Vec<Blob> {
    blobs
        .into_iter()
        .map(|blob| Blob {
            uri: blob.uri.into(),
            sha256: blob.sha256.into(),
            size: blob.size,
        })
        .collect()
}

pub(super) fn blobs_out(blobs: Vec<Blob>) -> Vec<BlobDto> {
    blobs.into_iter().map(BlobDto::from).collect()
}

pub(super) fn labels_in(labels: BTreeMap<String, String>) -> Vec<(Arc<str>, Arc<str>)> {
    labels
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

pub(super) fn labels_out(labels: Vec<(Arc<str>, Arc<str>)>) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items; fewer than were asked for does not mean that there are no more.
    items: Vec<T>,
    /// For `page_token` of the next request; null on the last page.
    next_page_token: Option<String>,
}

impl<T> Page<T> {
    pub(super) fn new<V, N: ToString>(
        items: Vec<V>,
        next: Option<N>,
        item: impl FnMut(V) -> T,
    ) -> Json<Self> {
        Json(Self {
            items: items.into_iter().map(item).collect(),
            next_page_token: next.map(|next| next.to_string()),
        })
    }
}

/// Which page.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PageQuery {
    /// Items of the page, 1 to 1000; 100 when absent.
    pub(super) page_size: u32,
    /// As the page before answered it.
    pub(super) page_token: String,
}

/// How many jobs were affected.
#[derive(Serialize, ToSchema)]
pub(super) struct Count {
    pub(super) count: u64,
}

/// Any JSON value, for the OpenAPI text.
pub(super) type AnyJson = serde_json::Value;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_json_only_if_a_document_carries_them_unchanged() {
        let as_json = |bytes: &[u8], json| {
            let (text, base64) = shown(Bytes::copy_from_slice(bytes), json);
            assert_ne!(text.is_some(), base64.is_some());
            text.is_some_and(|text| text.get().as_bytes() == bytes)
        };
        assert!(as_json(br#"{ "b" : 1.0 }"#, true));
        assert!(!as_json(br#"{ "b" : 1.0 }"#, false));
        for changed in [&b" 1"[..], b"1 ", b"", b"{", b"1 2", b"\xff", b"\"\xff\""] {
            assert!(!as_json(changed, true), "{changed:?}");
        }
    }
}
