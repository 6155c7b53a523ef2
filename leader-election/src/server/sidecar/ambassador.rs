//! The cluster as the application beside this container sees it: the client, and what is held through it.
//!
//! Every session that is opened through this container is remembered with what it stands for. An
//! acknowledgement of a renewal, whoever sent it, says what the session leads as of one instant, and until
//! when that may be believed: from before the renewal was sent, for the trust of the session's terms. What
//! this container tells the application about itself comes from there and nowhere else, and the end of what
//! was told is remembered, also of leaderships that are lost meanwhile, because no session is closed before
//! it unless the application is gone or has said that it has stopped.

use super::held::{Held, Sessions};
use super::hook::Hook;
use super::proof::{Life, Watch};
use crate::api::{Local, Standing};
use crate::machine::{
    Answer, Campaigned, Command, Opened, Query, Renewal, Renewed, Reply, SessionId, limits,
};
use crate::observe::{Begun, Contact};
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation};
use async_trait::async_trait;
use futures::StreamExt as _;
use quorate_core::clock;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::types::{FencingToken, Mono, Name};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Renewals within the trust of one: two may get lost.
const RENEWALS_PER_TRUST: u32 = 3;
/// Between renewals when there is nothing to renew, or one failed.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// With nothing to renew.
const IDLE: Duration = Duration::from_secs(1);
/// For one operation on the application's behalf.
const OPERATION_MAX: Duration = Duration::from_secs(2);

pub(super) struct Ambassador {
    client: Arc<dyn ElectionService>,
    proof: Arc<Watch>,
    held: Arc<Mutex<Sessions>>,
    streams: Arc<AtomicUsize>,
    stopping: AtomicBool,
    nudge: Notify,
    contact: Arc<Contact>,
}

impl Ambassador {
    pub(super) fn new(client: Arc<dyn ElectionService>, proof: Arc<Watch>) -> Arc<Self> {
        Arc::new(Self {
            contact: Arc::new(Contact::new(Arc::clone(&client))),
            client,
            proof,
            held: Arc::default(),
            streams: Arc::default(),
            stopping: AtomicBool::new(false),
            nudge: Notify::new(),
        })
    }

    pub(super) fn proof(&self) -> &Arc<Watch> {
        &self.proof
    }

    /// An observation of this container's own, which proves nothing of the application.
    pub(super) async fn observe_unproven(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        self.client.observe(caller, election, after).await
    }

    /// Renews at once.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Whether a session is still held.
    pub(super) fn holds(&self, session: SessionId) -> bool {
        self.held().contains_key(&session)
    }

    /// From here on the application is told no validity of this leadership any more; gives the end of the
    /// latest that it was told, which stays remembered.
    pub(super) fn withdraw(
        &self,
        session: SessionId,
        election: &Name,
        token: FencingToken,
    ) -> Mono {
        match self.held().get_mut(&session) {
            None => Mono(0),
            Some(held) => {
                held.release(election, token);
                held.told_of(token)
            }
        }
    }

    /// The application has said that it does not act on this leadership any more.
    pub(super) fn stopped(&self, session: SessionId, election: &Name, token: FencingToken) {
        if let Some(held) = self.held().get_mut(&session) {
            held.stopped(election, token);
        }
    }

