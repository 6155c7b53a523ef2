//! How leaderships begin and end, and what follows when something changed around an election.
//!
//! `settle` is called after every change and when the time of an election has come. It is the only
//! place that elects, that begins the hand-over to a better candidate, that revokes a leader who did not
//! drain in time, and that lets an election vanish.

use super::planted::{self, Bug};
use super::store::{Ctx, ElectionMachine};
use super::types::{EndCause, Leadership, Phase, RevokeCause, Settings, What};
use quorate_core::types::{LogTime, Name};

/// Whether no acknowledgement covers this leadership any more.
pub(super) fn is_revoking(leader: &Leadership) -> bool {
    matches!(leader.phase, Phase::Revoking { .. })
}

impl ElectionMachine {
    /// Ends the leadership of an election, if there is one. Nobody is elected yet: `settle` does.
    pub(super) fn end_leadership(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        cause: EndCause,
    ) -> bool {
        let Some(leader) = self.row(election).leader.clone() else {
            return false;
        };
        let successor = match &leader.phase {
            Phase::Leading => None,
            Phase::Draining { to, .. } => Some(to.clone()),
            Phase::Revoking { to, .. } => to.clone(),
        };
        let steps_back = matches!(cause, EndCause::Resigned | EndCause::Forced { .. })
            || matches!(
                leader.phase,
                Phase::Revoking {
                    cause: RevokeCause::Asked { .. },
                    ..
                }
            );
        let delay_ms = match cause {
            EndCause::Expired | EndCause::Revoked => self.settings(election).lock_delay_ms,
            _ => 0,
        };
        let locked_until = (delay_ms > 0).then(|| ctx.time.plus_ms(delay_ms));
        self.set_leader(election, None);
        let row = self.row_mut(election);
        row.locked_until = locked_until;
        row.successor = successor;
        if steps_back {
            self.edit_candidate(election, &leader.candidate, |row| row.passed_over = true);
        }
        let word = cause.is_holders_word();
        let revision = self.say(
            ctx,
            election,
            What::Ended {
                token: leader.token,
                candidate: leader.candidate.clone(),
                cause,
                locked_until,
            },
        );
        if !word && let Some(session) = self.sessions.get_mut(&leader.session) {
            session.lost = revision;
        }
        true
    }

    /// Logs that no acknowledgement covers the leadership any more. Its end follows: at the holder's
    /// word, or when the leader has counted d(1+ρ) from here.
    pub(super) fn revoke_leadership(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        cause: RevokeCause,
        to: Option<Name>,
    ) {
        let Some(leader) = self.row(election).leader.clone() else {
            return;
        };
        let phase = Phase::Revoking { cause, to };
        if leader.phase == phase {
            return;
        }
        self.set_leader(
            election,
            Some(Leadership {
                phase,
                ..(*leader).clone()
            }),
        );
        let revision = self.say(ctx, election, What::Revoking);
        if let Some(session) = self.sessions.get_mut(&leader.session) {
            session.lost = revision;
        }
    }

    /// Asks the leader to drain for the sake of `to`; revokes it at once when it gets no time.
    pub(super) fn begin_handover(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        to: Name,
        until: LogTime,
    ) {
        let Some(leader) = self.row(election).leader.clone() else {
            return;
        };
        if until <= ctx.time {
            return self.revoke_leadership(ctx, election, RevokeCause::HandOver, Some(to));
        }
        let phase = Phase::Draining { to, until };
        if leader.phase == phase {
            return;
        }
        self.set_leader(
            election,
            Some(Leadership {
                phase,
                ..(*leader).clone()
            }),
        );
        let revision = self.say(ctx, election, What::Draining);
        if let Some(session) = self.sessions.get_mut(&leader.session) {
            session.draining = revision;
        }
    }

    /// Calls a hand-over off that is still draining.
    pub(super) fn call_off(&mut self, ctx: &mut Ctx<'_>, election: &Name) {
        let Some(leader) = self.row(election).leader.clone() else {
            return;
        };
        if let Phase::Draining { to, .. } = &leader.phase {
            let to = to.clone();
            self.set_leader(
                election,
                Some(Leadership {
                    phase: Phase::Leading,
                    ..(*leader).clone()
                }),
            );
            self.say(ctx, election, What::CalledOff { to });
        }
    }

    /// Does for an election what is to be done now, and sets its timer. The election must exist.
    pub(super) fn settle(&mut self, ctx: &mut Ctx<'_>, election: &Name) {
        self.follow_handover(ctx, election);
        if self.row(election).leader.is_none() {
            self.elect(ctx, election);
        }
        if let Some((to, due)) = self.better(election)
            && due <= ctx.time
        {
            let until = ctx.time.plus_ms(self.settings(election).drain_ms);
            self.begin_handover(ctx, election, to, until);
        }
        let row = self.row(election);
        let idle = row.leader.is_none() && row.locked_until.is_none() && row.settings.is_none();
        if idle && self.line(election).next().is_none() {
            let previous = row.changed;
            self.elections.remove(election);
            self.say_removed(ctx, election, previous);
        }
        self.retime(election);
    }

