//! Tests of the machine, and the rig they share: one machine, its time and its counter of tokens.

#![allow(
    clippy::needless_pass_by_value,
    reason = "helpers of tests take what reads best at the call"
)]

mod candidates;
mod duties;
mod golden;
mod handover;
mod history;
mod limits;
mod model;
mod scale;
mod sessions;
mod snapshots;

use super::*;
use quorate_core::error::Code;
use quorate_core::machine::{Context, Duties};
use quorate_core::types::{FencingToken, LogIndex, LogTime, Mono, Name, Principal};
use std::sync::Arc;

/// One machine with what an entry hands it.
pub(super) struct Rig {
    pub(super) machine: ElectionMachine,
    pub(super) now: LogTime,
    pub(super) index: LogIndex,
    pub(super) token: FencingToken,
    /// Events since they were last taken.
    pub(super) events: Vec<Event>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self {
            machine: ElectionMachine::new(),
            now: LogTime(1_000_000),
            index: LogIndex(0),
            token: FencingToken(100),
            events: Vec::new(),
        }
    }

    fn entry<R>(
        &mut self,
        run: impl FnOnce(&mut ElectionMachine, &mut Context<'_, Event>) -> R,
    ) -> R {
        self.index.0 += 1;
        let principal = Principal(Arc::from("ann"));
        let mut ctx = Context {
            time: self.now,
            index: self.index,
            level: ElectionMachine::LEVEL,
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
        self.entry(quorate_core::machine::Machine::advance);
    }

    pub(super) fn open(&mut self, ttl_ms: u64) -> SessionId {
        match self.run(Command::OpenSession {
            ttl_ms,
            label: text("x"),
        }) {
            Ok(Reply::Session(opened)) => opened.session,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn campaign(
        &mut self,
        election: &str,
        candidate: &str,
        session: SessionId,
        priority: u32,
    ) -> Campaigned {
        match self.run(campaign(election, candidate, session, priority)) {
            Ok(Reply::Campaigned(campaigned)) => campaigned,
            other => panic!("{other:?}"),
        }
    }

    /// A candidate with a session of its own.
    pub(super) fn stand(&mut self, election: &str, candidate: &str, priority: u32) -> SessionId {
        let session = self.open(2_000);
        self.campaign(election, candidate, session, priority);
        session
    }

    pub(super) fn view(&self, election: &str) -> ElectionView {
        self.machine
            .view(&name(election), self.now)
            .unwrap_or_else(|| panic!("{election} exists"))
    }

    pub(super) fn leader(&self, election: &str) -> Option<Leadership> {
        self.view(election).leader.map(|leader| (*leader).clone())
    }

    /// Id and token of the leader.
    pub(super) fn leads(&self, election: &str) -> Option<(String, u64)> {
        self.leader(election)
            .map(|leader| (leader.candidate.to_string(), leader.token.0))
    }

    pub(super) fn token_of(&self, election: &str) -> FencingToken {
        self.leader(election).expect("somebody leads").token
    }

    pub(super) fn changes(&mut self) -> Vec<Arc<Change>> {
        std::mem::take(&mut self.events)
            .into_iter()
            .filter_map(|event| match event {
                Event::Change(change) => Some(change),
                _ => None,
            })
            .collect()
    }

    pub(super) fn expire(&mut self, sessions: &[SessionId]) {
        let sessions = sessions.to_vec();
        self.run(Command::Expire { sessions }).unwrap();
    }

    pub(super) fn resign(
        &mut self,
        election: &str,
        session: SessionId,
        token: FencingToken,
    ) -> bool {
        ended(self.run(Command::Resign {
            election: name(election),
            session,
            token,
        }))
    }

    pub(super) fn drained(
        &mut self,
        election: &str,
        session: SessionId,
        token: FencingToken,
    ) -> bool {
        ended(self.run(Command::Drained {
            election: name(election),
            session,
            token,
        }))
    }

    pub(super) fn transfer(&mut self, election: &str, to: &str, drain_ms: u64) -> Transferring {
        match self.run(transfer(election, to, drain_ms)) {
            Ok(Reply::Transferring(transferring)) => transferring,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn configure(&mut self, election: &str, settings: Settings) {
        self.run(Command::Configure {
            election: name(election),
            settings: Some(settings),
        })
        .unwrap();
    }

    pub(super) fn end_revoked(&mut self, election: &str, token: FencingToken) {
        let ends = vec![(name(election), token)];
        self.run(Command::EndRevoked { ends }).unwrap();
    }
}

pub(super) fn ended(reply: Result<Reply, Error>) -> bool {
    match reply {
        Ok(Reply::Ended { leadership, .. }) => leadership,
        other => panic!("{other:?}"),
    }
}

pub(super) fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub(super) fn text(text: &str) -> Arc<str> {
    Arc::from(text)
}

pub(super) fn campaign(
    election: &str,
    candidate: &str,
    session: SessionId,
    priority: u32,
) -> Command {
    Command::Campaign(Campaign {
        election: name(election),
        candidate: name(candidate),
        liveness: Liveness::Session(session),
        priority,
        metadata: text(""),
    })
}

pub(super) fn transfer(election: &str, to: &str, drain_ms: u64) -> Command {
    Command::Transfer {
        election: name(election),
        to: name(to),
        drain_ms,
        token: None,
    }
}

pub(super) fn code(reply: Result<Reply, Error>) -> Code {
    reply.expect_err("it must be refused").code
}

/// The machine as a snapshot restores it.
pub(super) fn restored(machine: &mut ElectionMachine, bytes_max: usize) -> ElectionMachine {
    machine.snapshot_begin();
    let mut copy = ElectionMachine::new();
    while let Some(slice) = machine.snapshot_slice(bytes_max) {
        copy.restore_slice(&slice).unwrap();
    }
    copy.restore_end().unwrap();
    copy
}
