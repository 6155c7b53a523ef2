//! Leader election as one would write it down in an afternoon: vectors, searched from end to end.
//!
//! It knows no tokens: each new leadership gets the one that the machine gave it, once, and `pair`
//! checks that it is above all before.

use quorate_core::error::Code;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Leading,
    Draining { to: u8, until: u64 },
    Revoking { asked: bool, to: Option<u8> },
}

#[derive(Clone, Debug)]
pub(super) struct Leader {
    pub(super) who: u8,
    pub(super) session: usize,
    pub(super) token: Option<u64>,
    pub(super) since: u64,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) who: u8,
    pub(super) session: usize,
    pub(super) priority: u32,
    pub(super) since: u64,
    pub(super) passed_over: bool,
}

/// Lock-delay, preferred, preempt, stable, drain.
pub(super) type Settings = (u64, Option<u8>, bool, u64, u64);

const DEFAULT: Settings = (0, None, false, 10_000, 10_000);

#[derive(Clone, Debug, Default)]
pub(super) struct Election {
    pub(super) settings: Option<Settings>,
    pub(super) leader: Option<Leader>,
    pub(super) locked_until: Option<u64>,
    successor: Option<u8>,
    /// In the order in which they came.
    pub(super) candidates: Vec<Candidate>,
}

#[derive(Debug)]
pub(super) struct Naive {
    pub(super) now: u64,
    /// By number; `None` when it does not exist.
    pub(super) elections: Vec<Option<Election>>,
    /// Whether each session is open.
    pub(super) sessions: Vec<bool>,
}

impl Election {
    fn find(&self, who: u8) -> Option<&Candidate> {
        self.candidates
            .iter()
            .find(|candidate| candidate.who == who)
    }

    fn rules(&self) -> Settings {
        self.settings.unwrap_or(DEFAULT)
    }

    /// As they would be elected.
    pub(super) fn line(&self) -> Vec<&Candidate> {
        let mut line: Vec<&Candidate> = self.candidates.iter().collect();
        line.sort_by_key(|candidate| {
            let preferred = self.rules().1 == Some(candidate.who) && !candidate.passed_over;
            (
                !preferred,
                candidate.passed_over,
                u32::MAX - candidate.priority,
            )
        });
        line
    }

    fn end(&mut self, now: u64, steps_back: bool, delayed: bool) {
        let Some(leader) = self.leader.take() else {
            return;
        };
        let (asked, to) = match leader.phase {
            Phase::Leading => (false, None),
            Phase::Draining { to, .. } => (false, Some(to)),
            Phase::Revoking { asked, to } => (asked, to),
        };
        self.successor = to;
        self.locked_until = (delayed && self.rules().0 > 0).then(|| now + self.rules().0);
        if steps_back || asked {
            for candidate in &mut self.candidates {
                candidate.passed_over |= candidate.who == leader.who;
            }
        }
    }

    fn settle(&mut self, now: u64) {
        // A few rounds reach what the machine reaches step by step.
        for _ in 0..4 {
            self.settle_once(now);
        }
    }

    fn settle_once(&mut self, now: u64) {
        let rules = self.rules();
        let candidates = self.candidates.clone();
        let there = |who: u8| candidates.iter().find(|candidate| candidate.who == who);
        match &mut self.leader {
            None => {
                if self.locked_until.is_some_and(|until| now < until) {
                    return;
                }
                self.locked_until = None;
                let named = self.successor.filter(|who| there(*who).is_some());
                let first = self.line().first().copied().cloned();
                let next = named.or(first
                    .filter(|candidate| !candidate.passed_over)
                    .map(|candidate| candidate.who));
                if let Some(next) = next.and_then(there) {
                    self.successor = None;
                    for candidate in &mut self.candidates {
                        candidate.passed_over = false;
                    }
                    self.leader = Some(Leader {
                        who: next.who,
                        session: next.session,
                        token: None,
                        since: now,
                        phase: Phase::Leading,
                    });
                }
            }
            Some(leader) => match leader.phase.clone() {
                Phase::Revoking { .. } => {}
                Phase::Draining { to, until } => {
                    if there(to).is_none() {
                        leader.phase = Phase::Leading;
                    } else if until <= now {
                        leader.phase = Phase::Revoking {
                            asked: false,
                            to: Some(to),
                        };
                    }
                }
                Phase::Leading => {
                    if self.settings.is_none() || rules.1 == Some(leader.who) {
                        return;
                    }
                    let own = there(leader.who).map_or(0, |own| own.priority);
                    let preferred = rules
                        .1
                        .and_then(there)
                        .filter(|candidate| !candidate.passed_over);
                    let higher = candidates
                        .iter()
                        .filter(|candidate| !candidate.passed_over && candidate.priority > own)
                        .rev()
                        .max_by_key(|candidate| candidate.priority)
                        .filter(|_| rules.2);
                    if let Some(better) = preferred.or(higher)
                        && better.since.max(leader.since) + rules.3 <= now
                    {
                        leader.phase = if rules.4 == 0 {
                            Phase::Revoking {
                                asked: false,
                                to: Some(better.who),
                            }
                        } else {
                            Phase::Draining {
                                to: better.who,
                                until: now + rules.4,
                            }
                        };
                    }
                }
            },
        }
    }

    fn is_idle(&self) -> bool {
        self.candidates.is_empty()
            && self.settings.is_none()
            && self.leader.is_none()
            && self.locked_until.is_none()
    }
}

impl Naive {
    pub(super) fn new(elections: usize) -> Self {
        Self {
            now: 1_000_000,
            elections: vec![None; elections],
            sessions: Vec::new(),
        }
    }