    /// A hand-over whose successor is gone is called off; one whose drain time is over revokes.
    fn follow_handover(&mut self, ctx: &mut Ctx<'_>, election: &Name) {
        let Some(leader) = self.row(election).leader.clone() else {
            return;
        };
        if let Phase::Draining { to, until } = &leader.phase {
            let there = self
                .candidates
                .contains_key(&(election.clone(), to.clone()));
            if !there {
                self.call_off(ctx, election);
            } else if *until <= ctx.time {
                self.revoke_leadership(ctx, election, RevokeCause::HandOver, Some(to.clone()));
            }
        }
    }

    /// Elects the next leader of a vacant election, unless it is locked or nobody may be.
    fn elect(&mut self, ctx: &mut Ctx<'_>, election: &Name) {
        let row = self.row(election);
        if row.locked_until.is_some_and(|until| ctx.time < until) {
            return;
        }
        if row.locked_until.is_some() {
            self.row_mut(election).locked_until = None;
        }
        let Some(name) = self.next_in_line(election) else {
            return;
        };
        let back: Vec<Name> = self
            .line(election)
            .skip_while(|((_, passed_over, _, _), _)| !passed_over)
            .map(|(_, candidate)| candidate.clone())
            .collect();
        for candidate in back {
            self.edit_candidate(election, &candidate, |row| row.passed_over = false);
        }
        let token = if planted::on(Bug::TokenPassedOn) {
            *ctx.token_last
        } else {
            ctx.next_token()
        };
        let row = self
            .candidates
            .get(&(election.clone(), name.clone()))
            .expect("the next in line is a candidate");
        let leadership = Leadership {
            token,
            candidate: name,
            session: row.session,
            metadata: row.metadata.clone(),
            priority: row.priority,
            since: ctx.time,
            phase: Phase::Leading,
        };
        assert!(
            self.sessions.contains_key(&leadership.session),
            "a candidacy ends with its session"
        );
        self.set_leader(election, Some(leadership));
        self.row_mut(election).successor = None;
        self.say(ctx, election, What::Elected);
    }

    /// Who is elected now: the designated successor, else the preferred candidate, else the first of
    /// those in good standing.
    fn next_in_line(&self, election: &Name) -> Option<Name> {
        let row = self.row(election);
        let there = |name: &Name| {
            let key = (election.clone(), name.clone());
            self.candidates.get(&key)
        };
        if let Some(successor) = row.successor.clone().filter(|name| there(name).is_some()) {
            return Some(successor);
        }
        let preferred = row.settings.as_ref().and_then(|set| set.preferred.clone());
        if let Some(preferred) = preferred
            && there(&preferred).is_some_and(|row| !row.passed_over)
        {
            return Some(preferred);
        }
        self.line(election)
            .next()
            .filter(|((_, passed_over, _, _), _)| !passed_over)
            .map(|(_, candidate)| candidate.clone())
    }

    /// The candidate that shall take over from the present leader, and from when on: both must have
    /// been what they are for `stable_ms`, so that nothing flaps.
    fn better(&self, election: &Name) -> Option<(Name, LogTime)> {
        let row = self.row(election);
        let settings = row.settings.as_ref()?;
        let leader = row.leader.as_deref()?;
        if leader.phase != Phase::Leading || settings.preferred.as_ref() == Some(&leader.candidate)
        {
            return None;
        }
        let preferred = settings.preferred.as_ref().and_then(|name| {
            let key = (election.clone(), name.clone());
            let row = self.candidates.get(&key).filter(|row| !row.passed_over)?;
            Some((name.clone(), row.since))
        });
        let higher = || {
            let ((_, passed_over, priority, _), name) = self.line(election).next()?;
            let key = (election.clone(), name.clone());
            let row = self.candidates.get(&key)?;
            (settings.preempt && !passed_over && priority.0 > leader.priority)
                .then(|| (name.clone(), row.since))
        };
        let (name, since) = preferred.or_else(higher)?;
        Some((name, since.max(leader.since).plus_ms(settings.stable_ms)))
    }

    /// The settings that hold for an election.
    pub(super) fn settings(&self, election: &Name) -> Settings {
        self.row(election).settings.clone().unwrap_or_default()
    }

    /// Brings the timer of an election up to date.
    pub(super) fn retime(&mut self, election: &Name) {
        let due = self
            .elections
            .get(election)
            .and_then(|row| match &row.leader {
                None => row.locked_until,
                Some(leader) => match &leader.phase {
                    Phase::Leading => self.better(election).map(|(_, due)| due),
                    Phase::Draining { until, .. } => Some(*until),
                    Phase::Revoking { .. } => None,
                },
            });
        let old = match due {
            Some(due) => self.timer_of.insert(election.clone(), due),
            None => self.timer_of.remove(election),
        };
        if old != due {
            if let Some(old) = old {
                self.timers.remove(&(old, election.clone()));
            }
            if let Some(due) = due {
                self.timers.insert((due, election.clone()));
            }
        }
    }

    /// Settles the elections whose time has come, at most `bounds.steps` of them.
    pub(super) fn advance_timers(&mut self, ctx: &mut Ctx<'_>) {
        for _ in 0..self.bounds.steps {
            let Some((due, election)) = self.timers.first().cloned() else {
                return;
            };
            if due > ctx.time {
                return;
            }
            self.settle(ctx, &election);
        }
    }
}
