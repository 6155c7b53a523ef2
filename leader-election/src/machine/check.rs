//! What is refused before anything changes: bounds of texts, numbers and settings.

use super::types::{Settings, limits};
use quorate_core::error::{Code, Error};

/// A text for people.
pub(super) fn text(what: &str, text: &str) -> Result<(), Error> {
    if text.len() > limits::TEXT_BYTES_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "{what} has {} bytes; at most {} are kept",
                text.len(),
                limits::TEXT_BYTES_MAX
            ),
        ));
    }
    Ok(())
}

/// What a candidate says of itself.
pub(super) fn metadata(text: &str) -> Result<(), Error> {
    if text.len() > limits::METADATA_BYTES_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "metadata has {} bytes; at most {} are kept: put an address there and serve the rest from it",
                text.len(),
                limits::METADATA_BYTES_MAX
            ),
        ));
    }
    Ok(())
}

/// A candidate's priority.
pub(super) fn priority(priority: u32) -> Result<(), Error> {
    if priority > limits::PRIORITY_MAX {
        return Err(Error::invalid(format!(
            "priority is {priority}; choose 0 (last) to {} (first)",
            limits::PRIORITY_MAX
        )));
    }
    Ok(())
}

/// A time in log time.
pub(super) fn delay(what: &str, ms: u64) -> Result<(), Error> {
    if ms > limits::DELAY_MS_MAX {
        return Err(Error::invalid(format!(
            "{what} is {ms}; choose at most {} (an hour)",
            limits::DELAY_MS_MAX
        )));
    }
    Ok(())
}

/// Settings of an election.
pub(super) fn settings(settings: &Settings) -> Result<(), Error> {
    delay("lock_delay_ms", settings.lock_delay_ms)?;
    delay("stable_ms", settings.stable_ms)?;
    delay("drain_ms", settings.drain_ms)
}
