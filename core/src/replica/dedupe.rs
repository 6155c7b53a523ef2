//! Operations that are retried are executed once: remembered answers, by client stream and by
//! idempotency key.
//!
//! Part of the replicated state: looked up and filled in while an entry is applied, so that a retry
//! finds the answer whichever node leads. Everything is bounded; what does not fit is refused and not
//! executed, and nothing that was promised is forgotten before its time. Failures that say "certainly
//! not done, try again" are not remembered, or the retry could never succeed.

use crate::codec::{self, CodecError};
use crate::error::{Code, Error, Kind};
use crate::machine::OpKey;
use crate::table::Table;
use crate::types::{LogTime, Principal};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A stream that was silent for so long is forgotten; its operations are refused from then on.
pub const STREAM_IDLE_MS: u64 = 10 * 60 * 1000;

/// An idempotency key is honoured for so long after its first use.
pub const KEY_KEPT_MS: u64 = 60 * 60 * 1000;

/// Open streams of a group: each costs about 200 bytes.
const STREAMS_MAX: usize = 100_000;

/// Remembered answers of one stream: more than any client has in flight.
const STREAM_ANSWERS_MAX: u32 = 4096;

/// Bytes of remembered answers of one stream; leases hand out payloads.
const STREAM_BYTES_MAX: u64 = 64 << 20;

/// Bytes of remembered answers of all streams.
const STREAMS_BYTES_MAX: u64 = 512 << 20;

/// Remembered keys of one principal.
const KEYS_PER_PRINCIPAL_MAX: u64 = 1_000_000;

/// Bytes of their answers.
const KEY_BYTES_PER_PRINCIPAL_MAX: u64 = 256 << 20;

/// What a remembered answer costs beside its bytes.
const ANSWER_OVERHEAD_BYTES: u64 = 96;

/// Expired rows removed with each entry: more than an entry can add.
const EXPIRE_PER_ENTRY_MAX: usize = 8192;

/// The idle index need not be exact: a stream is moved in it at most this often.
const TOUCH_MS: u64 = 1000;

/// How long a caller over quota should wait: keys expire all the time.
const RETRY_AFTER_MS: u64 = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stream {
    principal: Principal,
    used: LogTime,
    done_below: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    body: u128,
    principal: Principal,
    at: LogTime,
    answer: Bytes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    answers: u64,
    bytes: u64,
}

impl Usage {
    fn add(&mut self, answer: &Bytes) {
        self.answers += 1;
        self.bytes += answer.len() as u64 + ANSWER_OVERHEAD_BYTES;
    }

    fn remove(&mut self, answer: &Bytes) {
        self.answers -= 1;
        self.bytes -= answer.len() as u64 + ANSWER_OVERHEAD_BYTES;
    }
}

/// What to do with an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was not executed before.
    Execute,
    /// It was: this is the encoded answer.
    Answer(Bytes),
    /// It must not be executed.
    Refuse(Error),
}

/// The remembered answers of a group.
#[derive(Debug, Default)]
pub(super) struct Dedupe {
    last_stream: u64,
    streams: Table<u64, Stream>,
    answers: Table<(u64, u64), Bytes>,
    keys: Table<u128, Kept>,
    // Derived from the above.
    idle: BTreeSet<(LogTime, u64)>,
    aging: BTreeSet<(LogTime, u128)>,
    of_stream: BTreeMap<u64, Usage>,
    of_streams: Usage,
    of_principal: BTreeMap<Principal, Usage>,
}

impl Dedupe {
    /// Opens a stream.
    pub(super) fn open(&mut self, time: LogTime, principal: &Principal) -> Result<u64, Error> {
        if self.streams.len() >= STREAMS_MAX {
            return Err(over_quota(format!(
                "{STREAMS_MAX} client streams are open; idle ones expire"
            )));
        }
        self.last_stream += 1;
        let stream = Stream {
            principal: principal.clone(),
            used: time,
            done_below: 0,
        };
        self.streams.insert(self.last_stream, stream);
        self.idle.insert((time, self.last_stream));
        Ok(self.last_stream)
    }

    /// What to do with an operation under this key, at this time.
    pub(super) fn look_up(&mut self, time: LogTime, principal: &Principal, key: &OpKey) -> Verdict {
        match *key {
            OpKey::Stream {
                stream,
                seq,
                done_below,
            } => self.look_up_stream(time, principal, stream, seq, done_below),
            OpKey::Idempotency { key, body } => self.look_up_key(time, principal, key, body),
        }
    }

    /// Whether an operation under this key is certain to be executed or parked like one without: it
    /// was not answered before and its stream is open.
    pub(super) fn is_new(&self, key: &OpKey) -> bool {
        match *key {
            OpKey::Stream { stream, seq, .. } => {
                self.streams.contains_key(&stream) && !self.answers.contains_key(&(stream, seq))
            }
            OpKey::Idempotency { key, .. } => !self.keys.contains_key(&key),
        }
    }

