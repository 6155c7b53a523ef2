//! Payloads of a load: JSON texts of one length that carry the job's number.

use bytes::Bytes;

/// Digits of a number, so that all payloads are of one length.
const DIGITS: usize = 10;
const HEAD: &[u8] = b"{\"n\":\"";
const MIDDLE: &[u8] = b"\",\"x\":\"";
const TAIL: &[u8] = b"\"}";

/// Shortest payload in bytes.
pub(super) const BYTES_MIN: usize = HEAD.len() + DIGITS + MIDDLE.len() + TAIL.len();

/// The payload of a job, `bytes` long, at least [`BYTES_MIN`].
pub(super) fn make(number: u64, bytes: usize) -> Bytes {
    let mut body = Vec::with_capacity(bytes);
    body.extend_from_slice(HEAD);
    body.extend_from_slice(format!("{number:0DIGITS$}").as_bytes());
    body.extend_from_slice(MIDDLE);
    body.resize(bytes.saturating_sub(TAIL.len()).max(body.len()), b'x');
    body.extend_from_slice(TAIL);
    Bytes::from(body)
}

/// The number of the job whose payload is in `text`, which may be a larger JSON text around it.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    let at = text.windows(HEAD.len()).position(|window| window == HEAD)?;
    let digits = text.get(at + HEAD.len()..at + HEAD.len() + DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_length_asked_for_are_json_and_tell_their_number() {
        for (n, bytes) in [(0, BYTES_MIN), (7, 64), (9_999_999_999, 256)] {
            let body = make(n, bytes);
            assert_eq!(body.len(), bytes);
            serde_json::from_slice::<serde_json::Value>(&body).unwrap();
            assert_eq!(number(&body), Some(n));
            assert_eq!(
                number(&[b"{\"payload\":", &body[..], b"}"].concat()),
                Some(n)
            );
        }
        assert_eq!(number(b"{\"n\":\"12\"}"), None);
    }
}
