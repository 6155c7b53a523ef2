//! The state of the elections, and the one way in which a change is made known.
//!
//! Commands look up, decide, change rows and call `say` for each thing that happened to an election:
//! that numbers it, keeps it for observers that are away, and hands it out. Afterwards they call
//! `settle` (see `settle.rs`), which elects, begins hand-overs and lets elections vanish.

use super::planted::{self, Bug};
use super::rows::{Candidate, Election, Header, Session};
use super::types::{Change, Event, Leadership, SessionId, What, limits};
use quorate_core::error::{Code, Error};
use quorate_core::machine::Context;
use quorate_core::table::Table;
use quorate_core::types::{FencingToken, LogTime, Name};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The context of an entry.
pub(super) type Ctx<'a> = Context<'a, Event>;

/// The place of a candidate in its election: those in good standing first, then by priority, then by
/// who came first.
pub(super) type Place = (Name, bool, Reverse<u32>, u64);

/// Bounds of the state. Constants of this machine level; tests lower them to reach them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) elections: usize,
    pub(super) sessions: usize,
    pub(super) candidacies: usize,
    pub(super) per_election: usize,
    pub(super) per_session: usize,
    pub(super) history: usize,
    /// Elections whose time has come that one entry settles: at some microseconds each, a few
    /// milliseconds.
    pub(super) steps: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            elections: limits::ELECTIONS_MAX,
            sessions: limits::SESSIONS_MAX,
            candidacies: limits::CANDIDACIES_MAX,
            per_election: limits::CANDIDATES_PER_ELECTION_MAX,
            per_session: limits::CANDIDACIES_PER_SESSION_MAX,
            history: limits::HISTORY_MAX,
            steps: 1_000,
        }
    }
}

/// The replicated elections. See `docs/leases.md` for the rule they keep and `ARCHITECTURE.md` for the
/// tests that guard it.
#[derive(Debug, Default)]
pub struct ElectionMachine {
    pub(super) bounds: Bounds,

    // What a snapshot holds.
    pub(super) header: Header,
    pub(super) elections: Table<Name, Election>,
    pub(super) sessions: Table<SessionId, Session>,
    pub(super) candidates: Table<(Name, Name), Candidate>,
    pub(super) history: Table<u64, Arc<Change>>,

    // What follows from it.
    /// Candidates in the order in which they are elected.
    pub(super) order: BTreeMap<Place, Name>,
    /// What each session stands for: election and candidate.
    pub(super) stands: BTreeMap<SessionId, BTreeSet<(Name, Name)>>,
    /// Leaderships that are being revoked, with their election.
    pub(super) revoking: BTreeMap<FencingToken, Name>,
    /// Elections by when time alone changes them, and back.
    pub(super) timers: BTreeSet<(LogTime, Name)>,
    pub(super) timer_of: BTreeMap<Name, LogTime>,

    pub(super) walk: Option<super::snapshot::Walk>,
    pub(super) restored: Option<super::snapshot::Totals>,
}

impl ElectionMachine {
    /// The row of an election that must exist, with its name as it is kept, so that the text is shared.
    pub(super) fn known(&self, election: &Name) -> Result<(Name, &Election), Error> {
        self.elections
            .range(election.clone()..=election.clone())
            .next()
            .map(|(name, row)| (name.clone(), row))
            .ok_or_else(|| unknown_election(election))
    }

    /// The row of an election that is known to exist.
    pub(super) fn row(&self, election: &Name) -> &Election {
        self.elections
            .get(election)
            .expect("candidates, timers and leaderships refer to elections that exist")
    }

    /// The same, to be changed.
    pub(super) fn row_mut(&mut self, election: &Name) -> &mut Election {
        self.elections
            .get_mut(election)
            .expect("candidates, timers and leaderships refer to elections that exist")
    }

    /// A session that must be open.
    pub(super) fn session(&self, session: SessionId) -> Result<&Session, Error> {
        self.sessions.get(&session).ok_or_else(|| {
            Error::new(
                Code::SessionExpired,
                format!("the session {session} is unknown or has ended; trust nothing of it, open a new one and campaign again"),
            )
        })
    }

    /// Makes a new election or gives the name under which it is kept.
    pub(super) fn election_or_new(&mut self, election: &Name) -> Result<Name, Error> {
        if let Ok((name, _)) = self.known(election) {
            return Ok(name);
        }
        self.check_room_for(election)?;
        self.elections.insert(election.clone(), Election::default());
        Ok(election.clone())
    }

    /// Whether there is room for this election if it is new.
    pub(super) fn check_room_for(&self, election: &Name) -> Result<(), Error> {
        if !self.elections.contains_key(election) && self.elections.len() >= self.bounds.elections {
            return Err(Error::new(
                Code::OverQuota,
                format!(
                    "this cluster holds {} elections, its bound; let candidates leave those that are no longer used, and forget their settings",
                    self.elections.len()
                ),
            ));
        }
        Ok(())
    }

