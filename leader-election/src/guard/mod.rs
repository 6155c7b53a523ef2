//! Guards: what the *protected resource* does with a fencing token.
//!
//! An election alone cannot keep an old leader from writing. A process that is stopped for a minute
//! between "I lead" and its write wakes up after somebody else was elected, and the write goes out
//! (Kleppmann, "How to do distributed locking", 2016). So every grant carries a token that only grows,
//! and the resource refuses a token below the highest it has seen. These are such resources:
//!
//! | Guard | The resource |
//! | --- | --- |
//! | [`Register`] | a value in this process |
//! | [`SharedFile`] | a file that several processes can reach |
//! | `sql` (feature `guard-sql`) | rows of an SQLite database; the statements are those of PostgreSQL too |
//! | `http` (feature `guard-http`) | an HTTP service, as a tower layer that reads the token from a header |
//!
//! **Seal before you read.** Refusing old tokens protects what the new leader *writes*, not what it
//! *read*: between its first read and its first write an old leader, whose token is still the highest
//! the resource has seen, may write once more, and the new leader goes on from a state that is no more.
//! Hence each guard has a step `seal(token)`, which raises the highest token without writing anything.
//! A new leader seals first and reads then; whatever it read is the last word of all leaders before it.
//!
//! What a guard promises needs no clock and no bound on delays: once a token was sealed or has written,
//! nothing with an older token changes the resource.

mod file;
#[cfg(feature = "guard-http")]
pub mod http;
mod register;
#[cfg(feature = "guard-sql")]
pub mod sql;

pub use file::{FileError, SharedFile};
pub use register::Register;

use quorate_core::error::{Code, Error};
use quorate_core::types::FencingToken;

/// The resource has seen a newer token: whoever presented this one leads no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "fencing token {token} is stale: the resource has seen {highest}; you lead no longer, stop writing and campaign again"
)]
pub struct Stale {
    /// What was presented.
    pub token: FencingToken,
    /// The highest the resource has seen.
    pub highest: FencingToken,
}

impl From<Stale> for Error {
    fn from(stale: Stale) -> Self {
        Self::new(Code::StaleFencingToken, stale.to_string())
    }
}

/// The one comparison that all guards make. Gives the token that is the highest from here on.
fn admit(highest: FencingToken, token: FencingToken) -> Result<FencingToken, Stale> {
    if token < highest {
        Err(Stale { token, highest })
    } else {
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_admitted_token_is_older_than_one_before_it(tokens in proptest::collection::vec(0_u64..50, 1..100)) {
            // Proves: over any sequence the admitted tokens never decrease, and every token that is as new
            // as the newest is admitted.
            let mut highest = FencingToken(0);
            for token in tokens.into_iter().map(FencingToken) {
                match admit(highest, token) {
                    Ok(new) => {
                        proptest::prop_assert!(new >= highest && new == token);
                        highest = new;
                    }
                    Err(stale) => proptest::prop_assert!(token < highest && stale.highest == highest),
                }
            }
        }
    }
}
