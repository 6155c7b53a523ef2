//! Ids: opaque texts to users, numbers in the log.

use quorate_core::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One incarnation of a process or sidecar, issued by the cluster: what its liveness is told of. All
/// its candidacies hang off it. A namesake that restarts gets another one, so it cannot keep a dead
/// process's leaderships alive. Whoever knows the id can act for the process: it is shown to nobody
/// else.
///
/// Users see an opaque text: a letter for the kind, the format version `1`, and the number in
/// hexadecimal. The top 12 bits are the slot, which maps to a group (always 0 today). The number is
/// drawn from the counter of fencing tokens, so no session has that of another, ever.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s1{:016x}", self.0)
    }
}

impl FromStr for SessionId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        text.strip_prefix("s1")
            .filter(|hex| {
                hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "{:?} is not a session id; pass the text exactly as it was answered",
                    text.chars().take(64).collect::<String>(),
                ))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_survives_its_text_and_nothing_else_is_taken_for_one() {
        let id = SessionId(0x6_5a4b_3c2d);
        assert_eq!(id.to_string().parse::<SessionId>().unwrap(), id);
        for bad in [
            "",
            "s1",
            "s2000000065a4b3c2d",
            "s1000000065A4B3C2D",
            "j1000000065a4b3c2d",
            "s1+00000065a4b3c2d",
        ] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
