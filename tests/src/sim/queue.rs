//! The play of the work queue: producers, workers, a builder of batches and a reader, and the ledger
//! that checks its promises.

use super::actors::{self, Actor, Batcher, Producer, Reader, Worker};
use super::ledger::{FinalJob, Ledger, True, Violation};
use super::node::Clock;
use super::play::{Effects, Play, Signal};
use quorate_core::machine::{Duties, Machine};
use quorate_core::types::{LogTime, Mono};
use quorate_work_queue::machine::{Answer, BatchId, BatchState, Query, QueueDuties, QueueMachine};
use std::collections::BTreeMap;

/// The work queue.
#[derive(Debug)]
pub(crate) struct Queue;

impl Play for Queue {
    type Machine = QueueMachine;
    type Actor = Actor;
    type Ledger = Ledger;

    const REPLAY: &'static str = "";

    fn actors() -> Vec<Actor> {
        let mut actors = Vec::new();
        for number in 0..2 {
            actors.push(Actor::Producer(Producer::new(number + 1)));
        }
        for number in 0..3 {
            actors.push(Actor::Worker(Worker::new(number + 11)));
        }
        actors.push(Actor::Batcher(Batcher::new(21)));
        actors.push(Actor::Reader(Reader::new()));
        actors
    }

    fn signal(actor: &mut Actor, signal: Signal<QueueMachine>, effects: &mut Effects<'_, Self>) {
        actor.signal(signal, effects);
    }

    fn may_crash(actor: &Actor) -> bool {
        matches!(actor, Actor::Worker(_))
    }

    fn crash(actor: &mut Actor, at: True, clock: &Clock, ledger: &mut Ledger) {
        if let Actor::Worker(worker) = actor {
            worker.crash(at, clock, ledger);
        }
    }

    fn finish(actor: &mut Actor, at: True, clock: &Clock, ledger: &mut Ledger) {
        if let Actor::Worker(worker) = actor {
            worker.finish(at, clock, ledger);
        }
    }

    fn is_over(machine: &QueueMachine) -> bool {
        FinalState::of(machine).is_over()
    }

    fn judge(ledger: &mut Ledger, machine: &QueueMachine) {
        let state = FinalState::of(machine);
        ledger.settle(&state.jobs, &state.joined);
    }

    fn blame(ledger: &mut Ledger, promise: &'static str, what: String) {
        ledger.blame(promise, what);
    }

    fn summary(ledger: &Ledger) -> Vec<(&'static str, u64)> {
        vec![
            ("enqueued", ledger.enqueued),
            ("granted", ledger.granted),
            ("completed", ledger.completed),
        ]
    }

    fn violations(ledger: &Ledger) -> Vec<Violation> {
        ledger.violations()
    }
}

/// What the cluster holds at the end.
pub(crate) struct FinalState {
    /// All jobs.
    pub(crate) jobs: Vec<FinalJob>,
    /// Batches, and whether they are complete.
    pub(crate) joined: BTreeMap<BatchId, bool>,
}

impl FinalState {
    /// Reads it out of the leader's machine, page by page as a client would.
    pub(crate) fn of(machine: &QueueMachine) -> Self {
        let duties = QueueDuties::new(machine, Mono(0));
        let ask = |query| machine.query(&duties, LogTime(0), query);
        let mut jobs = Vec::new();
        let mut after = None;
        while let Ok(Answer::Jobs(page, next)) = ask(Query::Jobs {
            queue: actors::queue(),
            state: None,
            label: None,
            after,
            limit: 1_000,
        }) {
            jobs.extend(page.into_iter().map(|job| FinalJob {
                id: job.id,
                state: job.state,
                result: job.result.map(|result| result.to_vec()),
            }));
            after = next;
            if after.is_none() {
                break;
            }
        }
        let mut joined = BTreeMap::new();
        let mut after = None;
        while let Ok(Answer::Batches(page, next)) = ask(Query::Batches {
            after,
            limit: 1_000,
        }) {
            joined.extend(
                page.into_iter()
                    .map(|batch| (batch.id, batch.state == BatchState::Completed)),
            );
            after = next;
            if after.is_none() {
                break;
            }
        }
        Self { jobs, joined }
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.jobs.iter().all(|job| actors::is_final(job.state))
            && self.joined.values().all(|joined| *joined)
    }
}
