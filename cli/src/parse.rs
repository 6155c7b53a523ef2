//! Values of flags that clap does not know by itself.

use quorate_core::types::Name;
use quorate_work_queue::machine::State;
use std::sync::Arc;
use std::time::Duration;

/// The name of a queue.
pub(crate) fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}

/// A length of time in milliseconds: `250ms`, `30s`, `5m`, `1h 30m`, or `0`.
pub(crate) fn millis(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let time: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as 250ms, 30s, 5m or \"1h 30m\""))?;
    u64::try_from(time.as_millis()).map_err(|_| "it is too long".to_owned())
}

/// A number of bytes: `4096`, `64KiB`, `8GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        unit => {
            return Err(format!(
                "{unit:?} is not a unit; use B, KiB, MiB, GiB or TiB"
            ));
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is not a number of bytes; write it as 4096 or 64KiB"))?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "it is too large".to_owned())
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(Arc<str>, Arc<str>), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((Arc::from(key), Arc::from(value))),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// A state of a job.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum StateArg {
    Ready,
    Delayed,
    Leased,
    Completed,
    Dead,
    Cancelled,
}

impl From<StateArg> for State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Ready => Self::Ready,
            StateArg::Delayed => Self::Delayed,
            StateArg::Leased => Self::Leased,
            StateArg::Completed => Self::Completed,
            StateArg::Dead => Self::Dead,
            StateArg::Cancelled => Self::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_need_a_unit_that_exists_and_never_wrap() {
        assert_eq!(millis("1m 30s"), Ok(90_000));
        assert_eq!(millis("0"), Ok(0));
        for bad in ["", "5", "-1s", "1 parsec", "99999999999999999999y"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
        assert_eq!(bytes("64KiB"), Ok(65_536));
        assert_eq!(bytes("7"), Ok(7));
        for bad in ["", "KiB", "1kb", "-1", "99999999999TiB", "1.5GiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }
}
