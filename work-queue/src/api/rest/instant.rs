//! Instants: RFC 3339 on the wire, log time inside.

use quorate_core::types::LogTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

/// The last millisecond of the year 9999: RFC 3339 has four digits for the year.
const MS_MAX: u64 = 253_402_300_799_999;

/// An instant, as RFC 3339 with milliseconds in UTC. Any offset is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instant(pub(super) LogTime);

impl Instant {
    fn parse(text: &str) -> Option<Self> {
        let (local, offset_s) = split_offset(text)?;
        let since = humantime::parse_rfc3339(&local)
            .ok()?
            .duration_since(UNIX_EPOCH)
            .ok()?;
        let ms = i64::try_from(since.as_millis()).ok()? - offset_s * 1000;
        u64::try_from(ms).ok().map(|ms| Self(LogTime(ms)))
    }
}

/// The local time as if it were UTC, and its offset from UTC in seconds.
fn split_offset(text: &str) -> Option<(Cow<'_, str>, i64)> {
    if text.ends_with('Z') {
        return Some((Cow::Borrowed(text), 0));
    }
    let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
    if local.ends_with('Z') {
        return None;
    }
    let sign = match offset.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = offset.get(1..)?.split_once(':')?;
    let number = |text: &str, max: i64| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits
            .then(|| text.parse::<i64>().ok())
            .flatten()
            .filter(|n| *n <= max)
    };
    let seconds = number(hours, 23)? * 3600 + number(minutes, 59)? * 60;
    Some((Cow::Owned(format!("{local}Z")), sign * seconds))
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(
                "not an instant after 1970; write RFC 3339, for example 2030-01-31T12:00:00Z",
            )
        })
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.0.min(MS_MAX));
        serializer.collect_str(&humantime::format_rfc3339_millis(time))
    }
}

impl utoipa::PartialSchema for Instant {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl utoipa::ToSchema for Instant {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_is_read_with_any_offset_and_written_in_utc() {
        for (text, utc) in [
            ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00.000Z"),
            ("2030-01-31T12:00:00.125Z", "2030-01-31T12:00:00.125Z"),
            ("2030-01-31T12:00:00+01:30", "2030-01-31T10:30:00.000Z"),
            ("2030-01-31T23:00:00.5-02:00", "2030-02-01T01:00:00.500Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ] {
            let instant: Instant = serde_json::from_str(&format!("{text:?}")).unwrap();
            assert_eq!(serde_json::to_string(&instant).unwrap(), format!("{utc:?}"));
        }
        for text in [
            "",
            "Z",
            "tomorrow",
            "2030-01-31",
            "2030-01-31T12:00:00",
            "2030-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "2030-01-31T12:00:00+1:00",
            "2030-01-31T12:00:00+24:00",
            "2030-01-31T12:00:00Z+01:00",
            "äöüäöüäöü",
        ] {
            assert!(Instant::parse(text).is_none(), "{text}");
        }
        let far = serde_json::to_string(&Instant(LogTime(u64::MAX))).unwrap();
        assert_eq!(far, "\"9999-12-31T23:59:59.999Z\"");
    }
}
