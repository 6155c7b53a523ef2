//! The state as bytes, in slices, while it keeps changing.
//!
//! A slice is a sequence of `Record`s, each through `quorate_core::codec`. Rows come table by table,
//! each table by key; what follows from them is not kept but rebuilt. **Format rule**: records and
//! enums grow at the end only; a row that changes its fields becomes a new record, and both are read.

use super::rows::{Candidate, Election, Header, Session};
use super::settle::is_revoking;
use super::store::{ElectionMachine, mix};
use super::types::{Change, SessionId};
use quorate_core::codec::{self, CodecError};
use quorate_core::table::Table;
use quorate_core::types::Name;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One record of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    Header(Header),
    Election(Name, Election),
    Session(SessionId, Session),
    Candidate((Name, Name), Candidate),
    Change(u64, Arc<Change>),
    End(Totals),
}

/// The same, borrowed: what is written must not be cloned first. Variants in the same order.
#[derive(Serialize)]
enum RecordRef<'a> {
    Header(&'a Header),
    Election(&'a Name, &'a Election),
    Session(&'a SessionId, &'a Session),
    Candidate(&'a (Name, Name), &'a Candidate),
    Change(&'a u64, &'a Arc<Change>),
    End(&'a Totals),
}

/// What must have come in when the last slice is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    elections: u64,
    sessions: u64,
    candidates: u64,
    history: u64,
    revision: u64,
    mix: u64,
}

/// Where a snapshot is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    stage: Stage,
    header: Header,
    totals: Totals,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Header,
    Elections,
    Sessions,
    Candidates,
    History,
    End,
    Over,
}

impl ElectionMachine {
    pub(super) fn begin(&mut self) {
        self.elections.snapshot_begin();
        self.sessions.snapshot_begin();
        self.candidates.snapshot_begin();
        self.history.snapshot_begin();
        self.walk = Some(Walk {
            stage: Stage::Header,
            header: self.header,
            totals: self.totals(),
        });
    }

    pub(super) fn slice(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut walk = self.walk?;
        if walk.stage == Stage::Over {
            self.walk = None;
            return None;
        }
        let mut out = Vec::with_capacity(bytes_max.min(1 << 20));
        while walk.stage != Stage::Over && (out.is_empty() || out.len() < bytes_max) {
            let (done, next) = match walk.stage {
                Stage::Header => {
                    codec::encode_into(&RecordRef::Header(&walk.header), &mut out);
                    (true, Stage::Elections)
                }
                Stage::Elections => (
                    rows(&mut self.elections, bytes_max, &mut out, |key, row| {
                        RecordRef::Election(key, row)
                    }),
                    Stage::Sessions,
                ),
                Stage::Sessions => (
                    rows(&mut self.sessions, bytes_max, &mut out, |key, row| {
                        RecordRef::Session(key, row)
                    }),
                    Stage::Candidates,
                ),
                Stage::Candidates => (
                    rows(&mut self.candidates, bytes_max, &mut out, |key, row| {
                        RecordRef::Candidate(key, row)
                    }),
                    Stage::History,
                ),
                Stage::History => (
                    rows(&mut self.history, bytes_max, &mut out, |key, row| {
                        RecordRef::Change(key, row)
                    }),
                    Stage::End,
                ),
                Stage::End | Stage::Over => {
                    codec::encode_into(&RecordRef::End(&walk.totals), &mut out);
                    (true, Stage::Over)
                }
            };
            if done {
                walk.stage = next;
            }
        }
        self.walk = Some(walk);
        Some(out)
    }

    pub(super) fn restore(&mut self, mut slice: &[u8]) -> Result<(), CodecError> {
        while !slice.is_empty() {
            let (record, rest) = codec::decode_prefix(slice)?;
            slice = rest;
            if self.restored.is_some() {
                return Err(malformed("a record after the end of the snapshot"));
            }
            let double = match record {
                Record::Header(header) => {
                    self.header = header;
                    false
                }
                Record::Election(name, row) => self.elections.insert(name, row).is_some(),
                Record::Session(id, row) => self.sessions.insert(id, row).is_some(),
                Record::Candidate(key, row) => self.candidates.insert(key, row).is_some(),
                Record::Change(revision, change) => self.history.insert(revision, change).is_some(),
                Record::End(totals) => {
                    self.restored = Some(totals);
                    false
                }
            };
            if double {
                return Err(malformed("a row that came before"));
            }
        }
        Ok(())
    }

    /// Rebuilds what follows from the tables, and refuses what does not fit together.
    pub(super) fn rebuild(&mut self) -> Result<(), CodecError> {
        let Some(expected) = self.restored.take() else {
            return Err(malformed("the snapshot has no end"));
        };
        for (key, row) in self.candidates.iter() {
            if !self.sessions.contains_key(&row.session) || !self.elections.contains_key(&key.0) {
                return Err(malformed("a candidate of no session or no election"));
            }
            let place = Self::place(&key.0, row);
            if self.order.insert(place, key.1.clone()).is_some() {
                return Err(malformed("two candidates at one place"));
            }
            let stands = self.stands.entry(row.session).or_default();
            stands.insert(key.clone());
        }
        let mut names = Vec::with_capacity(self.elections.len());
        for (name, row) in self.elections.iter() {
            names.push(name.clone());
            let Some(leader) = row.leader.as_deref() else {
                continue;
            };
            let key = (name.clone(), leader.candidate.clone());
            if self
                .candidates
                .get(&key)
                .is_none_or(|row| row.session != leader.session)
            {
                return Err(malformed("a leader that is no candidate"));
            }
            if is_revoking(leader) {
                self.revoking.insert(leader.token, name.clone());
            }
        }
        for name in names {
            self.retime(&name);
        }
        let mut revisions = self.history.iter().map(|(revision, _)| *revision);
        if let Some(first) = revisions.next() {
            let gap = revisions.zip(first + 1..).any(|(is, should)| is != should);
            let last = self.history.iter().next_back();
            if gap || last.map(|(last, _)| *last) != Some(self.header.revision) {
                return Err(malformed("the history has a gap"));
            }
        }
        if self.totals() == expected {
            Ok(())
        } else {
            Err(malformed("the counts do not match what came in"))
        }
    }

    fn totals(&self) -> Totals {
        Totals {
            elections: self.elections.len() as u64,
            sessions: self.sessions.len() as u64,
            candidates: self.candidates.len() as u64,
            history: self.history.len() as u64,
            revision: self.header.revision,
            mix: self.header.mix,
        }
    }

    /// A few numbers that differ when states differ.
    pub(super) fn fold(&self) -> u64 {
        let t = self.totals();
        [
            t.elections,
            t.sessions,
            t.candidates,
            t.history,
            t.revision,
            t.mix,
            self.revoking.len() as u64,
            self.timers.len() as u64,
        ]
        .into_iter()
        .fold(0, |hash, part| mix(hash ^ part))
    }
}

/// Writes rows of a table until the slice is full. True when all are written.
fn rows<K, V>(
    table: &mut Table<K, V>,
    bytes_max: usize,
    out: &mut Vec<u8>,
    record: impl for<'b> Fn(&'b K, &'b V) -> RecordRef<'b>,
) -> bool
where
    K: Ord + Clone,
    V: Clone,
{
    table.snapshot_rows(|key, row| {
        codec::encode_into(&record(key, row), out);
        out.len() < bytes_max
    })
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
