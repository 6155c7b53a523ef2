//! Somebody who orders hand-overs, revokes, changes settings, and reads.

use super::{CANDIDATES, Elections, candidate, elections};
use crate::sim::play::{Call, CallResult, Effects, Signal};
use crate::sim::rng::Rng;
use quorate_core::types::Name;
use quorate_leader_election::machine::{Answer, Command, ElectionMachine, Query, Settings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Questions that are remembered; those whose answers were lost make room.
const ASKED_MAX: usize = 64;

/// The operator.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    next: u64,
    /// What was known of the cluster when each question was sent.
    asked: BTreeMap<u64, u64>,
}

impl Operator {
    pub(super) fn signal(
        &mut self,
        signal: Signal<ElectionMachine>,
        effects: &mut Effects<'_, Elections>,
    ) {
        match signal {
            Signal::Start | Signal::Timer(_) => {
                effects.timers.push((effects.rng.range(10, 60), 0));
                self.next += 1;
                let call = if effects.winding_down || effects.rng.chance(850) {
                    self.asked.insert(self.next, effects.ledger.revision_seen());
                    if self.asked.len() > ASKED_MAX {
                        self.asked.pop_first();
                    }
                    Call::Query(question(effects.rng))
                } else {
                    Call::Execute {
                        command: order(effects.rng),
                        key: None,
                        wait_ms: 0,
                    }
                };
                effects.calls.push((self.next, call));
            }
            Signal::Answer(number, CallResult::Answered(Ok(answer))) => {
                let revision = match answer {
                    Answer::Election(view) => view.revision,
                    Answer::Position { revision, .. }
                    | Answer::Current { revision, .. }
                    | Answer::Elections { revision, .. } => revision,
                    _ => return,
                };
                if let Some(known) = self.asked.remove(&number) {
                    effects.ledger.read(known, revision);
                }
            }
            Signal::Answer(..) => {}
        }
    }
}

fn one_of(rng: &mut Rng) -> Name {
    let [first, second] = elections();
    if rng.chance(500) { first } else { second }
}

fn question(rng: &mut Rng) -> Query {
    if rng.chance(500) {
        Query::Election {
            election: one_of(rng),
        }
    } else {
        Query::Position
    }
}

fn order(rng: &mut Rng) -> Command {
    let election = one_of(rng);
    let someone = candidate(rng.range(1, CANDIDATES));
    match rng.below(10) {
        0..6 => Command::Transfer {
            election,
            to: someone,
            drain_ms: [0, 100, 400]
                .get(usize::try_from(rng.below(3)).unwrap_or(0))
                .copied()
                .unwrap_or(0),
            token: None,
        },
        6 | 7 => Command::Revoke {
            election,
            token: None,
            reason: Arc::from("try"),
        },
        _ => Command::Configure {
            election,
            settings: Some(Settings {
                lock_delay_ms: rng.below(2) * 150,
                preferred: rng.chance(500).then_some(someone),
                preempt: rng.chance(500),
                stable_ms: 300,
                drain_ms: rng.below(2) * 200,
            }),
        },
    }
}
