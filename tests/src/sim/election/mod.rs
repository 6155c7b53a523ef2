//! The play of leader election: processes that stand, lead, hand over and write to a fenced register,
//! an operator who orders hand-overs and looks for answers from the past, and the ledger that checks
//! what they saw.
//!
//! Clock rates go to twice what the lease rule allows. Within the bound, no two processes may believe
//! at the same true time that they lead (P4); beyond it, only tokens and the register must hold (P3).

mod candidate;
mod ledger;
mod operator;
pub mod planted;

use super::faults::{Aim, Faults};
use super::ledger::{True, Violation};
use super::node::Clock;
use super::play::{Effects, Play, Signal};
use super::rng::Rng;
use candidate::Candidate;
use ledger::Ledger;
use operator::Operator;
use quorate_core::machine::{Duties, Machine};
use quorate_core::types::{LogTime, Mono, Name, NodeId};
use quorate_leader_election::machine::{
    Answer, ElectionDuties, ElectionMachine, Event, Phase, Query,
};

/// Leader election.
#[derive(Debug)]
pub(crate) struct Elections;

/// Who is there.
pub(crate) enum Actor {
    /// A process that stands for the elections.
    Candidate(Candidate),
    /// Orders hand-overs, changes settings, reads.
    Operator(Operator),
}

/// Length of a session: the shortest there is.
const TTL_MS: u64 = 500;

/// Processes that stand for every election.
const CANDIDATES: u64 = 4;

/// The elections.
fn elections() -> [Name; 2] {
    ["planner", "writer"].map(|name| Name::new(name).expect("a valid literal"))
}

fn candidate(number: u64) -> Name {
    Name::new(&format!("app-{number}")).expect("a valid literal")
}

impl Play for Elections {
    type Machine = ElectionMachine;
    type Actor = Actor;
    type Ledger = Ledger;

    const CLINGS: bool = true;
    const REPLAY: &'static str = "--pattern election ";

    fn adjust(faults: &mut Faults, rng: &mut Rng) {
        let index = usize::try_from(rng.below(5)).unwrap_or(0);
        faults.drift_permille = [0, 5, 10, 10, 20].get(index).copied().unwrap_or(0);
        // Messages that are late by more than an election takes.
        if rng.chance(200) {
            faults.delay_ms_max = 400;
        }
        if faults.pause_every_ms == 0 && rng.chance(500) {
            faults.pause_every_ms = 1_200;
        }
        let aims = [
            None,
            Some(Aim::StandStill),
            Some(Aim::HoldBack),
            Some(Aim::SeeSaw),
        ];
        let index = usize::try_from(rng.below(aims.len() as u64)).unwrap_or(0);
        faults.aim = aims.get(index).copied().flatten();
        // What is placed with care is not to be spoiled by what strikes at random, mostly.
        if faults.aim.is_some() && rng.chance(700) {
            *faults = Faults {
                drift_permille: faults.drift_permille,
                worker_crash_every_ms: faults.worker_crash_every_ms,
                aim: faults.aim,
                delay_ms_max: 3,
                ..Faults::NONE
            };
        }
        if faults.aim == Some(Aim::HoldBack) {
            faults.sync_ms_max = 60;
            faults.sync_slow_permille = 800;
        }
    }

    fn ledger(faults: &Faults) -> Ledger {
        Ledger::new(faults.drift_permille <= 10)
    }

    fn actors() -> Vec<Actor> {
        let mut actors: Vec<Actor> = (1..=CANDIDATES)
            .map(|number| Actor::Candidate(Candidate::new(number)))
            .collect();
        actors.push(Actor::Operator(Operator::default()));
        actors
    }

    fn signal(actor: &mut Actor, signal: Signal<ElectionMachine>, effects: &mut Effects<'_, Self>) {
        match actor {
            Actor::Candidate(candidate) => candidate.signal(signal, effects),
            Actor::Operator(operator) => operator.signal(signal, effects),
        }
    }

    fn may_crash(actor: &Actor) -> bool {
        matches!(actor, Actor::Candidate(_))
    }

    fn may_pause(actor: &Actor) -> bool {
        matches!(actor, Actor::Candidate(_))
    }

    fn holds(actor: &Actor) -> bool {
        matches!(actor, Actor::Candidate(candidate) if candidate.leads())
    }

    fn crash(actor: &mut Actor, at: True, _: &Clock, ledger: &mut Ledger) {
        if let Actor::Candidate(candidate) = actor {
            candidate.crash(at, ledger);
        }
    }

    fn finish(_: &mut Actor, _: True, _: &Clock, _: &mut Ledger) {}

    fn told(ledger: &mut Ledger, node: NodeId, event: &Event) {
        if let Event::Change(change) = event {
            ledger.told(node, change);
        }
    }

    fn interrupted(ledger: &mut Ledger, node: NodeId) {
        ledger.interrupted(node);
    }

    /// Every election has a leader that is not on its way out.
    fn is_over(machine: &ElectionMachine) -> bool {
        let duties = ElectionDuties::new(machine, Mono(0));
        elections().into_iter().all(|election| {
            let query = Query::Election { election };
            match machine.query(&duties, LogTime(0), query) {
                Ok(Answer::Election(view)) => view
                    .leader
                    .is_some_and(|leader| leader.phase == Phase::Leading),
                _ => false,
            }
        })
    }

    fn judge(ledger: &mut Ledger, machine: &ElectionMachine) {
        if !Self::is_over(machine) {
            ledger.blame(
                "P11",
                "an election has no leader though all faults ended".to_owned(),
            );
        }
        ledger.judge();
    }

    fn blame(ledger: &mut Ledger, promise: &'static str, what: String) {
        ledger.blame(promise, what);
    }

    fn summary(ledger: &Ledger) -> Vec<(&'static str, u64)> {
        ledger.summary()
    }

    fn violations(ledger: &Ledger) -> Vec<Violation> {
        ledger.violations()
    }
}
