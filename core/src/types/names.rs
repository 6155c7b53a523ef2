//! Names that users choose: queues, elections, fan-outs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A validated name: `[a-z0-9][a-z0-9._-]{0,127}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} is not valid: use 1 to 128 of a-z, 0-9, '.', '_', '-', beginning with a letter or a digit{}", if *.reserved { " (a leading '_' is reserved for Quorate)" } else { "" })]
pub struct NameError {
    /// The refused name, cut to 64 characters.
    pub name: String,
    /// It began with `_`.
    pub reserved: bool,
}

impl Name {
    /// Longest name in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let bytes = name.as_bytes();
        let head = bytes
            .first()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let tail = bytes.iter().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-')
        });
        if head && tail && bytes.len() <= Self::BYTES_MAX {
            Ok(Self(Arc::from(name)))
        } else {
            Err(NameError {
                name: name.chars().take(64).collect(),
                reserved: name.starts_with('_'),
            })
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::new(name)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::new(&name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.to_string()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_the_documented_alphabet_and_nothing_else() {
        for good in ["a", "0", "transcode", "a.b_c-d", &"x".repeat(128)] {
            assert!(Name::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "_x",
            "-x",
            ".x",
            "A",
            "a b",
            "a/b",
            "ü",
            &"x".repeat(129),
        ] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }
}
