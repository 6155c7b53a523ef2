//! Ids: opaque texts to users, numbers in the log.

use quorate_core::error::Error;
use quorate_core::types::FencingToken;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident $prefix:literal) => {
        $(#[$doc])*
        ///
        /// Users see an opaque text: a letter for the kind, the format version `1`, and the number in
        /// hexadecimal. The top 12 bits are the slot, which maps to a group (always 0 today).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "1{:016x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self, Error> {
                text.strip_prefix(concat!($prefix, "1"))
                    .filter(|hex| hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                    .map(Self)
                    .ok_or_else(|| Error::invalid(format!(
                        "{:?} is not a {}; pass the text exactly as it was answered",
                        text.chars().take(64).collect::<String>(), stringify!($name),
                    )))
            }
        }
    };
}

id! {
    /// A job.
    JobId "j"
}
id! {
    /// A batch of jobs that are joined.
    BatchId "b"
}
id! {
    /// One incarnation of a worker, issued by the queue.
    SessionId "s"
}
id! {
    /// One grant of one job. Its number is the grant's fencing token.
    LeaseId "l"
}

impl SessionId {
    /// No session: a request for work that ended without any and named none is answered with it, and
    /// a request that names it is one that names none.
    pub const NONE: Self = Self(0);
}

impl LeaseId {
    /// The fencing token of this grant.
    pub fn token(self) -> FencingToken {
        FencingToken(self.0)
    }
}
