//! A process that stands for every election under one session, and does its work while it leads.
//!
//! It keeps the holder's side of the lease rule as an application would: the clock is read before a
//! renewal is sent; a leadership is extended only by an acknowledgement that covers it; before anything
//! is sent that ends a leadership, its trust is gone, and no late answer brings it back.

use super::ledger::Ledger;
use super::planted::{self, Bug};
use super::{Elections, TTL_MS, candidate, elections};
use crate::sim::ledger::True;
use crate::sim::play::{Call, CallResult, Effects, Signal};
use quorate_core::error::{Code, Error};
use quorate_core::lease::{Holder, Terms};
use quorate_core::types::{FencingToken, Mono, Name};
use quorate_leader_election::machine::{
    Answer, Campaign, Command, ElectionMachine, ElectionView, Leadership, Liveness, Phase, Query,
    Renewal, Renewed, Reply, SessionId, SessionView,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type World<'a> = Effects<'a, Elections>;

/// Calls and timers that are remembered; lost ones make room.
const REMEMBERED_MAX: usize = 256;

/// What a call was.
#[derive(Clone, Debug)]
enum Asked {
    Open,
    Campaign(Name),
    Renew,
    Session,
    Other,
}

/// What a timer is for.
#[derive(Clone, Debug)]
enum Due {
    Beat,
    Act,
    /// A request of ours reaches the register.
    Register(Name, FencingToken, Touch),
}

/// What is done at the register.
#[derive(Clone, Copy, Debug)]
enum Touch {
    Seal,
    Write { based_on: u64 },
}

/// A session as its owner knows it.
#[derive(Clone, Copy, Debug)]
struct Session {
    id: SessionId,
    terms: Terms,
    /// When the last renewal that was acknowledged was sent.
    sent: Mono,
    /// The highest revision of a loss that was told.
    lost: u64,
}

/// A leadership as its holder knows it.
#[derive(Clone, Debug)]
struct Lead {
    token: FencingToken,
    /// It was whole at this revision.
    confirmed: u64,
    holder: Holder,
    /// What the register said; `None` before it is sealed.
    version: Option<u64>,
    busy: bool,
}

/// A process.
#[derive(Debug)]
pub(crate) struct Candidate {
    number: u64,
    next: u64,
    calls: BTreeMap<u64, (Mono, Asked)>,
    due: BTreeMap<u64, Due>,
    opening: bool,
    session: Option<Session>,
    stands: BTreeSet<Name>,
    leads: BTreeMap<Name, Lead>,
    /// Tokens that are over for us, whatever late answers say.
    over: BTreeSet<FencingToken>,
}

impl Candidate {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            next: 0,
            calls: BTreeMap::new(),
            due: BTreeMap::new(),
            opening: false,
            session: None,
            stands: BTreeSet::new(),
            leads: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    /// Whether it led when it last looked.
    pub(super) fn leads(&self) -> bool {
        !self.leads.is_empty()
    }

    pub(super) fn crash(&mut self, at: True, ledger: &mut Ledger) {
        for election in elections() {
            ledger.disbelieve(self.number, &election, at);
        }
        *self = Self {
            next: self.next,
            ..Self::new(self.number)
        };
    }

    pub(super) fn signal(&mut self, signal: Signal<ElectionMachine>, world: &mut World<'_>) {
        match signal {
            Signal::Start => {
                self.beat(world);
                self.act(world);
            }
            Signal::Timer(number) => match self.due.remove(&number) {
                Some(Due::Beat) => self.beat(world),
                Some(Due::Act) => self.act(world),
                Some(Due::Register(election, token, touch)) => {
                    self.touch(&election, token, touch, world);
                }
                None => {}
            },
            Signal::Answer(number, result) => {
                if let Some((sent, asked)) = self.calls.remove(&number) {
                    self.answered(sent, asked, result, world);
                }
            }
        }
    }

    fn call(&mut self, asked: Asked, call: Call<ElectionMachine>, world: &mut World<'_>) {
        self.next += 1;
        self.calls.insert(self.next, (world.mono, asked));
        if self.calls.len() > REMEMBERED_MAX {
            self.calls.pop_first();
        }
        world.calls.push((self.next, call));
    }

    fn execute(&mut self, asked: Asked, command: Command, world: &mut World<'_>) {
        let call = Call::Execute {
            command,
            key: None,
            wait_ms: 0,
        };
        self.call(asked, call, world);
    }

    fn timer(&mut self, delay_ms: u64, due: Due, world: &mut World<'_>) {
        self.next += 1;
        self.due.insert(self.next, due);
        world.timers.push((delay_ms, self.next));
    }

    /// Renews, or opens a session.
    fn beat(&mut self, world: &mut World<'_>) {
        self.timer(80 + world.rng.below(100), Due::Beat, world);
        match self.session {
            Some(session) => {
                // Half of them learn what they lead from the acknowledgement, half ask for it.
                let positive = self.number.is_multiple_of(2);
                let renewal = Renewal {
                    sessions: vec![session.id],
                    elections: if positive {
                        elections().to_vec()
                    } else {
                        Vec::new()
                    },
                };
                self.call(Asked::Renew, Call::Renew(renewal), world);
                if !positive && world.rng.chance(500) {
                    self.ask_session(world);
                }
            }
            None if !self.opening || world.rng.chance(200) => {
                self.opening = true;
                let label = Arc::from("app");
                self.execute(
                    Asked::Open,
                    Command::OpenSession {
                        ttl_ms: TTL_MS,
                        label,
                    },
                    world,
                );
            }
            None => {}
        }
    }

    fn ask_session(&mut self, world: &mut World<'_>) {
        if let Some(session) = self.session {
            let query = Query::Session {
                session: session.id,
                after: None,
                max: 100,
            };
            self.call(Asked::Session, Call::Query(query), world);
        }
    }

    /// Campaigns where it does not stand, works where it leads, and now and then gives up.
    fn act(&mut self, world: &mut World<'_>) {
        self.timer(20 + world.rng.below(80), Due::Act, world);
        let Some(session) = self.session else {
            return;
        };
        for election in elections() {
            let again = !world.winding_down && world.rng.chance(15);
            if again || !self.stands.contains(&election) && world.rng.chance(500) {
                let campaign = Campaign {
                    election: election.clone(),
                    candidate: candidate(self.number),
                    liveness: Liveness::Session(session.id),
                    priority: u32::try_from(self.number % 3).unwrap_or(0),
                    metadata: Arc::from(format!("{:>400}", self.next).as_str()),
                };
                self.execute(
                    Asked::Campaign(election.clone()),
                    Command::Campaign(campaign),
                    world,
                );
            }
            let Some(lead) = self.leads.get(&election).cloned() else {
                continue;
            };
            if !lead.holder.is_valid(world.mono) {
                continue;
            }
            if !world.winding_down && world.rng.chance(20) {
                if !planted::on(Bug::ResignKeepsTrust) {
                    self.give_up(&election, world);
                }
                let resign = Command::Resign {
                    election: election.clone(),
                    session: session.id,
                    token: lead.token,
                };
                self.stands.remove(&election);
                self.execute(Asked::Other, resign, world);
            } else if !lead.busy {
                self.begin_touch(&election, &lead, world);
            }
        }
        if !world.winding_down && world.rng.chance(4) {
            self.end_session(world);
            self.execute(
                Asked::Other,
                Command::CloseSession {
                    session: session.id,
                },
                world,
            );
        }
    }

    /// Sends something to the register; mostly it arrives soon.
    fn begin_touch(&mut self, election: &Name, lead: &Lead, world: &mut World<'_>) {
        let touch = match lead.version {
            None => Touch::Seal,
            Some(based_on) => Touch::Write { based_on },
        };
        if let Some(lead) = self.leads.get_mut(election) {
            lead.busy = true;
        }
        let late = world.rng.chance(100);
        let delay_ms = world.rng.range(1, if late { 1_500 } else { 20 });
        self.timer(
            delay_ms,
            Due::Register(election.clone(), lead.token, touch),
            world,
        );
    }

    /// It arrives there, whatever we believe by now.
    fn touch(&mut self, election: &Name, token: FencingToken, touch: Touch, world: &mut World<'_>) {
        let version = match touch {
            Touch::Seal if planted::on(Bug::NoSeal) => Some(world.ledger.peek(election)),
            Touch::Seal => world.ledger.seal(election, token),
            Touch::Write { based_on } => world.ledger.write(election, token, based_on),
        };
        let Some(lead) = self
            .leads
            .get_mut(election)
            .filter(|lead| lead.token == token)
        else {
            return;
        };
        lead.busy = false;
        match version {
            Some(version) => lead.version = Some(version),
            // Somebody newer was there.
            None => self.give_up(election, world),
        }
    }

    /// Believes no more, for good.
    fn give_up(&mut self, election: &Name, world: &mut World<'_>) {
        if let Some(mut lead) = self.leads.remove(election) {
            lead.holder.release();
            self.over.insert(lead.token);
        }
        world.ledger.disbelieve(self.number, election, world.at);
    }

    fn end_session(&mut self, world: &mut World<'_>) {
        for election in elections() {
            self.give_up(&election, world);
        }
        self.session = None;
        self.stands.clear();
        self.opening = false;
    }

    fn answered(
        &mut self,
        sent: Mono,
        asked: Asked,
        result: CallResult<ElectionMachine>,
        world: &mut World<'_>,
    ) {
        match (asked, result) {
            (Asked::Open, CallResult::Executed(Ok((Reply::Session(opened), replayed)))) => {
                self.opening = false;
                if self.session.is_none() && !replayed {
                    self.session = Some(Session {
                        id: opened.session,
                        terms: opened.terms,
                        sent,
                        lost: 0,
                    });
                }
            }
            (Asked::Open, _) => self.opening = false,
            (Asked::Campaign(election), CallResult::Executed(Ok((reply, _)))) => {
                let Reply::Campaigned(campaigned) = reply else {
                    return;
                };
                world.ledger.saw(campaigned.revision);
                if self
                    .session
                    .is_some_and(|session| session.id == campaigned.session)
                {
                    self.stands.insert(election.clone());
                    if let Some(token) = campaigned.token {
                        self.learn(&election, token, campaigned.revision, world);
                    }
                }
            }
            (Asked::Renew, CallResult::Renewed(Ok(renewed))) => self.renewed(sent, &renewed, world),
            (Asked::Session, CallResult::Answered(Ok(Answer::Session(view)))) => {
                self.looked_up(&view, world);
            }
            (
                Asked::Campaign(_) | Asked::Session,
                CallResult::Executed(Err(error)) | CallResult::Answered(Err(error)),
            ) => self.failed(&error, world),
            _ => {}
        }
    }

    fn failed(&mut self, error: &Error, world: &mut World<'_>) {
        if error.code == Code::SessionExpired {
            self.end_session(world);
        }
    }

    fn renewed(&mut self, sent: Mono, renewed: &Renewed, world: &mut World<'_>) {
        let Some(session) = &mut self.session else {
            return;
        };
        if renewed.ended.contains(&session.id) {
            return self.end_session(world);
        }
        let Some(kept) = renewed
            .live
            .iter()
            .find(|kept| kept.session == session.id)
            .copied()
        else {
            return;
        };
        let sent = if planted::on(Bug::TimeReadAfterAck) {
            world.mono
        } else {
            sent
        };
        world.ledger.saw(kept.revision);
        session.sent = session.sent.max(sent);
        session.lost = session.lost.max(kept.lost);
        let mut doubtful = false;
        for lead in self.leads.values_mut() {
            if kept.lost <= lead.confirmed || planted::on(Bug::LossIgnored) {
                lead.holder.renewed(sent);
            } else {
                doubtful = true;
            }
        }
        for view in &renewed.elections {
            self.shown(view, sent, world);
        }
        self.record(world);
        if doubtful && !planted::on(Bug::LossIgnored) {
            self.ask_session(world);
        }
    }

    /// An election, as of the instant of an acknowledgement.
    fn shown(&mut self, view: &ElectionView, sent: Mono, world: &mut World<'_>) {
        let Some(session) = self.session else {
            return;
        };
        let own = view
            .leader
            .as_deref()
            .filter(|leader| leader.session == session.id);
        self.consider(&view.election, own, view.revision, world);
        if let Some(lead) = self.leads.get_mut(&view.election)
            && own.is_some_and(|own| {
                own.token == lead.token && !matches!(own.phase, Phase::Revoking { .. })
            })
        {
            lead.holder.renewed(sent);
        }
    }

    /// The session, as of some revision.
    fn looked_up(&mut self, view: &SessionView, world: &mut World<'_>) {
        world.ledger.saw(view.revision);
        if self
            .session
            .is_none_or(|session| session.id != view.session)
        {
            return;
        }
        for election in elections() {
            let own = view
                .items
                .iter()
                .find(|(other, _, _)| *other == election)
                .and_then(|(_, _, leader)| leader.as_deref());
            self.consider(&election, own, view.revision, world);
        }
        self.record(world);
    }

    /// What of an election is ours as of `revision`.
    fn consider(
        &mut self,
        election: &Name,
        own: Option<&Leadership>,
        revision: u64,
        world: &mut World<'_>,
    ) {
        let known = self
            .leads
            .get(election)
            .map(|lead| (lead.token, lead.confirmed));
        match own {
            Some(own)
                if matches!(own.phase, Phase::Revoking { .. })
                    && known.is_none_or(|(token, _)| token <= own.token) =>
            {
                self.hand_over(election, own.token, world);
            }
            Some(own) if matches!(own.phase, Phase::Revoking { .. }) => {}
            Some(own) => {
                self.learn(election, own.token, revision, world);
                if matches!(own.phase, Phase::Draining { .. }) && world.rng.chance(700) {
                    self.hand_over(election, own.token, world);
                }
            }
            // Old news must not end what was won since.
            None if known.is_some_and(|(_, confirmed)| confirmed < revision)
                && !planted::on(Bug::LossIgnored) =>
            {
                self.give_up(election, world);
            }
            None => {}
        }
    }

    /// Confirms a hand-over or revocation, mostly.
    fn hand_over(&mut self, election: &Name, token: FencingToken, world: &mut World<'_>) {
        if planted::on(Bug::LossIgnored) {
            return;
        }
        self.give_up(election, world);
        self.over.insert(token);
        if let Some(session) = self.session
            && world.rng.chance(600)
        {
            let drained = Command::Drained {
                election: election.clone(),
                session: session.id,
                token,
            };
            self.execute(Asked::Other, drained, world);
        }
    }

    /// A leadership of ours was whole at `revision`.
    fn learn(
        &mut self,
        election: &Name,
        token: FencingToken,
        revision: u64,
        world: &mut World<'_>,
    ) {
        let Some(session) = self.session else {
            return;
        };
        if self.over.contains(&token) {
            return;
        }
        match self.leads.get_mut(election) {
            Some(lead) if lead.token == token => {
                lead.confirmed = lead.confirmed.max(revision);
            }
            Some(lead) if lead.token > token => {}
            _ => {
                self.give_up(election, world);
                // The session's last acknowledgement covers it if nothing was lost after it was won.
                let holder = if session.lost <= revision || planted::on(Bug::LossIgnored) {
                    Holder::granted(session.terms, session.sent)
                } else {
                    Holder::replayed(session.terms)
                };
                let lead = Lead {
                    token,
                    confirmed: revision,
                    holder,
                    version: None,
                    busy: false,
                };
                self.leads.insert(election.clone(), lead);
            }
        }
        self.record(world);
    }

    /// Writes down what is believed.
    fn record(&self, world: &mut World<'_>) {
        for (election, lead) in &self.leads {
            if let Some(until) = lead
                .holder
                .trusted_until()
                .filter(|until| *until > world.mono)
            {
                let stretch = (world.at, world.clock.true_at(until));
                world
                    .ledger
                    .believe(self.number, election, lead.token, stretch);
            }
        }
    }
}
