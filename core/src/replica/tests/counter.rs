//! A tiny machine that uses every part of the contract: counters that can be waited for, timers, and
//! leases under the lease rule.

use crate::codec::CodecError;
use crate::error::{Code, Error};
use crate::lease::{Keeper, Terms};
use crate::machine::{Context, Duties, Machine, WaitKey};
use crate::table::Table;
use crate::types::{FencingToken, LogTime, Mono, Name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::replica) enum Command {
    /// Adds to a counter; answers the new value.
    Add(Name, u64),
    /// Takes one from a counter; parks while it is zero.
    Take(Name),
    /// Adds one in so many milliseconds.
    Later(Name, u64),
    /// Always refused.
    Refuse,
    /// Refused with an error that may be retried.
    Busy,
    /// Grants a lease of this length.
    Grant(u64),
    /// The leader says that the lease is over.
    Expire(FencingToken),
    /// Adds a lot of bytes to the log.
    Pad(Vec<u8>),
    /// Answers whether level 2 is active.
    Level,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::replica) enum Reply {
    Value(u64),
    Nothing,
    Token(FencingToken),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::replica) enum Event {
    Ready(Name),
    Granted(FencingToken, u64),
    Ended(FencingToken),
}

#[derive(Clone, Debug, Default)]
pub(in crate::replica) struct Counter {
    pub(in crate::replica) values: Table<Name, u64>,
    pub(in crate::replica) leases: Table<FencingToken, u64>,
    timers: Table<(LogTime, u64), Name>,
    made: u64,
    pub(in crate::replica) applied: u64,
    /// What the tail row of the snapshot in progress will hold.
    tail: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
enum Row {
    Value(Name, u64),
    Lease(FencingToken, u64),
    Timer((LogTime, u64), Name),
    Tail { made: u64, applied: u64 },
}

impl Counter {
    fn add(&mut self, name: &Name, by: u64, events: &mut Vec<Event>) -> u64 {
        let value = self.values.get(name).copied().unwrap_or(0) + by;
        self.values.insert(name.clone(), value);
        events.push(Event::Ready(name.clone()));
        value
    }
}

impl Machine for Counter {
    type Command = Command;
    type Reply = Reply;
    type Query = Name;
    type Answer = u64;
    type Renewal = FencingToken;
    type Renewed = bool;
    type Event = Event;
    type Duties = Leases;

    const LEVEL: u16 = 2;

    fn new() -> Self {
        Self::default()
    }

    fn advance(&mut self, ctx: &mut Context<'_, Event>) {
        loop {
            let first = self
                .timers
                .iter()
                .next()
                .map(|(at, name)| (*at, name.clone()));
            let Some((at, name)) = first.filter(|(at, _)| at.0 <= ctx.time) else {
                break;
            };
            self.timers.remove(&at);
            self.add(&name, 1, ctx.events);
        }
    }

    fn apply(&mut self, ctx: &mut Context<'_, Event>, command: Command) -> Result<Reply, Error> {
        self.applied += 1;
        match command {
            Command::Add(name, by) => Ok(Reply::Value(self.add(&name, by, ctx.events))),
            Command::Take(name) => match self.values.get(&name).copied() {
                None | Some(0) => Ok(Reply::Nothing),
                Some(value) => {
                    self.values.insert(name, value - 1);
                    Ok(Reply::Value(value))
                }
            },
            Command::Later(name, ms) => {
                self.made += 1;
                self.timers.insert((ctx.time.plus_ms(ms), self.made), name);
                Ok(Reply::Done)
            }
            Command::Refuse => Err(Error::not_found("no such thing; ask for another")),
            Command::Busy => Err(Error::new(Code::OverQuota, "try again")),
            Command::Grant(ms) => {
                let token = ctx.next_token();
                self.leases.insert(token, ms);
                ctx.events.push(Event::Granted(token, ms));
                Ok(Reply::Token(token))
            }
            Command::Expire(token) => {
                if self.leases.remove(&token).is_some() {
                    ctx.events.push(Event::Ended(token));
                }
                Ok(Reply::Done)
            }
            Command::Pad(_) => Ok(Reply::Done),
            Command::Level => Ok(Reply::Value(u64::from(ctx.level))),
        }
    }

    fn next_deadline(&self) -> Option<LogTime> {
        self.timers.iter().next().map(|((at, _), _)| *at)
    }

