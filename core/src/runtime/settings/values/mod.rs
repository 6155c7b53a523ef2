//! The kinds of values a setting can have: how each is read from text and shown again.
//!
//! All sources meet in text, so there is one parser a kind, whichever source a value came from. A
//! refusal says what a good value looks like; the name of the setting is added by the caller.

mod network;
mod node;
mod urls;

pub use network::{Address, AllowedHosts};
pub use node::PeerAddresses;
pub use urls::{BlobsUrl, Endpoints, HttpUrl};

use std::path::PathBuf;

/// A kind of value.
pub trait Value: Sized {
    /// Reads it. The error completes the sentence "NAME: …".
    fn parse(text: &str) -> Result<Self, String>;

    /// What stands for a setting that no source names, if that is allowed.
    fn absent() -> Option<Self> {
        None
    }

    /// The text to show for this raw text; kinds that can hold a credential redact it.
    fn show(text: &str) -> String {
        text.to_owned()
    }

    /// Whether this is a switch, whose flag needs no value.
    const SWITCH: bool = false;
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn show(text: &str) -> String {
        T::show(text)
    }
    const SWITCH: bool = T::SWITCH;
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err(format!(
                "{text:?} is not a whole number from 1 to {}",
                Self::MAX
            )),
            Ok(number) => Ok(number),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub u64);

impl Millis {
    /// The longest that makes sense for any setting: a day.
    pub const MAX: u64 = 86_400_000;

    /// As the standard library counts it.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }
}

impl Value for Millis {
    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(ms) if ms <= Self::MAX => Ok(Self(ms)),
            _ => Err(format!(
                "{text:?} is not a whole number of milliseconds from 0 to {}",
                Self::MAX
            )),
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Value for Switch {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err(format!("{text:?} is not 1, true, 0 or false")),
        }
    }
    const SWITCH: bool = true;
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// One JSON object a line.
    Json,
}

impl Value for LogFormat {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is not text or json")),
        }
    }
}
