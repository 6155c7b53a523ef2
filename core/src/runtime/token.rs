//! Bearer tokens of a listener: read from a file, compared in constant time, never logged.
//!
//! The file holds one token a line, at most two, so that tokens are rotated without a gap: add the
//! new one, move the clients, remove the old one. It is read again when it changes. Only digests are
//! kept in memory.

use super::exit::Failure;
use crate::types::Principal;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Tokens valid at a time.
const TOKENS_MAX: usize = 2;

/// Longest file in bytes.
const FILE_BYTES_MAX: usize = 16 * 1024;

/// Fewer characters than this do not hold the 256 random bits a token should have.
const TOKEN_CHARS_GOOD: usize = 32;

/// How often the file is looked at.
pub const RELOAD_EVERY: Duration = Duration::from_secs(1);

struct Token {
    digest: [u8; 32],
    principal: Principal,
}

/// The tokens that are valid now.
pub struct Tokens {
    path: PathBuf,
    valid: RwLock<Arc<[Token]>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads the file. A file without a good token stops the start.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let valid = read(path).map_err(Failure::config)?;
        Ok(Self {
            path: path.to_owned(),
            valid: RwLock::new(valid.into()),
        })
    }

    /// Reads the file again. When that fails, the tokens stay as they were: a rotation in progress
    /// must lock nobody out.
    pub fn reload(&self) {
        match read(&self.path) {
            Err(why) => tracing::warn!("{why}; the tokens read before stay valid"),
            Ok(now) => {
                let mut valid = self
                    .valid
                    .write()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                let same = now.len() == valid.len()
                    && now
                        .iter()
                        .zip(valid.iter())
                        .all(|(a, b)| a.digest == b.digest);
                if !same {
                    tracing::info!(file = %self.path.display(), tokens = now.len(), "tokens read again");
                    *valid = now.into();
                }
            }
        }
    }

    /// Who presents this token, if it is valid. Compares digests, each in full, so that the time
    /// taken tells nothing about a valid token.
    pub fn principal(&self, presented: &[u8]) -> Option<Principal> {
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let valid = Arc::clone(
            &self
                .valid
                .read()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let mut found = None;
        for token in valid.iter() {
            if equal(&token.digest, &digest) {
                found = Some(token.principal.clone());
            }
        }
        found
    }
}

fn equal(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn read(path: &Path) -> Result<Vec<Token>, String> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .map_err(|error| format!("cannot read the token file {shown}: {error}"))?
        .len();
    if size > FILE_BYTES_MAX as u64 {
        return Err(format!(
            "the token file {shown} is over {FILE_BYTES_MAX} bytes: one token a line"
        ));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read the token file {shown}: {error}"))?;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if lines.is_empty() || lines.len() > TOKENS_MAX {
        return Err(format!(
            "the token file {shown} holds {} tokens: it must hold one, or two while they are rotated, \
             one a line",
            lines.len()
        ));
    }
    if lines
        .iter()
        .any(|line| !line.bytes().all(|byte| byte.is_ascii_graphic()))
    {
        return Err(format!(
            "the token file {shown} holds a token with a blank or a character beyond ASCII: make one \
             by `openssl rand -hex 32`"
        ));
    }
    Ok(lines.into_iter().map(token).collect())
}

fn token(line: &str) -> Token {
    let digest: [u8; 32] = Sha256::digest(line.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    let name = format!("token:{a:02x}{b:02x}{c:02x}{d:02x}");
    if line.len() < TOKEN_CHARS_GOOD {
        tracing::warn!(
            token = name,
            "the token is shorter than {TOKEN_CHARS_GOOD} characters and may be guessed: make one by `openssl rand -hex 32`"
        );
    }
    Token {
        digest,
        principal: Principal(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef0123456789abcdef";
    const TWO: &str = "fedcba9876543210fedcba9876543210";

    #[test]
    fn two_tokens_are_valid_while_they_are_rotated() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), ONE).unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        let first = tokens.principal(ONE.as_bytes()).unwrap();
        assert!(first.0.starts_with("token:") && first.0.len() == 14);
        assert_eq!(tokens.principal(TWO.as_bytes()), None);

        std::fs::write(file.path(), format!("{ONE}\n{TWO}\n")).unwrap();
        tokens.reload();
        assert_eq!(tokens.principal(ONE.as_bytes()), Some(first.clone()));
        assert_ne!(tokens.principal(TWO.as_bytes()), Some(first));

        std::fs::write(file.path(), TWO).unwrap();
        tokens.reload();
        assert_eq!(tokens.principal(ONE.as_bytes()), None);
        assert!(tokens.principal(TWO.as_bytes()).is_some());
    }

    #[test]
    fn a_bad_file_stops_the_start_but_locks_nobody_out_later() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for bad in ["", "\n\n", "a\nb\nc", "two words", "ümlaut"] {
            std::fs::write(file.path(), bad).unwrap();
            assert!(Tokens::open(file.path()).is_err(), "{bad:?}");
        }
        std::fs::write(file.path(), ONE).unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        std::fs::write(file.path(), "").unwrap();
        tokens.reload();
        assert!(tokens.principal(ONE.as_bytes()).is_some());
    }

    #[test]
    fn no_text_about_tokens_holds_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{ONE} {TWO}")).unwrap();
        let refusal = Tokens::open(file.path()).unwrap_err().to_string();
        assert!(!refusal.contains(ONE), "{refusal}");
        std::fs::write(file.path(), ONE).unwrap();
        let tokens = Tokens::open(file.path()).unwrap();
        assert!(!format!("{tokens:?}").contains(ONE));
    }
}
