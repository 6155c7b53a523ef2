//! Tests of the machine, and the rig they share: one machine, its time and its counter of tokens.

#![allow(
    clippy::needless_pass_by_value,
    reason = "helpers of tests take what reads best at the call"
)]

mod batches;
mod control;
mod duties;
mod golden;
mod leases;
mod model;
mod snapshots;

use super::*;
use bytes::Bytes;
use quorate_core::error::Code;
use quorate_core::machine::{Context, Duties};
use quorate_core::types::{FencingToken, LogIndex, LogTime, Mono, Name, Principal};
use std::sync::Arc;

/// One machine with what an entry hands it.
pub(super) struct Rig {
    pub(super) machine: QueueMachine,
    pub(super) now: LogTime,
    pub(super) index: LogIndex,
    pub(super) token: FencingToken,
    /// Events since they were last taken.
    pub(super) events: Vec<Event>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self {
            machine: QueueMachine::new(),
            now: LogTime(1_000_000),
            index: LogIndex(0),
            token: FencingToken(100),
            events: Vec::new(),
        }
    }

    fn entry<R>(&mut self, run: impl FnOnce(&mut QueueMachine, &mut Context<'_, Event>) -> R) -> R {
        self.index.0 += 1;
        let principal = Principal::anonymous();
        let mut ctx = Context {
            time: self.now,
            index: self.index,
            level: QueueMachine::LEVEL,
            principal: &principal,
            token_last: &mut self.token,
            events: &mut self.events,
        };
        run(&mut self.machine, &mut ctx)
    }

    /// One entry with this command.
    pub(super) fn run(&mut self, command: Command) -> Result<Reply, Error> {
        self.entry(|machine, ctx| {
            machine.advance(ctx);
            machine.apply(ctx, command)
        })
    }

    /// An entry without a command, `ms` later.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.entry(|machine, ctx| {
            machine.advance(ctx);
        });
    }

    /// Entries without a command until nothing is due.
    pub(super) fn drain(&mut self) {
        while self
            .machine
            .next_deadline()
            .is_some_and(|at| at <= self.now)
        {
            self.pass(0);
        }
    }

    pub(super) fn enqueue(&mut self, jobs: Vec<NewJob>) -> Vec<JobId> {
        let queue = name("q");
        match self.run(Command::Enqueue { queue, jobs }) {
            Ok(Reply::Enqueued(ids)) => ids.into_iter().map(|(id, _)| id).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn lease(
        &mut self,
        session: Option<SessionId>,
        max: u32,
    ) -> (SessionId, Vec<Lease>) {
        match self.run(Command::Lease(request(session, max))) {
            Ok(Reply::Leased { session, leases }) => (session, leases),
            other => panic!("{other:?}"),
        }
    }

    /// The one job that is handed out next.
    pub(super) fn lease_one(&mut self) -> Lease {
        let mut leases = self.lease(None, 1).1;
        assert_eq!(leases.len(), 1, "a job is ready");
        leases.remove(0)
    }

    pub(super) fn settle(&mut self, lease: LeaseId, settlement: Settlement) -> Settled {
        let settle = vec![Settle {
            lease,
            session: None,
            settlement,
        }];
        match self.run(Command::Settle { settle, then: None }) {
            Ok(Reply::Settled { mut outcomes, .. }) => outcomes.remove(0),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn expire(&mut self, lease: LeaseId, cause: ExpireCause) -> u64 {
        let leases = vec![(lease, 0)];
        match self.run(Command::ExpireLeases { leases, cause }) {
            Ok(Reply::Count(n)) => n,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn view(&self, job: JobId) -> JobView {
        match self.ask(Query::Job { job }) {
            Ok(Answer::Job(view)) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn batch(&self, batch: BatchId) -> BatchView {
        match self.ask(Query::Batch { batch }) {
            Ok(Answer::Batch(view)) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn queue(&self) -> QueueView {
        match self.ask(Query::Queue { queue: name("q") }) {
            Ok(Answer::Queue(view)) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn ask(&self, query: Query) -> Result<Answer, Error> {
        let duties = QueueDuties::new(&self.machine, Mono(0));
        self.machine.query(&duties, self.now, query)
    }

    /// A second machine, out of a snapshot of this one.
    pub(super) fn restored(&mut self, slice_bytes: usize) -> QueueMachine {
        self.machine.snapshot_begin();
        let mut slices = Vec::new();
        while let Some(slice) = self.machine.snapshot_slice(slice_bytes) {
            slices.push(slice);
        }
        from_slices(&slices, self.machine.bounds)
    }
}

pub(super) fn from_slices(slices: &[Vec<u8>], bounds: store::Bounds) -> QueueMachine {
    let mut machine = QueueMachine::new();
    machine.bounds = bounds;
    for slice in slices {
        machine.restore_slice(slice).unwrap();
    }
    machine.restore_end().unwrap();
    machine
}

pub(super) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(super) fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}

pub(super) fn request(session: Option<SessionId>, max: u32) -> LeaseRequest {
    LeaseRequest {
        queue: name("q"),
        worker: text("w"),
        session,
        max,
        lease_ms: None,
        heartbeat: 0,
    }
}

pub(super) fn job(payload: &str) -> NewJob {
    NewJob {
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..NewJob::default()
    }
}

pub(super) fn complete(result: &str) -> Settlement {
    Settlement::Complete {
        result: Bytes::copy_from_slice(result.as_bytes()),
        result_is_json: false,
        outputs: Vec::new(),
    }
}

pub(super) fn fail(error: &str) -> Settlement {
    Settlement::Fail {
        error: text(error),
        retry: true,
        delay_ms: Some(0),
        exit_code: Some(1),
        signal: None,
        log_tail: text("log"),
    }
}

pub(super) fn code<T: std::fmt::Debug>(result: Result<T, Error>) -> Code {
    result.unwrap_err().code
}
