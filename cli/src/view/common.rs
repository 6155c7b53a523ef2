//! Times, bytes and blobs, in documents and in tables.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quorate_core::types::LogTime;
use quorate_work_queue::machine::{Blob, Counts};
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, UNIX_EPOCH};

/// RFC 3339 in UTC with milliseconds, as in the REST API.
pub(super) fn instant(time: LogTime) -> String {
    match UNIX_EPOCH.checked_add(Duration::from_millis(time.0)) {
        Some(time) => humantime::format_rfc3339_millis(time).to_string(),
        None => "-".to_owned(),
    }
}

/// A length of time for people: two units at most.
pub(super) fn duration(ms: u64) -> String {
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    match seconds {
        0 => format!("{rest}ms"),
        1..=9 => format!("{seconds}.{}s", rest / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    while scaled >= 10_240 && unit + 1 < UNITS.len() {
        scaled /= 1_024;
        unit += 1;
    }
    format!("{scaled} {}", UNITS[unit])
}

/// Bytes as the REST API shows them: JSON as JSON, anything else in base64.
pub(super) fn json_or_base64(bytes: &[u8], is_json: bool) -> (Option<Value>, Option<String>) {
    match serde_json::from_slice(bytes) {
        Ok(value) if is_json => (Some(value), None),
        _ => (None, Some(STANDARD.encode(bytes))),
    }
}

/// The beginning of bytes for a cell of a table.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    const CHARS: usize = 60;
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().count() <= CHARS => text.to_owned(),
        Ok(text) => text.chars().take(CHARS - 1).chain(['…']).collect(),
        Err(_) => format!("{} of binary data", size(bytes.len() as u64)),
    }
}

/// A file outside the queue.
#[derive(Debug, Serialize)]
pub(super) struct BlobDocument {
    uri: String,
    sha256: String,
    size: u64,
}

/// All of a job's files.
pub(super) fn blobs(blobs: &[Blob]) -> Vec<BlobDocument> {
    let document = |blob: &Blob| BlobDocument {
        uri: blob.uri.to_string(),
        sha256: blob.sha256.to_string(),
        size: blob.size,
    };
    blobs.iter().map(document).collect()
}

impl BlobDocument {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        format!("{} ({})", self.uri, size(self.size))
    }
}

/// Jobs by state.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CountsDocument {
    pub(super) ready: u64,
    pub(super) delayed: u64,
    pub(super) leased: u64,
    pub(super) completed: u64,
    pub(super) dead: u64,
    pub(super) cancelled: u64,
}

impl From<Counts> for CountsDocument {
    fn from(counts: Counts) -> Self {
        Self {
            ready: counts.ready,
            delayed: counts.delayed,
            leased: counts.leased,
            completed: counts.completed,
            dead: counts.dead,
            cancelled: counts.cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_read_well() {
        let shown: Vec<_> = [7, 1_250, 59_999, 61_000, 3_700_000, 90_000_000]
            .map(duration)
            .into();
        assert_eq!(shown, ["7ms", "1.2s", "59s", "1m01s", "1h01m", "1d01h"]);
        assert_eq!(size(10_239), "10239 B");
        assert_eq!(size(5 << 20), "5120 KiB");
        assert_eq!(
            instant(LogTime(1_700_000_000_123)),
            "2023-11-14T22:13:20.123Z"
        );
    }

    #[test]
    fn bytes_that_are_no_json_after_all_are_not_lost() {
        assert_eq!(
            json_or_base64(b"{\"a\":1}", true).0,
            Some(serde_json::json!({"a": 1}))
        );
        assert_eq!(
            json_or_base64(b"{\"a\":1}", false).1.as_deref(),
            Some("eyJhIjoxfQ==")
        );
        assert_eq!(json_or_base64(b"{", true).1.as_deref(), Some("ew=="));
    }
}