    fn query(&self, _duties: &Leases, _now: LogTime, name: Name) -> Result<u64, Error> {
        Ok(self.values.get(&name).copied().unwrap_or(0))
    }

    fn parks(&self, command: &Command) -> Option<WaitKey> {
        match command {
            Command::Take(name) if self.values.get(name).copied().unwrap_or(0) == 0 => {
                Some(name.clone())
            }
            _ => None,
        }
    }

    fn wakes(event: &Event) -> Option<WaitKey> {
        match event {
            Event::Ready(name) => Some(name.clone()),
            _ => None,
        }
    }

    fn parked_reply(_command: &Command) -> Reply {
        Reply::Nothing
    }

    fn snapshot_begin(&mut self) {
        self.values.snapshot_begin();
        self.leases.snapshot_begin();
        self.timers.snapshot_begin();
        self.tail = Some((self.made, self.applied));
    }

    fn snapshot_slice(&mut self, bytes_max: usize) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut put = |row: Row| {
            crate::codec::encode_into(&row, &mut out);
            out.len() < bytes_max
        };
        let complete = self
            .values
            .snapshot_rows(|name, value| put(Row::Value(name.clone(), *value)))
            && self
                .leases
                .snapshot_rows(|token, ms| put(Row::Lease(*token, *ms)))
            && self
                .timers
                .snapshot_rows(|at, name| put(Row::Timer(*at, name.clone())));
        if complete && let Some((made, applied)) = self.tail.take() {
            put(Row::Tail { made, applied });
        }
        (!out.is_empty()).then_some(out)
    }

    fn restore_slice(&mut self, mut slice: &[u8]) -> Result<(), CodecError> {
        while !slice.is_empty() {
            let (row, rest) = crate::codec::decode_prefix(slice)?;
            slice = rest;
            match row {
                Row::Value(name, value) => drop(self.values.insert(name, value)),
                Row::Lease(token, ms) => drop(self.leases.insert(token, ms)),
                Row::Timer(at, name) => drop(self.timers.insert(at, name)),
                Row::Tail { made, applied } => (self.made, self.applied) = (made, applied),
            }
        }
        Ok(())
    }

    fn restore_end(&mut self) -> Result<(), CodecError> {
        Ok(())
    }

    fn digest(&self) -> u64 {
        self.applied
            ^ (self.values.len() as u64) << 32
            ^ (self.leases.len() as u64) << 48
            ^ self.made << 16
    }
}

/// Counts of leases, and what was asked of them.
#[derive(Debug, Default)]
pub(in crate::replica) struct Leases {
    keeper: Keeper<FencingToken>,
    proposed: BTreeSet<FencingToken>,
    /// Renewals that arrived and are not yet confirmed.
    arrived: Vec<FencingToken>,
}

impl Duties<Counter> for Leases {
    fn new(machine: &Counter, now: Mono) -> Self {
        let mut leases = Self::default();
        for (token, ms) in machine.leases.iter() {
            leases.keeper.start(*token, Terms::new(*ms), now);
        }
        leases
    }

    fn arrived(&mut self, _machine: &Counter, renewal: &FencingToken, _receipt: Mono) {
        self.arrived.push(*renewal);
        self.keeper.arrived(*renewal);
    }

    fn confirmed(
        &mut self,
        _machine: &Counter,
        renewal: FencingToken,
        receipt: Mono,
    ) -> Result<bool, Error> {
        let place = self.arrived.iter().position(|token| *token == renewal);
        self.arrived
            .swap_remove(place.expect("what is confirmed has arrived before"));
        Ok(self.keeper.confirmed(renewal, receipt))
    }

    fn abandoned(&mut self, _machine: &Counter, renewal: &FencingToken) {
        self.keeper.abandoned(*renewal);
    }

    fn applied(&mut self, _machine: &Counter, event: &Event, now: Mono) {
        match event {
            Event::Granted(token, ms) => self.keeper.start(*token, Terms::new(*ms), now),
            Event::Ended(token) => self.keeper.stop(*token),
            Event::Ready(_) => {}
        }
    }

    fn stalled(&mut self, stall: Duration) {
        self.keeper.stalled(stall);
    }

    fn due(&mut self, _machine: &Counter, now: Mono, out: &mut Vec<Command>) {
        for token in self.keeper.due(now, 16) {
            assert!(self.proposed.insert(token), "each end is proposed once");
            out.push(Command::Expire(token));
        }
    }

    fn next_due(&self) -> Option<Mono> {
        self.keeper.next_due()
    }
}
