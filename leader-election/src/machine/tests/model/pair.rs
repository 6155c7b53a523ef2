//! Machine and model side by side.

use super::naive::{self, Naive};
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const ELECTIONS: u8 = 3;
const CANDIDATES: u8 = 4;
const SESSIONS: u8 = 5;

/// One step. Numbers choose elections, candidates and sessions.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Campaign(u8, u8, u8, u32),
    /// By the holder with the current token, or with another session or token.
    Resign(u8),
    ResignOdd(u8, u8, bool),
    Drained(u8),
    Leave(u8, u8, u8),
    Transfer(u8, u8, u64),
    Revoke(u8),
    EndRevoked(u8),
    ForceRelease(u8),
    Configure(u8, Option<naive::Settings>),
    Close(u8),
    /// A set of sessions, as bits.
    Expire(u8),
    Pass(u64),
    Restore(usize),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let e = || 0..ELECTIONS;
    let c = || 0..CANDIDATES;
    let s = || 0..SESSIONS;
    let settings = (
        prop::sample::select(vec![0_u64, 30, 70]),
        prop::option::of(c()),
        any::<bool>(),
        prop::sample::select(vec![0_u64, 20, 60]),
        prop::sample::select(vec![0_u64, 10, 40]),
    );
    prop_oneof![
        8 => (e(), c(), s(), 0..4_u32).prop_map(|(e, c, s, p)| Step::Campaign(e, c, s, p)),
        3 => e().prop_map(Step::Resign),
        1 => (e(), s(), any::<bool>()).prop_map(|(e, s, current)| Step::ResignOdd(e, s, current)),
        2 => e().prop_map(Step::Drained),
        2 => (e(), c(), s()).prop_map(|(e, c, s)| Step::Leave(e, c, s)),
        4 => (e(), c(), prop::sample::select(vec![0_u64, 15, 50])).prop_map(|(e, c, ms)| Step::Transfer(e, c, ms)),
        2 => e().prop_map(Step::Revoke),
        3 => e().prop_map(Step::EndRevoked),
        1 => e().prop_map(Step::ForceRelease),
        2 => (e(), prop::option::of(settings)).prop_map(|(e, settings)| Step::Configure(e, settings)),
        1 => s().prop_map(Step::Close),
        1 => (0..32_u8).prop_map(Step::Expire),
        5 => (0..80_u64).prop_map(Step::Pass),
        1 => (1..300_usize).prop_map(Step::Restore),
    ]
}

pub(super) struct Pair {
    rig: Rig,
    model: Naive,
    /// The machine's session of each of ours, the last one opened.
    sessions: Vec<SessionId>,
    token_last: u64,
    revision_last: Option<u64>,
    /// What an observer of everything knows: who leads under which token.
    told: BTreeMap<Name, Option<Arc<Leadership>>>,
    last_of: BTreeMap<Name, u64>,
}

fn election(number: u8) -> Name {
    name(&format!("e{number}"))
}

fn candidate(number: u8) -> Name {
    name(&format!("c{number}"))
}

fn settings(settings: naive::Settings) -> Settings {
    Settings {
        lock_delay_ms: settings.0,
        preferred: settings.1.map(candidate),
        preempt: settings.2,
        stable_ms: settings.3,
        drain_ms: settings.4,
    }
}

impl Pair {
    pub(super) fn new() -> Self {
        let mut pair = Self {
            rig: Rig::new(),
            model: Naive::new(usize::from(ELECTIONS)),
            sessions: Vec::new(),
            token_last: 0,
            revision_last: None,
            told: BTreeMap::new(),
            last_of: BTreeMap::new(),
        };
        for _ in 0..SESSIONS {
            pair.sessions.push(pair.rig.open(2_000));
            pair.model.sessions.push(true);
        }
        pair
    }

    fn token(&self, at: u8) -> FencingToken {
        let leader = self.rig.machine.view(&election(at), self.rig.now);
        leader
            .and_then(|view| view.leader)
            .map_or(FencingToken(0), |leader| leader.token)
    }

    fn holder(&self, at: u8) -> u8 {
        self.model.elections[usize::from(at)]
            .as_ref()
            .and_then(|election| election.leader.as_ref())
            .map_or(0, |leader| u8::try_from(leader.session).unwrap())
    }

