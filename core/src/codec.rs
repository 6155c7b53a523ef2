//! Bytes of everything that is kept: log entries, snapshot slices, answers of the dedupe window.
//!
//! The only user of `bincode`, which is complete but unmaintained (RUSTSEC-2025-0141): this module
//! could be replaced by a vendored or another codec under a new [`FORMAT`] without touching a caller.
//! Bytes reach it only from checksummed frames and from peers of the same cluster. Every value begins
//! with the format tag; decoding is bounded and refuses trailing bytes.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Tag of the only format so far: bincode 2 with its standard configuration.
pub const FORMAT: u8 = 1;

/// Longest value that is decoded, in bytes. An entry holds at most a few MiB of operations.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

const CONFIG: Configuration<LittleEndian, Varint, Limit<BYTES_MAX>> =
    bincode::config::standard().with_limit::<BYTES_MAX>();

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There were no bytes at all.
    #[error("no bytes to decode")]
    Empty,
    /// The value was written by a newer version.
    #[error(
        "format {0} is not known to this version (it knows {FORMAT}); run the version that wrote it or a newer one"
    )]
    UnknownFormat(u8),
    /// The bytes do not decode.
    #[error("malformed value: {0}")]
    Malformed(String),
    /// Bytes are left over.
    #[error("{0} bytes are left over")]
    Trailing(usize),
}

/// Appends `value` to `out`, with the format tag.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    out.push(FORMAT);
    bincode::serde::encode_into_std_write(value, out, CONFIG).expect(
        "our own types encode: they have no unsized sequence and writing to a Vec cannot fail",
    );
}

/// The bytes of `value`, with the format tag.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    encode_into(value, &mut out);
    out
}

/// The value of exactly these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = decode_prefix(bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::Trailing(rest.len()))
    }
}

/// The first value of these bytes, and what follows it.
pub fn decode_prefix<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    let (format, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *format != FORMAT {
        return Err(CodecError::UnknownFormat(*format));
    }
    let (value, read) = bincode::serde::decode_from_slice(body, CONFIG)
        .map_err(|error| CodecError::Malformed(error.to_string()))?;
    let rest = body.get(read..).ok_or(CodecError::Trailing(0))?;
    Ok((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_empty_foreign_cut_and_trailing_bytes() {
        let good = encode(&(7_u64, "x".to_owned()));
        assert_eq!(decode::<(u64, String)>(&good), Ok((7, "x".to_owned())));
        assert_eq!(decode::<u64>(&[]), Err(CodecError::Empty));
        assert_eq!(decode::<u64>(&[9, 1]), Err(CodecError::UnknownFormat(9)));
        assert!(matches!(
            decode::<(u64, String)>(&good[..good.len() - 1]),
            Err(CodecError::Malformed(_))
        ));
        assert_eq!(decode::<u8>(&[FORMAT, 1, 2]), Err(CodecError::Trailing(1)));
    }

    #[test]
    fn a_length_beyond_the_bytes_allocates_nothing_and_is_refused() {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&[253, 255, 255, 255, 255, 255, 255, 255, 127]);
        assert!(matches!(
            decode::<Vec<u8>>(&bytes),
            Err(CodecError::Malformed(_))
        ));
    }
}
