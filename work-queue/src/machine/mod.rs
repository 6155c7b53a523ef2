//! The replicated queue: pure, one command a file.
//!
//! [`QueueMachine`] is all logic of the queue as a function of the log; [`QueueDuties`] is what its
//! leader keeps besides. `store` holds the state and the one way in which a job changes; `rows` and
//! `index` are its tables and what is derived of them. Each command has its file: `enqueue`, `lease`
//! (and how a lease ends), `settle`, `extend`, `checkpoint`, `session`, `cancel`, `retry`, `batch`,
//! `expire`, `control`. Time passes in `advance`, questions are answered in `query`, and `snapshot`
//! turns the state into bytes while it goes on changing.
//!
//! Invariants, asserted in release builds: a job is in exactly one state and one live lease at most is
//! out for it; counts never fall below zero and match after a restore; ids are never given twice; a
//! join is fired once.

mod advance;
mod backoff;
mod batch;
mod cancel;
mod check;
mod checkpoint;
mod control;
mod duties;
mod enqueue;
mod expire;
mod extend;
mod index;
mod lease;
pub mod planted;
mod query;
mod retry;
mod rows;
mod session;
mod settle;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;
pub mod types;

pub use duties::QueueDuties;
pub use store::QueueMachine;
pub use types::*;

use quorate_core::codec::CodecError;
use quorate_core::error::Error;
use quorate_core::machine::{Context, Machine, WaitKey};
use quorate_core::types::LogTime;

impl Machine for QueueMachine {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;
    type Renewal = Renewal;
    type Renewed = Renewed;
    type Event = Event;
    type Duties = QueueDuties;

    const LEVEL: u16 = 1;

    fn new() -> Self {
        Self::default()
    }

    fn advance(&mut self, ctx: &mut Context<'_, Event>) {
        self.advance_steps(ctx);
    }

    fn apply(&mut self, ctx: &mut Context<'_, Event>, command: Command) -> Result<Reply, Error> {
        match command {
            Command::Configure { queue, settings } => self.configure(&queue, settings),
            Command::DeleteQueue { queue } => self.delete_queue(ctx, &queue),
            Command::Pause { queue, paused } => self.pause(ctx, &queue, paused),
            Command::Purge { queue } => self.purge(ctx, &queue),
            Command::Redrive { queue, max } => self.redrive(ctx, &queue, max),
            Command::Enqueue { queue, jobs } => self.enqueue(ctx, &queue, jobs),
            Command::Lease(request) => {
                let (session, leases) = self.lease(ctx, &request)?;
                Ok(Reply::Leased { session, leases })
            }
            Command::Settle { settle, then } => self.settle(ctx, settle, then.as_ref()),
            Command::Extend {
                lease,
                session,
                lease_ms,
            } => self.extend(ctx, lease, session, lease_ms),
            Command::Checkpoint {
                lease,
                session,
                data,
            } => self.checkpoint(ctx, lease, session, data),
            Command::OpenSession { worker } => self.open_session(ctx, &worker).map(Reply::Session),
            Command::CloseSession { session } => self.close_session(ctx, session),
            Command::CancelJob { job } => self.cancel_job(ctx, job),
            Command::RetryJob { job } => self.retry_job(ctx, job),
            Command::CreateBatch {
                queue,
                join,
                on_dead,
                key,
            } => self.create_batch(ctx, &queue, join, on_dead, key),
            Command::SealBatch { batch, expected } => self.seal_batch(ctx, batch, expected),
            Command::CancelBatch { batch } => self.cancel_batch(ctx, batch),
            Command::SkipChild { job } => self.skip_child(ctx, job),
            Command::ExpireLeases { leases, cause } => Ok(self.expire_leases(ctx, &leases, cause)),
            Command::RevokeLeases { leases, cause } => Ok(self.revoke_leases(ctx, &leases, cause)),
            Command::ForgetSessions { sessions } => Ok(self.forget_sessions(ctx, &sessions)),
        }
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.next_step()
    }

    fn query(&self, duties: &QueueDuties, now: LogTime, query: Query) -> Result<Answer, Error> {
        self.answer(duties, now, query)
    }

    fn parks(&self, command: &Command) -> Option<WaitKey> {
        let request = asks_for_work_only(command)?;
        if request.max == 0 || self.check_lease_request(request).is_err() {
            return None;
        }
        let finds = self
            .names
            .get(&request.queue)
            .is_some_and(|id| !self.queue(*id).paused && self.index(*id).first_ready().is_some());
        (!finds).then(|| request.queue.clone())
    }

    fn wakes(event: &Event) -> Option<WaitKey> {
        match event {
            Event::Ready { queue } => Some(queue.clone()),
            _ => None,
        }
    }

    fn parked_reply(command: &Command) -> Reply {
        let session = asks_for_work_only(command)
            .and_then(|request| request.session)
            .unwrap_or(SessionId::NONE);
        match command {
            Command::Settle { .. } => Reply::Settled {
                outcomes: Vec::new(),
                leased: Some((session, Vec::new())),
            },
            _ => Reply::Leased {
                session,
                leases: Vec::new(),
            },
        }
    }

    fn snapshot_begin(&mut self) {
        self.begin();
    }

    fn snapshot_slice(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        self.slice(bytes_max)
    }

    fn restore_slice(&mut self, slice: &[u8]) -> Result<(), CodecError> {
        self.restore(slice)
    }

    fn restore_end(&mut self) -> Result<(), CodecError> {
        self.rebuild()
    }

    fn digest(&self) -> u64 {
        self.fold()
    }
}

/// The request of a command that does nothing but ask for work.
fn asks_for_work_only(command: &Command) -> Option<&LeaseRequest> {
    match command {
        Command::Lease(request) => Some(request),
        Command::Settle { settle, then } if settle.is_empty() => then.as_ref(),
        _ => None,
    }
}
