//! `grpc-timeout`: how long a caller waits, as the gRPC protocol over HTTP/2 writes it.

use crate::error::Error;
use std::time::Duration;
use tonic::metadata::MetadataMap;

/// The metadata's name.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Digits of a value, by the protocol.
const DIGITS_MAX: usize = 8;

/// What the metadata of a call says.
///
/// # Errors
/// Something there that is no timeout.
pub fn of(metadata: &MetadataMap) -> Result<Option<Duration>, Error> {
    let Some(value) = metadata.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let read = value.to_str().ok().and_then(parse);
    read.map(Some).ok_or_else(|| {
        Error::invalid("grpc-timeout: not a timeout; send up to 8 digits and one of H M S m u n")
    })
}

/// Reads `TimeoutValue TimeoutUnit`; `None` for anything else.
pub fn parse(text: &str) -> Option<Duration> {
    let (value, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if value.is_empty()
        || value.len() > DIGITS_MAX
        || !value.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let value: u64 = value.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Writes a time in the finest unit, down to microseconds, that holds it. Rounded down, because nobody is
/// told of more time than there is.
pub fn format(time: Duration) -> String {
    const MOST: u128 = 10_u128.pow(8) - 1;
    let units = [
        (time.as_micros(), 'u'),
        (time.as_millis(), 'm'),
        (u128::from(time.as_secs()), 'S'),
        (u128::from(time.as_secs() / 60), 'M'),
    ];
    let hours = (u128::from(time.as_secs() / 3600).min(MOST), 'H');
    let (value, unit) = units
        .into_iter()
        .find(|(value, _)| *value <= MOST)
        .unwrap_or(hours);
    format!("{value}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times are read as the protocol says, and nothing else is.
    #[test]
    fn read() {
        assert_eq!(parse("100m"), Some(Duration::from_millis(100)));
        assert_eq!(parse("7n"), Some(Duration::from_nanos(7)));
        assert_eq!(
            parse("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "m", "1", "-1S", "123456789S", "1 S", "1x", "ü"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// What is written is read again, never as more than it was.
    #[test]
    fn written() {
        assert_eq!(format(Duration::ZERO), "0u");
        assert_eq!(format(Duration::from_millis(1_500)), "1500000u");
        assert_eq!(format(Duration::from_secs(100)), "100000m");
        for power in 0..63 {
            let time = Duration::from_nanos((1 << power) + 12_345);
            let read = parse(&format(time)).unwrap();
            assert!(read <= time && time - read < time / 1_000 + Duration::from_micros(1));
        }
        assert_eq!(
            parse(&format(Duration::MAX)),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
    }
}
