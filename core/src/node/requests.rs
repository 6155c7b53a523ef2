//! Requests in flight: who waits for which answer.

use crate::error::Error;
use crate::machine::Machine;
use crate::replica::RequestId;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The answer to a command, and whether it is a remembered one.
pub(super) type Replied<M> = Result<(<M as Machine>::Reply, bool), Error>;

/// Where an answer goes.
#[derive(Debug)]
pub(super) enum Waiter<M: Machine> {
    Reply(oneshot::Sender<Replied<M>>),
    Answer(oneshot::Sender<Result<M::Answer, Error>>),
    Renewed(oneshot::Sender<Result<M::Renewed, Error>>),
    Stream(oneshot::Sender<Result<u64, Error>>),
}

/// An answer with where it goes. Handed to a task of the runtime in batches, because waking a task
/// from another thread costs a system call and a batch costs one.
#[derive(Debug)]
pub(super) enum Completion<M: Machine> {
    Reply(oneshot::Sender<Replied<M>>, Replied<M>),
    Answer(
        oneshot::Sender<Result<M::Answer, Error>>,
        Result<M::Answer, Error>,
    ),
    Renewed(
        oneshot::Sender<Result<M::Renewed, Error>>,
        Result<M::Renewed, Error>,
    ),
    Stream(oneshot::Sender<Result<u64, Error>>, Result<u64, Error>),
}

impl<M: Machine> Completion<M> {
    /// Delivers it; a caller that is gone does not mind.
    pub(super) fn deliver(self) {
        match self {
            Self::Reply(to, reply) => drop(to.send(reply)),
            Self::Answer(to, answer) => drop(to.send(answer)),
            Self::Renewed(to, renewed) => drop(to.send(renewed)),
            Self::Stream(to, opened) => drop(to.send(opened)),
        }
    }
}

/// Waiters by request; their number is bounded by the node's permits.
#[derive(Debug)]
pub(super) struct Waiters<M: Machine> {
    waiting: HashMap<RequestId, Waiter<M>>,
    done: Vec<Completion<M>>,
}

impl<M: Machine> Default for Waiters<M> {
    fn default() -> Self {
        Self {
            waiting: HashMap::new(),
            done: Vec::new(),
        }
    }
}

impl<M: Machine> Waiters<M> {
    pub(super) fn add(&mut self, id: RequestId, waiter: Waiter<M>) {
        self.waiting.insert(id, waiter);
    }

    pub(super) fn forget(&mut self, id: RequestId) {
        self.waiting.remove(&id);
    }

    pub(super) fn reply(&mut self, id: RequestId, reply: Replied<M>) {
        if let Some(Waiter::Reply(to)) = self.waiting.remove(&id) {
            self.done.push(Completion::Reply(to, reply));
        }
    }

    pub(super) fn answer(&mut self, id: RequestId, answer: Result<M::Answer, Error>) {
        if let Some(Waiter::Answer(to)) = self.waiting.remove(&id) {
            self.done.push(Completion::Answer(to, answer));
        }
    }

    pub(super) fn renewed(&mut self, id: RequestId, renewed: Result<M::Renewed, Error>) {
        if let Some(Waiter::Renewed(to)) = self.waiting.remove(&id) {
            self.done.push(Completion::Renewed(to, renewed));
        }
    }

    pub(super) fn stream_opened(&mut self, id: RequestId, opened: Result<u64, Error>) {
        if let Some(Waiter::Stream(to)) = self.waiting.remove(&id) {
            self.done.push(Completion::Stream(to, opened));
        }
    }

    /// What has been answered since the last call.
    pub(super) fn take_done(&mut self) -> Vec<Completion<M>> {
        std::mem::take(&mut self.done)
    }
}