    fn settle(&mut self, at: usize) {
        let now = self.now;
        if let Some(election) = &mut self.elections[at] {
            election.settle(now);
            if election.is_idle() {
                self.elections[at] = None;
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        // Time may matter in between, so it passes slowly.
        for _ in 0..ms {
            self.now += 1;
            for at in 0..self.elections.len() {
                self.settle(at);
            }
        }
    }

    fn known(&mut self, at: usize) -> Result<&mut Election, Code> {
        self.elections[at].as_mut().ok_or(Code::NotFound)
    }

    pub(super) fn campaign(
        &mut self,
        at: usize,
        who: u8,
        session: usize,
        priority: u32,
    ) -> Result<(), Code> {
        if !self.sessions[session] {
            return Err(Code::SessionExpired);
        }
        let now = self.now;
        let election = self.elections[at].get_or_insert_default();
        match election
            .candidates
            .iter_mut()
            .find(|candidate| candidate.who == who)
        {
            Some(candidate) if candidate.session != session => return Err(Code::CandidateTaken),
            Some(candidate) => {
                candidate.priority = priority;
                candidate.passed_over = false;
            }
            None => election.candidates.push(Candidate {
                who,
                session,
                priority,
                since: now,
                passed_over: false,
            }),
        }
        self.settle(at);
        Ok(())
    }

    /// Whether it ended a leadership.
    pub(super) fn give_up(
        &mut self,
        at: usize,
        session: usize,
        current: bool,
        steps_back: bool,
    ) -> Result<bool, Code> {
        let now = self.now;
        let Ok(election) = self.known(at) else {
            return Ok(false);
        };
        let Some(leader) = election.leader.as_ref().filter(|_| current) else {
            return Ok(false);
        };
        if leader.session != session {
            return Err(Code::Forbidden);
        }
        election.end(now, steps_back, false);
        self.settle(at);
        Ok(true)
    }

    pub(super) fn leave(&mut self, at: usize, who: u8, session: usize) -> Result<bool, Code> {
        let now = self.now;
        let election = self.known(at)?;
        let candidate = election.find(who).ok_or(Code::NotFound)?;
        if candidate.session != session {
            return Err(Code::CandidateTaken);
        }
        let leads = election
            .leader
            .as_ref()
            .is_some_and(|leader| leader.who == who);
        if leads {
            election.end(now, false, false);
        }
        election.candidates.retain(|candidate| candidate.who != who);
        self.settle(at);
        Ok(leads)
    }

    pub(super) fn end_sessions(&mut self, sessions: &[usize], silent: bool) {
        let now = self.now;
        for election in self.elections.iter_mut().flatten() {
            let gone = |session: usize| sessions.contains(&session);
            if election
                .leader
                .as_ref()
                .is_some_and(|leader| gone(leader.session))
            {
                election.end(now, false, silent);
            }
            election
                .candidates
                .retain(|candidate| !gone(candidate.session));
        }
        for session in sessions {
            self.sessions[*session] = false;
        }
        for at in 0..self.elections.len() {
            self.settle(at);
        }
    }

    /// Whether `to` leads already.
    pub(super) fn transfer(&mut self, at: usize, to: u8, drain_ms: u64) -> Result<bool, Code> {
        let now = self.now;
        let election = self.known(at)?;
        election.find(to).ok_or(Code::NotACandidate)?;
        let leader = election.leader.as_mut().ok_or(Code::NotFound)?;
        let draining = |until: u64| {
            if until <= now {
                Phase::Revoking {
                    asked: false,
                    to: Some(to),
                }
            } else {
                Phase::Draining { to, until }
            }
        };
        let done = leader.who == to;
        leader.phase = match leader.phase.clone() {
            Phase::Draining { .. } if done => Phase::Leading,
            phase if done => phase,
            Phase::Leading => draining(now + drain_ms),
            Phase::Draining { until, .. } => draining(until.min(now + drain_ms)),
            Phase::Revoking { asked, .. } => Phase::Revoking {
                asked,
                to: Some(to),
            },
        };
        self.settle(at);
        Ok(done)
    }

    pub(super) fn revoke(&mut self, at: usize) -> Result<(), Code> {
        let election = self.known(at)?;
        if let Some(leader) = &mut election.leader {
            leader.phase = match leader.phase.clone() {
                Phase::Leading => Phase::Revoking {
                    asked: true,
                    to: None,
                },
                Phase::Draining { to, .. } => Phase::Revoking {
                    asked: true,
                    to: Some(to),
                },
                phase @ Phase::Revoking { .. } => phase,
            };
        }
        Ok(())
    }

    pub(super) fn end_revoked(&mut self, at: usize) {
        let now = self.now;
        if let Some(election) = &mut self.elections[at]
            && election
                .leader
                .as_ref()
                .is_some_and(|leader| matches!(leader.phase, Phase::Revoking { .. }))
        {
            election.end(now, false, true);
            self.settle(at);
        }
    }

    pub(super) fn force_release(&mut self, at: usize) -> Result<bool, Code> {
        let now = self.now;
        let election = self.known(at)?;
        let led = election.leader.is_some();
        election.end(now, true, false);
        self.settle(at);
        Ok(led)
    }

    pub(super) fn configure(&mut self, at: usize, settings: Option<Settings>) -> Result<(), Code> {
        let now = self.now;
        if settings.is_none() {
            self.known(at)?;
        }
        let election = self.elections[at].get_or_insert_default();
        if election.settings != settings {
            let delay_ms = settings.map_or(0, |settings| settings.0);
            election.locked_until = election.locked_until.map(|until| until.min(now + delay_ms));
        }
        election.settings = settings;
        self.settle(at);
        Ok(())
    }
}
