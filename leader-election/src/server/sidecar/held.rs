//! What is held of the sessions that were opened through this container: what each stands for, what it
//! leads, and what of it may be told to the application.

use crate::convert::NO_SESSION;
use crate::machine::{ElectionView, Phase, SessionId};
use quorate_core::lease::{Holder, Terms};
use quorate_core::types::{FencingToken, Mono, Name};
use std::collections::{BTreeMap, BTreeSet};

/// Those that were opened through this container.
pub(super) type Sessions = BTreeMap<SessionId, Held>;

/// A session that was opened through this container.
pub(super) struct Held {
    pub(super) terms: Terms,
    /// What it stands for: election and candidate.
    pub(super) candidacies: BTreeSet<(Name, Name)>,
    /// What it led when it was last renewed.
    pub(super) leads: BTreeMap<(Name, Name), Lead>,
    /// Tokens that were given up here: no late acknowledgement restores trust in them.
    released: BTreeSet<FencingToken>,
    /// This container ends it.
    pub(super) closed: bool,
    /// What the application was told of single leaderships and may still believe, also of those that are
    /// not in `leads` any more: what this container heard of a loss, the application did not.
    told: BTreeMap<FencingToken, Told>,
    /// The end of what it was told of the session, by renewing or opening it itself: it may believe so
    /// long in whatever the session leads.
    told_of_session: Mono,
}

/// A leadership, as of the last renewal that covered it.
pub(super) struct Lead {
    pub(super) token: FencingToken,
    pub(super) holder: Holder,
}

/// What the application was told of a leadership.
struct Told {
    election: Name,
    candidate: Name,
    until: Mono,
}

/// Released tokens that are remembered of a session: renewals under way are few.
const RELEASED_MAX: usize = 1_024;

impl Held {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            candidacies: BTreeSet::new(),
            leads: BTreeMap::new(),
            released: BTreeSet::new(),
            closed: false,
            told: BTreeMap::new(),
            told_of_session: Mono(0),
        }
    }

    /// A renewal sent just after `sent` showed how this election stands. True for a leadership that was not
    /// known of before.
    pub(super) fn shown(&mut self, session: SessionId, view: &ElectionView, sent: Mono) -> bool {
        let led = view.leader.as_deref().filter(|leader| {
            leader.session == session
                && leader.session != NO_SESSION
                && !matches!(leader.phase, Phase::Revoking { .. })
                && !self.released.contains(&leader.token)
                && self
                    .candidacies
                    .contains(&(view.election.clone(), leader.candidate.clone()))
        });
        let Some(leader) = led.filter(|_| !self.closed) else {
            self.leads
                .retain(|(election, _), _| *election != view.election);
            return false;
        };
        let key = (view.election.clone(), leader.candidate.clone());
        match self.leads.get_mut(&key) {
            Some(lead) if lead.token == leader.token => {
                lead.holder.renewed(sent);
                false
            }
            _ => {
                let lead = Lead {
                    token: leader.token,
                    holder: Holder::granted(self.terms, sent),
                };
                self.leads.insert(key, lead);
                true
            }
        }
    }

    /// What the application is told of a candidate at `now`: the token and until when. It counts as told.
    pub(super) fn tell(&mut self, key: &(Name, Name), now: Mono) -> Option<(FencingToken, Mono)> {
        let lead = self.leads.get(key)?;
        let until = lead.holder.trusted_until().filter(|until| now < *until)?;
        let told = self.told.entry(lead.token).or_insert_with(|| Told {
            election: key.0.clone(),
            candidate: key.1.clone(),
            until,
        });
        told.until = told.until.max(until);
        Some((lead.token, until))
    }

    /// The application was told to trust the session until then.
    pub(super) fn tell_of_session(&mut self, until: Mono) {
        self.told_of_session = self.told_of_session.max(until);
    }

    /// What has passed is forgotten.
    pub(super) fn passed(&mut self, now: Mono) {
        self.told.retain(|_, told| now < told.until);
    }

    /// The end of the latest that was told.
    pub(super) fn told_until(&self) -> Mono {
        let told = self.told.values().map(|told| told.until);
        told.fold(self.told_of_session, Mono::max)
    }

    /// The end of the latest that was told of a leadership.
    pub(super) fn told_of(&self, token: FencingToken) -> Mono {
        let told = self.told.get(&token).map(|told| told.until);
        told.unwrap_or_default().max(self.told_of_session)
    }

    /// Leaderships that the application may believe in, as far as they are known by name.
    pub(super) fn believed(&self) -> BTreeMap<FencingToken, Name> {
        let told = self.told.iter();
        let told = told.map(|(token, told)| (*token, told.election.clone()));
        let leads = self.leads.iter();
        let leads = leads.map(|((election, _), lead)| (lead.token, election.clone()));
        told.chain(leads).collect()
    }

    /// A leadership is given up here; the application may still believe in it.
    pub(super) fn release(&mut self, election: &Name, token: FencingToken) {
        self.leads
            .retain(|(of, _), lead| of != election || lead.token != token);
        self.released.insert(token);
        while self.released.len() > RELEASED_MAX {
            self.released.pop_first();
        }
    }

    /// The application has stopped acting on a leadership.
    pub(super) fn stopped(&mut self, election: &Name, token: FencingToken) {
        self.release(election, token);
        self.told
            .retain(|of, told| *of != token || told.election != *election);
    }

    /// The application's candidate stands for the election no more, and has stopped acting on what it led.
    pub(super) fn left(&mut self, election: Name, candidate: Name) {
        self.told
            .retain(|_, told| told.election != election || told.candidate != candidate);
        let key = (election, candidate);
        if let Some(token) = self.leads.get(&key).map(|lead| lead.token) {
            self.release(&key.0, token);
        }
        self.candidacies.remove(&key);
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.leads.clear();
    }
}
