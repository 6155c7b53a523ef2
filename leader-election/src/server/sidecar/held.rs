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
    /// The application or this container has ended it.
    pub(super) closed: bool,
    /// The end of the latest validity that the application was told.
    pub(super) told_until: Mono,
}

/// A leadership, as of the last renewal that covered it.
pub(super) struct Lead {
    pub(super) token: FencingToken,
    pub(super) holder: Holder,
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
            told_until: Mono(0),
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

    /// What it leads of an election is given up.
    pub(super) fn release(&mut self, election: &Name, token: Option<FencingToken>) {
        let led = self.leads.iter().filter(|((of, _), _)| of == election);
        let tokens: Vec<_> = led.map(|(_, lead)| lead.token).chain(token).collect();
        self.leads.retain(|(of, _), _| of != election);
        self.released.extend(tokens);
        while self.released.len() > RELEASED_MAX {
            self.released.pop_first();
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.leads.clear();
    }
}