    /// Number of candidacies of a session: what its end costs.
    pub(super) fn candidacies(&self, session: SessionId) -> usize {
        self.stands.get(&session).map_or(0, BTreeSet::len)
    }

    /// The candidates of an election, in the order in which they would be elected.
    pub(super) fn line(&self, election: &Name) -> impl Iterator<Item = (&Place, &Name)> + '_ {
        let first = (election.clone(), false, Reverse(u32::MAX), 0);
        let last = (election.clone(), true, Reverse(0), u64::MAX);
        self.order.range(first..=last)
    }

    /// Number of candidates of an election, counted up to the bound.
    pub(super) fn crowd(&self, election: &Name) -> usize {
        self.line(election).count()
    }

    /// The revision before the first one that is kept: who has seen it has missed nothing.
    pub(super) fn floor(&self) -> u64 {
        self.history
            .iter()
            .next()
            .map_or(self.header.revision, |(first, _)| first - 1)
    }

    /// Numbers a change of an election, keeps it and hands it out. Answers its revision.
    pub(super) fn say(&mut self, ctx: &mut Ctx<'_>, election: &Name, what: What) -> u64 {
        if self.header.revision == 0 {
            // So that the revisions of a cluster that is set up anew go on above those of the old one.
            self.header.revision = ctx.token_last.0;
        }
        self.header.revision += 1;
        let revision = self.header.revision;
        let (previous, leader) = match self.elections.get_mut(election) {
            Some(row) => (
                std::mem::replace(&mut row.changed, revision),
                row.leader.clone(),
            ),
            None => (0, None),
        };
        let token = leader.as_ref().map_or(0, |leader| leader.token.0);
        for part in [revision, token, ctx.time.0] {
            self.header.mix = mix(self.header.mix ^ part);
        }
        self.keep(
            ctx,
            Change {
                revision,
                previous,
                time: ctx.time,
                election: election.clone(),
                what,
                leader,
            },
        );
        revision
    }

    /// The last change of an election that is gone.
    pub(super) fn say_removed(&mut self, ctx: &mut Ctx<'_>, election: &Name, previous: u64) {
        self.header.revision += 1;
        self.header.mix = mix(self.header.mix ^ self.header.revision);
        self.keep(
            ctx,
            Change {
                revision: self.header.revision,
                previous,
                time: ctx.time,
                election: election.clone(),
                what: What::Removed,
                leader: None,
            },
        );
    }

    fn keep(&mut self, ctx: &mut Ctx<'_>, change: Change) {
        let change = Arc::new(change);
        self.history.insert(change.revision, Arc::clone(&change));
        while self.history.len() > self.bounds.history {
            let oldest = self.history.iter().next().map(|(first, _)| *first);
            oldest.and_then(|first| self.history.remove(&first));
        }
        if planted::on(Bug::ChangeDropped) && change.revision.is_multiple_of(7) {
            return;
        }
        ctx.events.push(Event::Change(change));
    }

    /// Puts another leadership (or none) into an election, and keeps the index of those that are
    /// being revoked.
    pub(super) fn set_leader(&mut self, election: &Name, leader: Option<Leadership>) {
        let revoked = leader
            .as_ref()
            .filter(|leader| super::settle::is_revoking(leader))
            .map(|leader| leader.token);
        let old = std::mem::replace(&mut self.row_mut(election).leader, leader.map(Arc::new));
        if let Some(old) = old {
            self.revoking.remove(&old.token);
        }
        if let Some(token) = revoked {
            self.revoking.insert(token, election.clone());
        }
    }

    /// The place of a candidate.
    pub(super) fn place(election: &Name, candidate: &Candidate) -> Place {
        (
            election.clone(),
            candidate.passed_over,
            Reverse(candidate.priority),
            candidate.place,
        )
    }

    /// Changes a candidate that is known to exist, and its place.
    pub(super) fn edit_candidate(
        &mut self,
        election: &Name,
        candidate: &Name,
        edit: impl FnOnce(&mut Candidate),
    ) {
        let key = (election.clone(), candidate.clone());
        let row = self
            .candidates
            .get_mut(&key)
            .expect("a candidate is looked up before it is changed");
        let before = Self::place(election, row);
        edit(row);
        let after = Self::place(election, row);
        if before != after
            && let Some(name) = self.order.remove(&before)
        {
            self.order.insert(after, name);
        }
    }
}

/// An election that does not exist.
pub(super) fn unknown_election(election: &Name) -> Error {
    Error::not_found(format!(
        "there is no election {election}; it comes into being with its first candidate or when it is configured"
    ))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators",
/// 2014).
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
