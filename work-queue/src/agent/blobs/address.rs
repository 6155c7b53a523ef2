//! Paths within `file:` addresses.

use std::fmt::Write as _;

/// A path as part of an address (RFC 3986): everything but unreserved characters and `/` as %XX.
pub(super) fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The path of an address; `None` when it is malformed or no text.
pub(super) fn decode(path: &str) -> Option<String> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            out.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out)
        .ok()
        .filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_and_what_is_no_path_is_refused() {
        for path in ["/a b/%/ü.bin", "/plain-1._~", "/"] {
            assert_eq!(decode(&encode(path)).as_deref(), Some(path));
        }
        for bad in ["/%", "/%4", "/%zz", "/%ff", "/%00"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