    fn look_up_stream(
        &mut self,
        time: LogTime,
        principal: &Principal,
        id: u64,
        seq: u64,
        done_below: u64,
    ) -> Verdict {
        if seq == 0 || seq == u64::MAX || done_below > seq {
            return Verdict::Refuse(Error::invalid(
                "operations of a stream are numbered from 1, and done_below is at most the number",
            ));
        }
        let live = |stream: &&Stream| {
            stream.principal == *principal && time.since_ms(stream.used) < STREAM_IDLE_MS
        };
        let Some(stream) = self.streams.get(&id).filter(live) else {
            return Verdict::Refuse(Error::new(
                Code::SessionExpired,
                "the client stream is unknown or was idle too long; open a new one. This operation was not executed now, but an earlier attempt may have been",
            ));
        };
        let known_below = stream.done_below;
        if time.since_ms(stream.used) >= TOUCH_MS || done_below > known_below {
            self.touch(time, id, done_below);
        }
        if done_below > known_below {
            self.forget_below(id, known_below, done_below);
        }
        if seq < done_below.max(known_below) {
            return Verdict::Refuse(Error::invalid(format!(
                "number {seq} comes too late: the stream said that it needs no answer below {} any more",
                done_below.max(known_below)
            )));
        }
        if let Some(answer) = self.answers.get(&(id, seq)) {
            return Verdict::Answer(answer.clone());
        }
        let usage = self.of_stream.get(&id).copied().unwrap_or_default();
        if usage.answers >= u64::from(STREAM_ANSWERS_MAX) || usage.bytes >= STREAM_BYTES_MAX {
            return Verdict::Refuse(over_quota(
                "too many answers of this stream are unacknowledged; raise done_below".to_owned(),
            ));
        }
        if self.of_streams.bytes >= STREAMS_BYTES_MAX {
            return Verdict::Refuse(over_quota(
                "too many answers of all streams are unacknowledged".to_owned(),
            ));
        }
        Verdict::Execute
    }

    fn touch(&mut self, time: LogTime, id: u64, done_below: u64) {
        if let Some(stream) = self.streams.get_mut(&id) {
            self.idle.remove(&(stream.used, id));
            stream.used = time;
            stream.done_below = stream.done_below.max(done_below);
            self.idle.insert((time, id));
        }
    }

    fn look_up_key(&self, time: LogTime, principal: &Principal, key: u128, body: u128) -> Verdict {
        match self
            .keys
            .get(&key)
            .filter(|kept| time.since_ms(kept.at) < KEY_KEPT_MS)
        {
            Some(kept) if kept.body == body && kept.principal == *principal => {
                Verdict::Answer(kept.answer.clone())
            }
            Some(_) => Verdict::Refuse(Error::new(
                Code::IdempotencyMismatch,
                "this idempotency key was used for another request; use a new key for a new request",
            )),
            None => {
                let usage = self
                    .of_principal
                    .get(principal)
                    .copied()
                    .unwrap_or_default();
                if usage.answers >= KEYS_PER_PRINCIPAL_MAX
                    || usage.bytes >= KEY_BYTES_PER_PRINCIPAL_MAX
                {
                    return Verdict::Refuse(over_quota(
                        "too many idempotency keys of this caller are remembered; they expire after an hour, or use a client stream".to_owned(),
                    ));
                }
                Verdict::Execute
            }
        }
    }

    /// Remembers the answer of an operation that [`Dedupe::look_up`] let pass at this time.
    pub(super) fn remember(
        &mut self,
        time: LogTime,
        principal: &Principal,
        key: &OpKey,
        failed: Option<&Error>,
        answer: &[u8],
    ) {
        if failed.is_some_and(|error| error.code.kind() == Kind::Retryable) {
            return;
        }
        let answer = Bytes::copy_from_slice(answer);
        match *key {
            OpKey::Stream { stream, seq, .. } => {
                self.of_stream.entry(stream).or_default().add(&answer);
                self.of_streams.add(&answer);
                self.answers.insert((stream, seq), answer);
            }
            OpKey::Idempotency { key, body } => {
                self.forget_key(key);
                self.of_principal
                    .entry(principal.clone())
                    .or_default()
                    .add(&answer);
                self.aging.insert((time, key));
                self.keys.insert(
                    key,
                    Kept {
                        body,
                        principal: principal.clone(),
                        at: time,
                        answer,
                    },
                );
            }
        }
    }

