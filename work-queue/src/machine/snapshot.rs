//! The state as bytes, in slices, while it keeps changing.
//!
//! A slice is a sequence of [`Record`]s, each through `quorate_core::codec`. Rows come table by table,
//! each table by key; indexes are not kept but rebuilt. **Format rule**: records and enums grow at the
//! end only; a row that changes its fields becomes a new record, and both are read.

use super::index::{Face, QueueIndex};
use super::rows::{Batch, Job, Queue, QueueId, Session};
use super::store::{Header, QueueMachine, Sweep};
use super::types::{BatchId, Counts, JobId, NewJob, SessionId, State};
use quorate_core::codec::{self, CodecError};
use serde::{Deserialize, Serialize};

/// One record of a slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Record {
    Header(Header),
    Queue(QueueId, Queue),
    Session(SessionId, Session),
    Job(JobId, Job),
    Batch(BatchId, Batch),
    End(Totals),
}

/// The same, borrowed: what is written must not be cloned first. Variants in the same order.
#[derive(Serialize)]
enum RecordRef<'a> {
    Header(&'a Header),
    Queue(&'a QueueId, &'a Queue),
    Session(&'a SessionId, &'a Session),
    Job(&'a JobId, &'a Job),
    Batch(&'a BatchId, &'a Batch),
    End(&'a Totals),
}

/// What must have come in when the last slice is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Totals {
    queues: u64,
    sessions: u64,
    jobs: u64,
    batches: u64,
    /// Exclusive or of the hashes of all jobs.
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
    Queues,
    Sessions,
    Jobs,
    Batches,
    End,
    Over,
}