    pub(super) fn take(&mut self, step: &Step) -> Result<(), String> {
        match step.clone() {
            Step::Campaign(e, c, s, priority) => {
                let session = self.sessions[usize::from(s)];
                let is = self.rig.run(Command::Campaign(Campaign {
                    election: election(e),
                    candidate: candidate(c),
                    liveness: Liveness::Session(session),
                    priority,
                    metadata: text(""),
                }));
                let should = self
                    .model
                    .campaign(usize::from(e), c, usize::from(s), priority);
                same(is.map(drop), should)?;
            }
            Step::Resign(e) => self.give_up(e, self.holder(e), true, true)?,
            Step::ResignOdd(e, s, current) => self.give_up(e, s, current, true)?,
            Step::Drained(e) => self.give_up(e, self.holder(e), true, false)?,
            Step::Leave(e, c, s) => {
                let session = self.sessions[usize::from(s)];
                let is = self.rig.run(Command::Leave {
                    election: election(e),
                    candidate: candidate(c),
                    session,
                });
                let should = self.model.leave(usize::from(e), c, usize::from(s));
                same(is.map(|reply| ended(Ok(reply))), should)?;
            }
            Step::Transfer(e, c, drain_ms) => {
                let is = self.rig.run(Command::Transfer {
                    election: election(e),
                    to: candidate(c),
                    drain_ms,
                    token: None,
                });
                let should = self.model.transfer(usize::from(e), c, drain_ms);
                let done =
                    |reply| matches!(reply, Reply::Transferring(Transferring { done: true, .. }));
                same(is.map(done), should)?;
            }
            Step::Revoke(e) => {
                let is = self.rig.run(Command::Revoke {
                    election: election(e),
                    token: None,
                    reason: text("r"),
                });
                same(is.map(drop), self.model.revoke(usize::from(e)))?;
            }
            Step::EndRevoked(e) => {
                let token = self.token(e);
                self.rig.end_revoked(&format!("e{e}"), token);
                self.model.end_revoked(usize::from(e));
            }
            Step::ForceRelease(e) => {
                let is = self.rig.run(Command::ForceRelease {
                    election: election(e),
                    token: None,
                    reason: text("r"),
                });
                let should = self.model.force_release(usize::from(e));
                same(is.map(|reply| ended(Ok(reply))), should)?;
            }
            Step::Configure(e, new) => {
                let is = self.rig.run(Command::Configure {
                    election: election(e),
                    settings: new.map(settings),
                });
                same(is.map(drop), self.model.configure(usize::from(e), new))?;
            }
            Step::Close(s) => {
                let session = self.sessions[usize::from(s)];
                let open = self.model.sessions[usize::from(s)];
                let is = self.rig.run(Command::CloseSession { session });
                same(
                    is.map(drop),
                    if open {
                        Ok(())
                    } else {
                        Err(Code::SessionExpired)
                    },
                )?;
                if open {
                    self.model.end_sessions(&[usize::from(s)], false);
                }
            }
            Step::Expire(bits) => self.expire(bits),
            Step::Pass(ms) => {
                self.model.pass(ms);
                // Not in one go: the machine acts at the times of its entries.
                for _ in 0..ms {
                    self.rig.pass(1);
                }
            }
            Step::Restore(bytes_max) => {
                self.rig.machine = restored(&mut self.rig.machine, bytes_max);
            }
        }
        self.compare()
    }

    fn expire(&mut self, bits: u8) {
        let gone: Vec<usize> = (0..usize::from(SESSIONS))
            .filter(|s| bits & 1 << s != 0)
            .collect();
        let sessions: Vec<_> = gone.iter().map(|s| self.sessions[*s]).collect();
        self.rig.expire(&sessions);
        let open: Vec<usize> = gone
            .iter()
            .copied()
            .filter(|s| self.model.sessions[*s])
            .collect();
        self.model.end_sessions(&open, true);
        // New ones in their places, so that the history does not run dry.
        for s in gone {
            self.sessions[s] = self.rig.open(2_000);
            self.model.sessions[s] = true;
        }
    }