    /// Removes a bounded number of rows whose time is over.
    pub(super) fn advance(&mut self, time: LogTime) {
        for _ in 0..EXPIRE_PER_ENTRY_MAX {
            let stream = self
                .idle
                .first()
                .copied()
                .filter(|(used, _)| time.since_ms(*used) >= STREAM_IDLE_MS);
            let key = self
                .aging
                .first()
                .copied()
                .filter(|(at, _)| time.since_ms(*at) >= KEY_KEPT_MS);
            if let Some((_, id)) = stream {
                self.forget_stream(id);
            }
            if let Some((_, key)) = key {
                self.forget_key(key);
            }
            if stream.is_none() && key.is_none() {
                break;
            }
        }
    }

    fn forget_stream(&mut self, id: u64) {
        // Numbers end before u64::MAX: look_up refuses it.
        self.forget_below(id, 0, u64::MAX);
        if let Some(stream) = self.streams.remove(&id) {
            self.idle.remove(&(stream.used, id));
        }
        self.of_stream.remove(&id);
    }

    fn forget_below(&mut self, id: u64, from: u64, below: u64) {
        loop {
            let Some((&at, _)) = self.answers.range((id, from)..(id, below)).next() else {
                break;
            };
            if let Some(answer) = self.answers.remove(&at) {
                self.of_streams.remove(&answer);
                if let Some(usage) = self.of_stream.get_mut(&id) {
                    usage.remove(&answer);
                }
            }
        }
    }

    fn forget_key(&mut self, key: u128) {
        let Some(kept) = self.keys.remove(&key) else {
            return;
        };
        self.aging.remove(&(kept.at, key));
        if let Some(usage) = self.of_principal.get_mut(&kept.principal) {
            usage.remove(&kept.answer);
            if usage.answers == 0 {
                self.of_principal.remove(&kept.principal);
            }
        }
    }

    /// Begins a snapshot of the rows as they are now.
    pub(super) fn snapshot_begin(&mut self) {
        self.streams.snapshot_begin();
        self.answers.snapshot_begin();
        self.keys.snapshot_begin();
    }

    /// Appends rows of the snapshot up to about `bytes_max`, and gives their kind; `None` when it is
    /// complete.
    pub(super) fn snapshot_slice(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Option<Rows> {
        let begun = out.len();
        self.streams
            .snapshot_rows(|id, stream| put(out, bytes_max, &(id, stream)));
        if out.len() > begun {
            return Some(Rows::Streams);
        }
        self.answers
            .snapshot_rows(|at, answer| put(out, bytes_max, &(at, answer)));
        if out.len() > begun {
            return Some(Rows::Answers);
        }
        self.keys
            .snapshot_rows(|key, kept| put(out, bytes_max, &(key, kept)));
        (out.len() > begun).then_some(Rows::Keys)
    }

    /// Takes rows of a snapshot in.
    pub(super) fn restore(&mut self, rows: Rows, mut slice: &[u8]) -> Result<(), CodecError> {
        while !slice.is_empty() {
            slice = match rows {
                Rows::Streams => {
                    let ((id, stream), rest): ((u64, Stream), _) = codec::decode_prefix(slice)?;
                    self.idle.insert((stream.used, id));
                    self.streams.insert(id, stream);
                    rest
                }
                Rows::Answers => {
                    let ((at, answer), rest): (((u64, u64), Bytes), _) =
                        codec::decode_prefix(slice)?;
                    self.of_stream.entry(at.0).or_default().add(&answer);
                    self.of_streams.add(&answer);
                    self.answers.insert(at, answer);
                    rest
                }
                Rows::Keys => {
                    let ((key, kept), rest): ((u128, Kept), _) = codec::decode_prefix(slice)?;
                    self.of_principal
                        .entry(kept.principal.clone())
                        .or_default()
                        .add(&kept.answer);
                    self.aging.insert((kept.at, key));
                    self.keys.insert(key, kept);
                    rest
                }
            };
        }
        Ok(())
    }

    /// Number of the last stream that was opened.
    pub(super) fn last_stream(&self) -> u64 {
        self.last_stream
    }

    /// Continues with streams after this one.
    pub(super) fn set_last_stream(&mut self, last: u64) {
        self.last_stream = last;
    }

    /// What the state hash says of these tables.
    pub(super) fn digest(&self) -> u64 {
        [
            self.streams.len() as u64,
            self.answers.len() as u64,
            self.keys.len() as u64,
            self.of_streams.bytes,
        ]
        .into_iter()
        .fold(self.last_stream, super::hash::fold)
    }
}

/// Which table the rows of a slice belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rows {
    /// Open streams.
    Streams,
    /// Answers of streams.
    Answers,
    /// Idempotency keys.
    Keys,
}

/// Appends a row; whether there is room for another.
fn put<T: Serialize>(out: &mut Vec<u8>, bytes_max: usize, row: &T) -> bool {
    codec::encode_into(row, out);
    out.len() < bytes_max
}

fn over_quota(detail: String) -> Error {
    Error::new(Code::OverQuota, detail).retry_after_ms(RETRY_AFTER_MS)
}
