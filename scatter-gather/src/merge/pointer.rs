//! JSON pointers (RFC 6901) through objects.
//!
//! A result is built in the shape of the answers, so a pointer must say what to build. Array indexes
//! cannot: a token is always the name of a member.

use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;

/// Deepest pointer: deeper answers are not written by people.
const TOKENS_MAX: usize = 32;
/// Longest pointer in bytes.
const BYTES_MAX: usize = 1024;

/// A checked pointer; the empty one is the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    tokens: Vec<String>,
}

/// Why a pointer was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the JSON pointer {text:?} is not valid: write \"\" for the whole document or \"/name/name\", with ~1 for / and ~0 for ~ (RFC 6901), at most {TOKENS_MAX} names"
)]
pub struct PointerError {
    /// The refused text, cut to 64 characters.
    pub text: String,
}

impl Pointer {
    /// Whether it points to the whole document.
    pub fn is_root(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The names on the way.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Whether one of the two lies within the other, so that a document cannot have both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.tokens.starts_with(&other.tokens) || other.tokens.starts_with(&self.tokens)
    }

    /// A document with `value` where this points.
    pub fn document(&self, value: Value) -> Value {
        self.tokens.iter().rev().fold(value, |value, token| {
            Value::Object(Map::from_iter([(token.clone(), value)]))
        })
    }

    /// The text of a document with `value`, which is JSON, where this points.
    pub(super) fn wrap(&self, value: &str) -> String {
        let names = self.tokens.iter().map(|t| t.len() + 8).sum::<usize>();
        let mut text = String::with_capacity(value.len() + names);
        for token in &self.tokens {
            text.push('{');
            text.push_str(&Value::from(token.as_str()).to_string());
            text.push(':');
        }
        text.push_str(value);
        text.extend(self.tokens.iter().map(|_| '}'));
        text
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let refusal = || PointerError {
            text: text.chars().take(64).collect(),
        };
        if text.is_empty() {
            return Ok(Self::default());
        }
        let rest = text.strip_prefix('/').ok_or_else(refusal)?;
        let tokens: Option<Vec<String>> = rest.split('/').map(unescape).collect();
        let tokens = tokens.ok_or_else(refusal)?;
        if tokens.len() > TOKENS_MAX || text.len() > BYTES_MAX {
            return Err(refusal());
        }
        Ok(Self { tokens })
    }
}

fn unescape(token: &str) -> Option<String> {
    let mut plain = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '~' => match chars.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pointers read and print as RFC 6901 says, and nonsense is refused.
    #[test]
    fn as_the_rfc_says() {
        for good in ["", "/", "/a", "/a/b", "/a~1b/~0c", "/ü"] {
            let pointer: Pointer = good.parse().unwrap();
            assert_eq!(pointer.to_string(), good);
        }
        for bad in ["a", "a/b", "/~", "/~2", "/a~", &"/a".repeat(33)] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
        let pointer: Pointer = "/a~1b/c".parse().unwrap();
        assert_eq!(pointer.wrap("7"), r#"{"a/b":{"c":7}}"#);
        assert_eq!(pointer.document(7.into()).to_string(), pointer.wrap("7"));
    }
}
