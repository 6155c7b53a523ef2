//! Questions: looked up, never changing anything.

use super::store::{ElectionMachine, unknown_election};
use super::types::{
    Answer, CandidateView, ElectionSummary, ElectionView, History, Query, SessionId, SessionView,
    limits,
};
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Name};
use std::ops::Bound;
use std::sync::Arc;

impl ElectionMachine {
    pub(super) fn answer(&self, now: LogTime, query: Query) -> Result<Answer, Error> {
        match query {
            Query::Election { election } => self
                .view(&election, now)
                .map(Answer::Election)
                .ok_or_else(|| unknown_election(&election)),
            Query::Elections { after, prefix, max } => {
                Ok(self.list(after.as_ref(), &prefix, page(max, limits::PAGE_MAX)))
            }
            Query::Check { election, token } => {
                // A token outlives its election: the answer to it is the same.
                let row = self.elections.get(&election);
                let leader = row.and_then(|row| row.leader.as_deref());
                Ok(Answer::Current {
                    current: leader.is_some_and(|leader| leader.token == token),
                    revision: self.header.revision,
                })
            }
            Query::Session {
                session,
                after,
                max,
            } => self
                .session_view(session, after.as_ref(), page(max, limits::PAGE_MAX))
                .map(Answer::Session),
            Query::History {
                election,
                after,
                max,
            } => Ok(Answer::History(self.past(
                election.as_ref(),
                after,
                page(max, limits::HISTORY_PAGE_MAX),
                now,
            ))),
            Query::Position => Ok(Answer::Position {
                revision: self.header.revision,
                time: now,
                elections: self.elections.len() as u64,
                sessions: self.sessions.len() as u64,
                candidacies: self.candidates.len() as u64,
            }),
        }
    }

    /// Everything about an election, if there is one.
    pub(super) fn view(&self, election: &Name, now: LogTime) -> Option<ElectionView> {
        let row = self.elections.get(election)?;
        let settings = row.settings.clone().unwrap_or_default();
        let mut candidates: Vec<CandidateView> = self
            .line(election)
            .filter_map(|(_, candidate)| {
                let row = self
                    .candidates
                    .get(&(election.clone(), candidate.clone()))?;
                Some(CandidateView {
                    candidate: candidate.clone(),
                    session: row.session,
                    priority: row.priority,
                    metadata: row.metadata.clone(),
                    since: row.since,
                    passed_over: row.passed_over,
                })
            })
            .collect();
        // A stable sort: the others keep their order.
        candidates.sort_by_key(|view| {
            settings.preferred.as_ref() != Some(&view.candidate) || view.passed_over
        });
        Some(ElectionView {
            election: election.clone(),
            changed: row.changed,
            revision: self.header.revision,
            as_of: now,
            leader: row.leader.clone(),
            locked_until: row.locked_until,
            configured: row.settings.is_some(),
            settings,
            candidates,
        })
    }

    fn list(&self, after: Option<&Name>, prefix: &str, max: usize) -> Answer {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        // Names below the prefix are jumped over if it is a name itself, as it nearly always is.
        let from = match (Name::new(prefix), after) {
            (Ok(prefix), None) => Bound::Included(prefix),
            (Ok(prefix), Some(after)) if *after < prefix => Bound::Included(prefix),
            _ => from,
        };
        let mut rows = self
            .elections
            .range((from, Bound::Unbounded))
            .skip_while(|(name, _)| name.as_str() < prefix)
            .take_while(|(name, _)| name.as_str().starts_with(prefix));
        let items = rows
            .by_ref()
            .take(max)
            .map(|(name, row)| ElectionSummary {
                election: name.clone(),
                changed: row.changed,
                leader: row.leader.clone(),
                locked_until: row.locked_until,
                candidates: u32::try_from(self.crowd(name)).unwrap_or(u32::MAX),
            })
            .collect();
        Answer::Elections {
            items,
            more: rows.next().is_some(),
            revision: self.header.revision,
        }
    }

    fn session_view(
        &self,
        id: SessionId,
        after: Option<&Name>,
        max: usize,
    ) -> Result<SessionView, Error> {
        let session = self.session(id)?;
        let stands = self.stands.get(&id);
        let mut rest = stands
            .into_iter()
            .flatten()
            .filter(|(election, _)| after.is_none_or(|after| election > after))
            .peekable();
        let mut items = Vec::new();
        // All candidacies of one election stay on one page, so that its name is enough to go on.
        while let Some((election, candidate)) =
            rest.next_if(|(election, _)| items.len() < max || is_last(&items, election))
        {
            let leader = self
                .row(election)
                .leader
                .clone()
                .filter(|leader| leader.candidate == *candidate);
            items.push((election.clone(), candidate.clone(), leader));
        }
        Ok(SessionView {
            session: id,
            terms: session.terms,
            label: session.label.clone(),
            opened: session.opened,
            lost: session.lost,
            revision: self.header.revision,
            candidacies: u32::try_from(self.candidacies(id)).unwrap_or(u32::MAX),
            more: rest.peek().is_some(),
            items,
        })
    }

    fn past(&self, election: Option<&Name>, after: u64, max: usize, now: LogTime) -> History {
        let last = self.header.revision;
        // An election that has not changed since was missed nothing of, however long ago that is.
        let unchanged = election
            .and_then(|election| self.elections.get(election))
            .is_some_and(|row| row.changed <= after);
        // Who has seen nothing at all, not even the first revision, has missed nothing if all is kept.
        let from_the_start = after == 0 && self.history.len() < self.bounds.history;
        let known = from_the_start || unchanged || after >= self.floor();
        if after > last || !known {
            return History::Reset {
                state: election.and_then(|election| self.view(election, now)),
                revision: last,
            };
        }
        if unchanged {
            return History::Changes {
                changes: Vec::new(),
                through: last,
                last,
            };
        }
        let mut changes = Vec::new();
        let mut through = last;
        for (revision, change) in self
            .history
            .range((Bound::Excluded(after), Bound::Unbounded))
        {
            if changes.len() == max {
                through = revision - 1;
                break;
            }
            if election.is_none_or(|election| change.election == *election) {
                changes.push(Arc::clone(change));
            }
        }
        History::Changes {
            changes,
            through,
            last,
        }
    }
}

fn is_last<T>(items: &[(Name, Name, T)], election: &Name) -> bool {
    items.last().is_some_and(|(last, _, _)| last == election)
}

fn page(max: u32, bound: u32) -> usize {
    usize::try_from(max.clamp(1, bound)).unwrap_or(1)
}