impl QueueMachine {
    pub(super) fn begin(&mut self) {
        self.queues.snapshot_begin();
        self.sessions.snapshot_begin();
        self.jobs.snapshot_begin();
        self.batches.snapshot_begin();
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
        let room = |out: &Vec<u8>| out.len() < bytes_max;
        while walk.stage != Stage::Over && (out.is_empty() || room(&out)) {
            let (done, next) = match walk.stage {
                Stage::Header => {
                    codec::encode_into(&RecordRef::Header(&walk.header), &mut out);
                    (true, Stage::Queues)
                }
                Stage::Queues => {
                    let done = self.queues.snapshot_rows(|id, row| {
                        codec::encode_into(&RecordRef::Queue(id, row), &mut out);
                        room(&out)
                    });
                    (done, Stage::Sessions)
                }
                Stage::Sessions => {
                    let done = self.sessions.snapshot_rows(|id, row| {
                        codec::encode_into(&RecordRef::Session(id, row), &mut out);
                        room(&out)
                    });
                    (done, Stage::Jobs)
                }
                Stage::Jobs => {
                    let done = self.jobs.snapshot_rows(|id, row| {
                        codec::encode_into(&RecordRef::Job(id, row), &mut out);
                        room(&out)
                    });
                    (done, Stage::Batches)
                }
                Stage::Batches => {
                    let done = self.batches.snapshot_rows(|id, row| {
                        codec::encode_into(&RecordRef::Batch(id, row), &mut out);
                        room(&out)
                    });
                    (done, Stage::End)
                }
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
                Record::Queue(id, row) => self.queues.insert(id, row).is_some(),
                Record::Session(id, row) => self.sessions.insert(id, row).is_some(),
                Record::Job(id, row) => self.jobs.insert(id, row).is_some(),
                Record::Batch(id, row) => self.batches.insert(id, row).is_some(),
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
        for (id, row) in self.queues.iter() {
            self.index.insert(*id, QueueIndex::default());
            match row.sweep {
                Some(super::rows::QueueSweep::Delete) => {
                    self.sweeps.insert(Sweep::Queue(*id));
                    continue;
                }
                Some(super::rows::QueueSweep::Purge { .. }) => {
                    self.sweeps.insert(Sweep::Queue(*id));
                }
                None => {}
            }
            if self.names.insert(row.name.clone(), *id).is_some() {
                return Err(malformed("two queues of one name"));
            }
        }
        self.rebuild_jobs()?;
        self.rebuild_batches()?;
        for (id, row) in self.sessions.iter() {
            if !self.holds.contains_key(id) {
                self.idle.insert((row.used, *id));
            }
        }
        let queues: Vec<QueueId> = self.queues.iter().map(|(id, _)| *id).collect();
        for queue in queues {
            self.retime(queue);
        }
        if self.totals() == expected {
            Ok(())
        } else {
            Err(malformed("the counts do not match what came in"))
        }
    }

    fn rebuild_jobs(&mut self) -> Result<(), CodecError> {
        for (id, job) in self.jobs.iter() {
            if !super::index::fits(*id) || job.priority > NewJob::PRIORITY_MAX {
                return Err(malformed("an id or a priority over its bound"));
            }
            let face = Face::of(*id, job);
            let index = self
                .index
                .get_mut(&job.queue)
                .ok_or_else(|| malformed("a job of no queue"))?;
            index.replace(None, Some(face));
            self.mix ^= face.mix();
            if job.grant().is_some() != (job.state == State::Leased) {
                return Err(malformed(
                    "a job that is out without a lease, or the reverse",
                ));
            }
            if let Some(grant) = job.grant() {
                if !self.sessions.contains_key(&grant.session) {
                    return Err(malformed("a lease of no session"));
                }
                let held = self.holds.entry(grant.session).or_default();
                held.insert(grant.lease);
            }
            for tried in job.run.iter().flat_map(|run| &run.tried) {
                self.leases.insert(tried.lease, *id);
            }
            if let Some(key) = job
                .extra
                .as_ref()
                .and_then(|extra| extra.dedupe_key.clone())
            {
                index.dedupe.insert(key, *id);
            }
            if let Some(place) = job.batch()
                && (self.children.insert(place, *id).is_some()
                    || !self.batches.contains_key(&place.0))
            {
                return Err(malformed("a child of no batch, or two at one place"));
            }
        }
        Ok(())
    }

    fn rebuild_batches(&mut self) -> Result<(), CodecError> {
        for (id, batch) in self.batches.iter() {
            let mut counts = Counts::default();
            let mut skipped = 0;
            for (_, job) in self.children.range((*id, 0)..=(*id, u32::MAX)) {
                let job = self
                    .jobs
                    .get(job)
                    .ok_or_else(|| malformed("a child that is no job"))?;
                *super::rows::count_mut(&mut counts, job.state) += 1;
                skipped += u64::from(job.marks.has(super::rows::Marks::SKIPPED));
            }
            if (counts, skipped) != (batch.counts, batch.skipped) {
                return Err(malformed("the counts of a batch do not match its children"));
            }
            // Ids grow, so the last batch of a key is the one that it names.
            if let Some(key) = &batch.key {
                self.batch_keys.insert((batch.queue, key.clone()), *id);
            }
            if let Some(due) = batch.due
                && !batch.expired
            {
                self.batch_due.insert((due, *id));
            }
            if batch.sweep.is_some() {
                self.sweeps.insert(Sweep::Batch(*id));
            }
            if let Some(join) = &batch.join {
                let index = self
                    .index
                    .get_mut(&join.0)
                    .ok_or_else(|| malformed("a join of no queue"))?;
                index.held_bytes += super::enqueue::weight(&join.1);
                index.open_batches += 1;
            }
            if !batch.closed {
                self.index
                    .get_mut(&batch.queue)
                    .ok_or_else(|| malformed("a batch of no queue"))?
                    .open_batches += 1;
            }
        }
        Ok(())
    }

    fn totals(&self) -> Totals {
        Totals {
            queues: self.queues.len() as u64,
            sessions: self.sessions.len() as u64,
            jobs: self.jobs.len() as u64,
            batches: self.batches.len() as u64,
            mix: self.mix,
        }
    }

    /// A few numbers that differ when states differ.
    pub(super) fn fold(&self) -> u64 {
        let t = self.totals();
        [
            t.queues,
            t.sessions,
            t.jobs,
            t.batches,
            t.mix,
            u64::from(self.header.queue_last),
            self.leases.len() as u64,
            self.holds.len() as u64,
            self.children.len() as u64,
        ]
        .into_iter()
        .fold(0, |hash, part| super::backoff::mix(hash ^ part))
    }
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
