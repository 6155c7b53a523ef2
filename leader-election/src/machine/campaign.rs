//! `Campaign`: become a candidate, or change what one says of itself.

use super::check;
use super::rows::Candidate;
use super::settle::is_revoking;
use super::store::{Ctx, ElectionMachine};
use super::types::{Campaign, Campaigned, Leadership, Liveness, Reply, SessionId, What};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use std::sync::Arc;

impl ElectionMachine {
    pub(super) fn campaign(&mut self, ctx: &mut Ctx<'_>, asked: &Campaign) -> Result<Reply, Error> {
        check::priority(asked.priority)?;
        check::metadata(&asked.metadata)?;
        let session = match asked.liveness {
            Liveness::Session(session) => {
                self.session(session)?;
                Some(session)
            }
            Liveness::Ttl(ttl_ms) => {
                self.check_open(ttl_ms)?;
                None
            }
        };
        let key = (asked.election.clone(), asked.candidate.clone());
        let holder = self.candidates.get(&key).map(|row| row.session);
        match holder {
            Some(holder) if Some(holder) == session => {
                self.update(ctx, asked);
                self.settle(ctx, &asked.election);
                Ok(self.campaigned(&asked.election, &asked.candidate, holder, false))
            }
            Some(holder) => Err(self.taken(&asked.election, &asked.candidate, holder)),
            None => {
                self.check_candidacy(asked, session)?;
                let (session, opened) = match (session, asked.liveness) {
                    (Some(session), _) | (None, Liveness::Session(session)) => (session, false),
                    (None, Liveness::Ttl(ttl_ms)) => {
                        let label = Arc::from(asked.candidate.as_str());
                        (self.open_session(ctx, ttl_ms, label)?.session, true)
                    }
                };
                let election = self.election_or_new(&asked.election)?;
                self.join(ctx, &election, asked, session);
                self.settle(ctx, &election);
                Ok(self.campaigned(&election, &asked.candidate, session, opened))
            }
        }
    }

    /// Whether there is room for another candidate, before anything is changed.
    fn check_candidacy(&self, asked: &Campaign, session: Option<SessionId>) -> Result<(), Error> {
        self.check_room_for(&asked.election)?;
        let over = |what: String| Err(Error::new(Code::OverQuota, what));
        if self.candidates.len() >= self.bounds.candidacies {
            return over(format!(
                "this cluster holds {} candidacies, its bound; leave elections that are no longer used",
                self.candidates.len()
            ));
        }
        let crowd = self.crowd(&asked.election);
        if crowd >= self.bounds.per_election {
            return over(format!(
                "the election {} has {crowd} candidates, its bound; observe it instead of standing for it",
                asked.election
            ));
        }
        let stands = session.map_or(0, |session| self.candidacies(session));
        if stands >= self.bounds.per_session {
            return over(format!(
                "the session stands for {stands} elections, its bound; open another session for more"
            ));
        }
        Ok(())
    }

    fn join(&mut self, ctx: &mut Ctx<'_>, election: &Name, asked: &Campaign, session: SessionId) {
        let candidate = asked.candidate.clone();
        let place = self.say(
            ctx,
            election,
            What::Joined {
                candidate: candidate.clone(),
                priority: asked.priority,
                metadata: asked.metadata.clone(),
            },
        );
        let row = Candidate {
            session,
            priority: asked.priority,
            metadata: asked.metadata.clone(),
            since: ctx.time,
            place,
            passed_over: false,
        };
        self.order
            .insert(Self::place(election, &row), candidate.clone());
        self.candidates
            .insert((election.clone(), candidate.clone()), row);
        self.stands
            .entry(session)
            .or_default()
            .insert((election.clone(), candidate));
    }

    fn update(&mut self, ctx: &mut Ctx<'_>, asked: &Campaign) {
        let (election, candidate) = (&asked.election, &asked.candidate);
        let key = (election.clone(), candidate.clone());
        let Some(row) = self.candidates.get(&key) else {
            return;
        };
        if row.priority == asked.priority && row.metadata == asked.metadata && !row.passed_over {
            return;
        }
        self.edit_candidate(election, candidate, |row| {
            row.priority = asked.priority;
            row.metadata = asked.metadata.clone();
            row.passed_over = false;
        });
        let leader = self.row(election).leader.clone();
        if let Some(leader) = leader.filter(|leader| leader.candidate == *candidate) {
            self.set_leader(
                election,
                Some(Leadership {
                    priority: asked.priority,
                    metadata: asked.metadata.clone(),
                    ..(*leader).clone()
                }),
            );
        }
        self.say(
            ctx,
            election,
            What::Updated {
                candidate: candidate.clone(),
                priority: asked.priority,
                metadata: asked.metadata.clone(),
            },
        );
    }

    fn campaigned(
        &self,
        election: &Name,
        candidate: &Name,
        session: SessionId,
        opened: bool,
    ) -> Reply {
        let row = self.row(election);
        let token = row
            .leader
            .as_deref()
            .filter(|leader| leader.candidate == *candidate && !is_revoking(leader))
            .map(|leader| leader.token);
        let terms = self
            .sessions
            .get(&session)
            .expect("a candidacy ends with its session")
            .terms;
        Reply::Campaigned(Campaigned {
            session,
            terms,
            opened,
            token,
            revision: row.changed,
        })
    }

    /// The candidate id belongs to another session.
    pub(super) fn taken(&self, election: &Name, candidate: &Name, holder: SessionId) -> Error {
        let ttl_ms = self
            .sessions
            .get(&holder)
            .map_or(0, |row| row.terms.lease_ms);
        Error::new(
            Code::CandidateTaken,
            format!(
                "the candidate {candidate} of {election} belongs to another live session; name that session if it is yours, choose another id, or wait: a session that is silent ends after about {ttl_ms} ms"
            ),
        )
        .retry_after_ms(ttl_ms)
    }
}