    /// Does what the proof allows, for as long as the container runs.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut life = self.proof.life();
        loop {
            let now = *life.borrow_and_update();
            let mut pause = IDLE;
            match now {
                Life::Gone => self.close_all().await,
                Life::Failing => self.revoke_all("its health check failed").await,
                Life::Unproven => {}
                Life::Proven if self.stopping.load(Ordering::Acquire) => {}
                Life::Proven => pause = self.renew_all().await,
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.nudge.notified() => {}
                // The sender lives as long as `self`.
                changed = life.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Renews every session that is used, with what it stands for; gives the time to the next renewal.
    async fn renew_all(&self) -> Duration {
        let sessions: Vec<(SessionId, Duration, Vec<Name>)> = {
            let held = self.held();
            let used = held.iter().filter(|(_, held)| !held.closed);
            used.map(|(id, held)| {
                let elections = held
                    .candidacies
                    .iter()
                    .map(|(election, _)| election.clone());
                (*id, held.terms.trust(), elections.collect())
            })
            .collect()
        };
        let mut pause = IDLE;
        for (session, trust, elections) in sessions {
            let beat = trust / RENEWALS_PER_TRUST;
            pause = pause.min(beat);
            let caller = Caller {
                timeout: beat.min(OPERATION_MAX),
                ..Caller::default()
            };
            let mut pages: Vec<Vec<Name>> = elections
                .chunks(limits::ELECTIONS_PER_RENEWAL_MAX)
                .map(<[Name]>::to_vec)
                .collect();
            if pages.is_empty() {
                pages.push(Vec::new());
            }
            for elections in pages {
                let renewal = Renewal {
                    sessions: vec![session],
                    elections,
                };
                if let Err(error) = self.renew_untold(&caller, renewal).await {
                    tracing::debug!(%error, %session, "a renewal failed");
                    pause = pause.min(AGAIN_AFTER);
                }
            }
        }
        pause
    }

    async fn renew_untold(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        let sent = clock::boottime();
        let sessions = renewal.sessions.clone();
        let asked = renewal.elections.clone();
        let result = self.client.renew(caller, renewal).await;
        match &result {
            Ok(renewed) => {
                self.acknowledged(sent, &asked, renewed);
                self.contact.hear(sent);
            }
            Err(error) if error.code == Code::SessionExpired => self.forget(&sessions),
            Err(_) => {}
        }
        result
    }

    /// Takes an acknowledgement for what it covers.
    fn acknowledged(&self, sent: Mono, asked: &[Name], renewed: &Renewed) {
        self.forget(&renewed.ended);
        let now = clock::boottime();
        let mut all = self.held();
        let mut new = false;
        for kept in &renewed.live {
            let Some(held) = all.get_mut(&kept.session) else {
                continue;
            };
            held.passed(now);
            for view in &renewed.elections {
                new |= held.shown(kept.session, view, sent);
            }
            // One that was asked for and is missing does not exist any more.
            let shown = |election: &Name| renewed.elections.iter().any(|v| v.election == *election);
            held.leads
                .retain(|(election, _), _| !asked.contains(election) || shown(election));
        }
        drop(all);
        if new {
            // What is told of it stands for its lease from here on.
            self.contact.look();
        }
    }

    fn forget(&self, sessions: &[SessionId]) {
        let mut held = self.held();
        for session in sessions {
            held.remove(session);
        }
    }

    /// The application is gone: nothing of it acts any more.
    async fn close_all(&self) {
        let sessions: Vec<SessionId> = self.held().keys().copied().collect();
        for session in sessions {
            if !self.close(session).await {
                self.nudge();
            }
        }
    }

    /// Ends a session that is not used any more, once nothing is left of what was told of it. It is not
    /// renewed meanwhile, so if it cannot be closed it runs out.
    pub(super) async fn retire(&self, session: SessionId) {
        let told_until = self.held().get_mut(&session).map(|held| {
            held.close();
            held.told_until()
        });
        self.told_has_passed(told_until.unwrap_or_default()).await;
        self.close(session).await;
        self.forget(&[session]);
    }

    /// Ends a session. Nothing may be believed of it any more. False: it may not have ended.
    async fn close(&self, session: SessionId) -> bool {
        if let Some(held) = self.held().get_mut(&session) {
            held.close();
        }
        let caller = Caller {
            timeout: OPERATION_MAX,
            ..Caller::default()
        };
        let command = Command::CloseSession { session };
        match self.client.execute(&caller, command).await {
            Err(error) if error.code != Code::SessionExpired => {
                tracing::warn!(%error, %session, "a session was not closed");
                false
            }
            _ => {
                self.forget(&[session]);
                true
            }
        }
    }

    /// The application may hang: its leaderships are renewed no more, and end by the clock.
    async fn revoke_all(&self, reason: &str) {
        let leads: Vec<(SessionId, Name, FencingToken)> = {
            let held = self.held();
            held.iter()
                .flat_map(|(session, held)| {
                    let leads = held.leads.iter();
                    leads.map(|((election, _), lead)| (*session, election.clone(), lead.token))
                })
                .collect()
        };
        for (session, election, token) in leads {
            let caller = Caller {
                timeout: OPERATION_MAX,
                ..Caller::default()
            };
            let command = Command::Revoke {
                election: election.clone(),
                token: Some(token),
                reason: reason.into(),
            };
            match self.client.execute(&caller, command).await {
                Err(error) if error.code.kind() != Kind::Rejected => {
                    tracing::warn!(%error, %election, "a leadership was not revoked; trying again");
                }
                // Revoked, or over before.
                _ => {
                    self.withdraw(session, &election, token);
                }
            }
        }
    }

    /// The container stops: the application is asked to drain, and every session is closed once nothing of
    /// what was told is left, or the application has stopped.
    pub(super) async fn stop(&self, hook: &Hook) {
        self.stopping.store(true, Ordering::Release);
        let believed: Vec<(SessionId, FencingToken, Name)> = {
            let held = self.held();
            let believed = held.iter().map(|(session, held)| {
                let leads = held.believed().into_iter();
                leads.map(|(token, election)| (*session, token, election))
            });
            believed.flatten().collect()
        };
        for (session, token, election) in believed {
            let told = self.held().get(&session).map(|held| held.told_of(token));
            let left = told.unwrap_or_default().since(clock::boottime());
            if !left.is_zero() && hook.drain(&self.proof, &election, token, left).await {
                self.stopped(session, &election, token);
                self.resign(session, election, token).await;
            }
        }
        let mut ends: Vec<(Mono, SessionId)> = {
            let held = self.held();
            let ends = held
                .iter()
                .map(|(session, held)| (held.told_until(), *session));
            ends.collect()
        };
        // Whose end is near does not wait for the others.
        ends.sort_unstable();
        for (told_until, session) in ends {
            self.told_has_passed(told_until).await;
            self.close(session).await;
        }
    }

    /// Gives up a leadership that the application has stopped acting on: its successor need not wait for
    /// what else was told of the session.
    async fn resign(&self, session: SessionId, election: Name, token: FencingToken) {
        let caller = Caller {
            timeout: OPERATION_MAX,
            ..Caller::default()
        };
        let command = Command::Resign {
            election,
            session,
            token,
        };
        if let Err(error) = self.client.execute(&caller, command).await {
            tracing::debug!(%error, %session, "a leadership was not given up; it ends with its session");
        }
    }

    /// Waits until a validity has passed that was told, or the application is gone.
    pub(super) async fn told_has_passed(&self, until: Mono) {
        let mut life = self.proof.life();
        loop {
            let left = until.since(clock::boottime());
            if left.is_zero() || *life.borrow_and_update() == Life::Gone {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = life.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Carries a command out, and takes note of what it opens. What the application says is heeded before.
    pub(super) async fn pass_on(
        &self,
        caller: &Caller,
        command: Command,
    ) -> Result<Executed, Error> {
        let executed = self.client.execute(caller, command.clone()).await?;
        match (&executed.reply, command) {
            (Reply::Session(Opened { session, terms }), _) => {
                let mut all = self.held();
                all.entry(*session).or_insert_with(|| Held::new(*terms));
            }
            (Reply::Campaigned(Campaigned { session, terms, .. }), Command::Campaign(campaign)) => {
                let mut all = self.held();
                let held = all.entry(*session).or_insert_with(|| Held::new(*terms));
                held.candidacies
                    .insert((campaign.election, campaign.candidate));
                drop(all);
                self.nudge();
            }
            _ => {}
        }
        Ok(executed)
    }

    /// What the application says of itself: it has stopped before it says so, and its trust ends before the
    /// word is sent on.
    fn heed(&self, command: &Command) {
        match command {
            // If the word gets lost the session runs out: nobody renews it.
            Command::CloseSession { session } => self.forget(&[*session]),
            Command::Resign {
                election,
                session,
                token,
            }
            | Command::Drained {
                election,
                session,
                token,
            } => self.stopped(*session, election, *token),
            Command::Leave {
                election,
                candidate,
                session,
            } => {
                if let Some(held) = self.held().get_mut(session) {
                    held.left(election.clone(), candidate.clone());
                }
            }
            _ => {}
        }
    }

    fn tell_of_session(&self, session: SessionId, until: Mono) {
        if let Some(held) = self.held().get_mut(&session) {
            held.tell_of_session(until);
        }
    }

    fn held(&self) -> MutexGuard<'_, Sessions> {
        sessions(&self.held)
    }
}

fn sessions(held: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    // Nothing in it is left half done by a panic.
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Until when the lease may be believed of whoever leads this election through this container.
fn trusted_until(held: &Mutex<Sessions>, election: &Name) -> Option<Mono> {
    let all = sessions(held);
    let leads = all.values().flat_map(|held| &held.leads);
    leads
        .filter(|((of, _), _)| of == election)
        .filter_map(|(_, lead)| lead.holder.trusted_until())
        .max()
}

impl Local for Ambassador {
    fn standing(&self, election: &Name, candidate: &Name) -> Option<Standing> {
        let key = (election.clone(), candidate.clone());
        let mut all = self.held();
        // Under the lock: who stops looks at what was told under it too, and no sooner.
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let now = clock::boottime();
        let (token, until) = all.values_mut().find_map(|held| held.tell(&key, now))?;
        Some(Standing {
            token,
            valid_for: until.since(now),
        })
    }
}

#[async_trait]
impl ElectionService for Ambassador {
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error> {
        self.heed(&command);
        let sent = clock::boottime();
        let executed = self.pass_on(caller, command).await?;
        // The answer that a session was opened renews it.
        let opened = match &executed.reply {
            Reply::Session(Opened { session, terms })
            | Reply::Campaigned(Campaigned {
                session,
                terms,
                opened: true,
                ..
            }) if !executed.replayed => Some((*session, *terms)),
            _ => None,
        };
        if let Some((session, terms)) = opened {
            self.tell_of_session(session, sent + terms.trust());
        }
        Ok(executed)
    }

    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error> {
        self.client.query(caller, query).await
    }

    /// A renewal of the application itself: whatever it acknowledges is told.
    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error> {
        let sent = clock::boottime();
        let renewed = self.renew_untold(caller, renewal).await?;
        for kept in &renewed.live {
            self.tell_of_session(kept.session, sent + kept.terms.trust());
        }
        Ok(renewed)
    }

    async fn observe(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        let begun = Begun {
            election: election.clone(),
            after,
            asked: clock::boottime(),
        };
        let observation = self.client.observe(caller, election.clone(), after).await?;
        let held = Arc::clone(&self.held);
        let trusted = move || trusted_until(&held, &election);
        let observation = self.contact.doubting(begun, observation, trusted);
        let open = Open::new(Arc::clone(&self.streams), Arc::clone(&self.proof));
        Ok(observation
            .map(move |observed| {
                let _open = &open;
                observed
            })
            .boxed())
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        self.client.cluster().await
    }
}

/// A stream of the application that is open.
struct Open {
    streams: Arc<AtomicUsize>,
    proof: Arc<Watch>,
}

impl Open {
    fn new(streams: Arc<AtomicUsize>, proof: Arc<Watch>) -> Self {
        let open = streams.fetch_add(1, Ordering::AcqRel) + 1;
        proof.streams(open);
        Self { streams, proof }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let open = self.streams.fetch_sub(1, Ordering::AcqRel) - 1;
        self.proof.streams(open);
    }
}
