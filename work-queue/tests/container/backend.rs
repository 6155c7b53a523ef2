//! A queue service without replication: commands are applied one by one to the real machine, with the
//! real duties, under a lock. What the replica adds (dedupe by key, parking) is imitated in a few lines,
//! so that the API can be tested for what it hands over. The clock that leases are counted by stands still
//! unless a test moves it: no lease ends because the machine was busy.

use async_trait::async_trait;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::machine::{Context, Duties, Machine, OpKey};
use quorate_core::types::{FencingToken, LogIndex, LogTime, Mono, Principal};
use quorate_work_queue::machine::{
    Answer, Command, Event, Query, QueueDuties, QueueMachine, Renewal, Renewed, Reply,
};
use quorate_work_queue::service::{Caller, ClusterInfo, QueueService};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a parked request looks again.
const LOOK_EVERY: Duration = Duration::from_millis(5);

type Outcome = Result<Reply, Error>;

struct Inner {
    machine: QueueMachine,
    duties: QueueDuties,
    now: Mono,
    token: FencingToken,
    index: LogIndex,
    answers: BTreeMap<OpKey, Outcome>,
    bodies: BTreeMap<u128, u128>,
    streams: u64,
    parked: usize,
}

pub struct Backend(Mutex<Inner>);

impl Default for Backend {
    fn default() -> Self {
        let machine = QueueMachine::new();
        let now = clock::monotonic();
        Self(Mutex::new(Inner {
            duties: QueueDuties::new(&machine, now),
            machine,
            now,
            token: FencingToken(1 << 40),
            index: LogIndex(0),
            answers: BTreeMap::new(),
            bodies: BTreeMap::new(),
            streams: 0,
            parked: 0,
        }))
    }
}

impl Backend {
    /// So much time passes for leases.
    pub fn pass(&self, time: Duration) {
        let mut inner = self.0.lock().unwrap();
        inner.now = inner.now + time;
    }

    /// How many requests wait for something.
    pub fn parked(&self) -> usize {
        self.0.lock().unwrap().parked
    }
}

/// A request that waits, until it is answered or given up.
struct Parked<'a>(&'a Backend);

impl<'a> Parked<'a> {
    fn new(backend: &'a Backend) -> Self {
        backend.0.lock().unwrap().parked += 1;
        Self(backend)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().parked -= 1;
    }
}

impl Inner {
    /// One entry with this command, after letting the leader do its duties.
    fn entry(&mut self, principal: &Principal, command: Option<Command>) -> Option<Outcome> {
        let mut due = Vec::new();
        self.duties.due(&self.machine, self.now, &mut due);
        for command in due {
            self.apply(principal, Some(command));
        }
        self.apply(principal, command)
    }

    fn apply(&mut self, principal: &Principal, command: Option<Command>) -> Option<Outcome> {
        self.index.0 += 1;
        let mut events: Vec<Event> = Vec::new();
        let mut ctx = Context {
            time: LogTime(clock::wall_ms()),
            index: self.index,
            level: QueueMachine::LEVEL,
            principal,
            token_last: &mut self.token,
            events: &mut events,
        };
        self.machine.advance(&mut ctx);
        let outcome = command.map(|command| self.machine.apply(&mut ctx, command));
        for event in &events {
            self.duties.applied(&self.machine, event, self.now);
        }
        outcome
    }

    /// The remembered answer under this key.
    fn remembered(&mut self, key: &OpKey) -> Option<Outcome> {
        match key {
            OpKey::Stream { stream, .. } if *stream == 0 || *stream > self.streams => Some(Err(
                Error::new(Code::SessionExpired, "no such stream; open one"),
            )),
            OpKey::Stream { stream, seq, .. } => {
                let key = OpKey::Stream {
                    stream: *stream,
                    seq: *seq,
                    done_below: 0,
                };
                self.answers.get(&key).cloned()
            }
            OpKey::Idempotency { key: number, body } => {
                if self.bodies.entry(*number).or_insert(*body) != body {
                    return Some(Err(Error::new(
                        Code::IdempotencyMismatch,
                        "the key was used for another request; use a new one",
                    )));
                }
                self.answers.get(key).cloned()
            }
        }
    }

    fn remember(&mut self, key: OpKey, outcome: Outcome) {
        let key = match key {
            OpKey::Stream { stream, seq, .. } => OpKey::Stream {
                stream,
                seq,
                done_below: 0,
            },
            key @ OpKey::Idempotency { .. } => key,
        };
        self.answers.insert(key, outcome);
    }
}

#[async_trait]
impl QueueService for Backend {
    async fn execute(&self, caller: &Caller, command: Command) -> Outcome {
        let until = Instant::now() + caller.wait;
        let mut parked = None;
        loop {
            {
                let mut inner = self.0.lock().unwrap();
                if let Some(key) = &caller.key
                    && let Some(outcome) = inner.remembered(key)
                {
                    return outcome;
                }
                inner.entry(&caller.principal, None);
                let parks = inner.machine.parks(&command).is_some();
                if !parks || caller.wait.is_zero() {
                    let outcome = inner.entry(&caller.principal, Some(command)).unwrap();
                    if let Some(key) = caller.key.clone() {
                        inner.remember(key, outcome.clone());
                    }
                    return outcome;
                }
            }
            if Instant::now() >= until {
                return Ok(QueueMachine::parked_reply(&command));
            }
            parked.get_or_insert_with(|| Parked::new(self));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        let mut inner = self.0.lock().unwrap();
        inner.entry(&caller.principal, None);
        let now = LogTime(clock::wall_ms());
        inner.machine.query(&inner.duties, now, query)
    }

    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        let mut inner = self.0.lock().unwrap();
        inner.entry(&caller.principal, None);
        let inner = &mut *inner;
        let receipt = inner.now;
        inner.duties.arrived(&inner.machine, &renewal, receipt);
        inner.duties.confirmed(&inner.machine, renewal, receipt)
    }

    async fn open_stream(&self, _: &Caller) -> Result<u64, Error> {
        let mut inner = self.0.lock().unwrap();
        inner.streams += 1;
        Ok(inner.streams)
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        Ok(ClusterInfo {
            cluster_id: "c".into(),
            node_id: 1,
            leader: Some(1),
            ready: true,
            ..ClusterInfo::default()
        })
    }
}
