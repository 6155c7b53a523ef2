//! What the payload of a log entry is: a header and the operations, in the order they are applied.
//!
//! Operations are encoded when they arrive and copied behind the header when their entry is proposed,
//! so that each is encoded once and the bounds on an entry are exact. The bytes are a format that is
//! kept on disk: the golden test below fails when they change.

use crate::codec::{self, CodecError};
use crate::machine::{Op, Origin};
use crate::types::{LogIndex, LogTime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What precedes the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Machine level that was active where the entry was proposed. A replica that does not know it
    /// must not apply the entry.
    pub(super) level: u16,
    /// Time of the entry.
    pub(super) time: LogTime,
    /// The leader's state hash after this index, for the others to compare.
    pub(super) check: Option<(LogIndex, u64)>,
}

/// What the log can hold. New variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command<C> {
    /// A command of the machine.
    Machine(C),
    /// A command of the machine whose caller is willing to wait: not executed, as though it had never
    /// been asked, when the machine says that it would find nothing.
    Waiting(C),
    /// Opens a client stream.
    OpenStream,
    /// Makes this machine level the active one.
    Activate {
        /// The level.
        level: u16,
    },
}

/// One operation as it is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LoggedOp<C> {
    /// Who asks.
    pub(super) origin: Origin,
    /// For what.
    pub(super) command: Command<C>,
}

impl<C> LoggedOp<C> {
    /// An operation of a caller; `waiting` when it may be parked.
    pub(super) fn new(op: Op<C>, waiting: bool) -> Self {
        let command = if waiting {
            Command::Waiting(op.command)
        } else {
            Command::Machine(op.command)
        };
        Self {
            origin: op.origin,
            command,
        }
    }
}

/// An entry with its operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry<C> {
    /// What precedes the operations.
    pub(super) header: Header,
    /// The operations; none for a tick.
    pub(super) ops: Vec<LoggedOp<C>>,
}

/// The payload of an entry whose operations are already encoded.
pub(super) fn assemble(header: &Header, ops: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(ops.len() + 48);
    codec::encode_into(header, &mut payload);
    payload.extend_from_slice(ops);
    payload
}

/// The entry of a payload.
pub(super) fn decode<C: DeserializeOwned>(payload: &[u8]) -> Result<Entry<C>, CodecError> {
    let (header, mut rest) = codec::decode_prefix(payload)?;
    let mut ops = Vec::new();
    while !rest.is_empty() {
        let (op, after) = codec::decode_prefix(rest)?;
        ops.push(op);
        rest = after;
    }
    Ok(Entry { header, ops })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::OpKey;
    use crate::types::{Principal, Term};

    fn sample() -> (Header, Vec<LoggedOp<u32>>) {
        let header = Header {
            level: 1,
            time: LogTime(1_700_000_000_123),
            check: Some((LogIndex(9), 77)),
        };
        let client = |key| Origin::Client {
            principal: Principal::anonymous(),
            key,
        };
        let ops = vec![
            LoggedOp {
                origin: client(None),
                command: Command::Machine(5),
            },
            LoggedOp {
                origin: client(Some(OpKey::Stream {
                    stream: 3,
                    seq: 2,
                    done_below: 1,
                })),
                command: Command::Waiting(300),
            },
            LoggedOp {
                origin: client(Some(OpKey::Idempotency {
                    key: 1 << 100,
                    body: 6,
                })),
                command: Command::OpenStream,
            },
            LoggedOp {
                origin: Origin::Leader(Term(4)),
                command: Command::Activate { level: 2 },
            },
        ];
        (header, ops)
    }

    #[test]
    fn golden_bytes_of_the_entry_format() {
        let (header, ops) = sample();
        let mut encoded = Vec::new();
        ops.iter()
            .for_each(|op| codec::encode_into(op, &mut encoded));
        let payload = assemble(&header, &encoded);
        assert_eq!(decode::<u32>(&payload), Ok(Entry { header, ops }));
        let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex, GOLDEN,
            "the format on disk changed: old logs would not be readable"
        );
    }

    const GOLDEN: &str = concat!(
        "0101fd7b68e5cf8b01000001094d",
        "010009616e6f6e796d6f7573000005",
        "010009616e6f6e796d6f7573010003020101fb2c01",
        "010009616e6f6e796d6f75730101fe0000000000000000000000001000000006",
        "02",
        "0101040302",
    );

    #[test]
    fn a_cut_payload_is_refused_at_every_length_that_ends_within_a_value() {
        let (header, ops) = sample();
        let mut payload = assemble(&header, &[]);
        let mut ends = vec![payload.len()];
        for op in &ops {
            codec::encode_into(op, &mut payload);
            ends.push(payload.len());
        }
        for len in 0..payload.len() {
            let whole = decode::<u32>(&payload[..len]).is_ok();
            assert_eq!(whole, ends.contains(&len), "cut at {len}");
        }
    }
}