    fn give_up(&mut self, e: u8, s: u8, current: bool, steps_back: bool) -> Result<(), String> {
        let session = self.sessions[usize::from(s)];
        let token = if current {
            self.token(e)
        } else {
            FencingToken(1)
        };
        let command = if steps_back {
            Command::Resign {
                election: election(e),
                session,
                token,
            }
        } else {
            Command::Drained {
                election: election(e),
                session,
                token,
            }
        };
        let is = self.rig.run(command).map(|reply| ended(Ok(reply)));
        let should = self
            .model
            .give_up(usize::from(e), usize::from(s), current, steps_back);
        same(is, should)
    }

    fn compare(&mut self) -> Result<(), String> {
        self.observe()?;
        let before = self.token_last;
        for number in 0..ELECTIONS {
            let view = self.rig.machine.view(&election(number), self.rig.now);
            let told = self.told.get(&election(number)).cloned().flatten();
            check(
                view.as_ref().and_then(|view| view.leader.clone()) == told,
                "what observers were told",
            )?;
            let model = &mut self.model.elections[usize::from(number)];
            let (view, model) = match (view, model) {
                (None, None) => continue,
                (Some(view), Some(model)) => (view, model),
                (is, _) => return Err(format!("e{number} exists: {}", is.is_some())),
            };
            check(
                view.locked_until == model.locked_until.map(LogTime),
                "the lock",
            )?;
            check(view.configured == model.settings.is_some(), "configured")?;
            let line: Vec<_> = view
                .candidates
                .iter()
                .map(|c| (c.candidate.clone(), c.priority, c.passed_over, c.since.0))
                .collect();
            let should: Vec<_> = model
                .line()
                .into_iter()
                .map(|c| (candidate(c.who), c.priority, c.passed_over, c.since))
                .collect();
            if line != should {
                return Err(format!(
                    "the line of e{number} is {line:?}, should be {should:?}"
                ));
            }
            match (view.leader.as_deref(), &mut model.leader) {
                (None, None) => {}
                (Some(is), Some(should)) => {
                    let first = should.token.is_none();
                    let token = *should.token.get_or_insert(is.token.0);
                    check(is.token.0 == token, "one leadership has one token")?;
                    check(!first || token > before, "tokens grow")?;
                    self.token_last = self.token_last.max(token);
                    check(is.candidate == candidate(should.who), "who leads")?;
                    check(is.session == self.sessions[should.session], "whose session")?;
                    check(is.since.0 == should.since, "since when")?;
                    check(is.phase == phase(&should.phase), "the phase")?;
                }
                (is, should) => return Err(format!("e{number}: {is:?}, should be {should:?}")),
            }
        }
        Ok(())
    }

    /// Takes in what was told, as an observer of everything.
    fn observe(&mut self) -> Result<(), String> {
        for change in self.rig.changes() {
            check(
                self.revision_last
                    .is_none_or(|last| last + 1 == change.revision),
                "revisions have no gap",
            )?;
            self.revision_last = Some(change.revision);
            let previous = match change.what {
                What::Removed => self.last_of.remove(&change.election),
                _ => self
                    .last_of
                    .insert(change.election.clone(), change.revision),
            };
            check(
                change.previous == previous.unwrap_or(0),
                "the previous revision",
            )?;
            self.told
                .insert(change.election.clone(), change.leader.clone());
        }
        Ok(())
    }
}

fn phase(naive: &naive::Phase) -> Phase {
    match naive {
        naive::Phase::Leading => Phase::Leading,
        naive::Phase::Draining { to, until } => Phase::Draining {
            to: candidate(*to),
            until: LogTime(*until),
        },
        naive::Phase::Revoking { asked, to } => Phase::Revoking {
            cause: if *asked {
                RevokeCause::Asked {
                    by: text("ann"),
                    reason: text("r"),
                }
            } else {
                RevokeCause::HandOver
            },
            to: to.map(candidate),
        },
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    is: Result<T, Error>,
    should: Result<T, Code>,
) -> Result<(), String> {
    let is = is.map_err(|error| error.code);
    if is == should {
        Ok(())
    } else {
        Err(format!("answered {is:?}, should be {should:?}"))
    }
}

fn check(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
