//! The session of this process: opened when it is first needed, renewed for as long as somebody holds a
//! handle, opened anew when it was lost.
//!
//! The clock is read before each renewal is sent, and an acknowledgement is taken for what it covers and
//! nothing else: leaderships that were known to be whole at a revision between the session's last loss
//! and the acknowledgement. When something was lost the session is looked at, and renewed again.

use super::lease::{Lease, Standing};
use crate::convert::reply::misfit;
use crate::machine::{
    Answer, Command, Kept, Leadership, Phase, Query, Renewal, Reply, SessionId, limits,
};
use crate::service::{Caller, ElectionService};
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::lease::Terms;
use quorate_core::types::{FencingToken, Mono, Name};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Renewals within the trust of one: two may get lost.
const RENEWALS_PER_TRUST: u32 = 3;
/// After a renewal that failed, the next is sent so soon: another server may do, and trust runs out.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The longest wait for one acknowledgement: a server that hangs is left before trust runs out.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The end of a session at shutdown.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Holds the session of a handle and its clones.
pub(super) struct Keeper {
    service: Arc<dyn ElectionService>,
    ttl: Duration,
    /// Held while the session is opened or closed.
    changing: tokio::sync::Mutex<()>,
    session: Mutex<Option<Arc<Session>>>,
    /// Candidacies that are being given up in the background.
    leaving: Mutex<HashMap<(Name, Name), JoinHandle<()>>>,
    /// Ends the renewals with the last handle.
    stop: CancellationToken,
    _stop: DropGuard,
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) terms: Terms,
    leases: Mutex<HashMap<FencingToken, Arc<Lease>>>,
    nudge: Notify,
    ended: CancellationToken,
}

impl Keeper {
    pub(super) fn new(service: Arc<dyn ElectionService>, ttl: Duration) -> Self {
        let stop = CancellationToken::new();
        Self {
            service,
            ttl,
            changing: tokio::sync::Mutex::default(),
            session: Mutex::default(),
            leaving: Mutex::default(),
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// The session, opened if there is none.
    pub(super) async fn session(&self, timeout: Duration) -> Result<Arc<Session>, Error> {
        let _changing = self.changing.lock().await;
        let present = self.present().clone();
        if let Some(session) = present.filter(|session| !session.has_ended()) {
            return Ok(session);
        }
        let caller = Caller {
            timeout,
            ..Caller::default()
        };
        let mut command = Command::OpenSession {
            ttl_ms: u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX),
            label: format!("pid {}", std::process::id()).into(),
        };
        crate::check::command(&mut command)?;
        let Reply::Session(opened) = self.service.execute(&caller, command).await?.reply else {
            return Err(misfit());
        };
        let session = Arc::new(Session {
            id: opened.session,
            terms: opened.terms,
            leases: Mutex::default(),
            nudge: Notify::new(),
            ended: CancellationToken::new(),
        });
        let renewing = keep(Arc::clone(&session), Arc::clone(&self.service));
        let stop = self.stop.clone();
        let renewed = Arc::clone(&session);
        tokio::spawn(async move {
            stop.run_until_cancelled(renewing).await;
            // Whoever still holds a guard must not believe in a session that nobody renews.
            renewed.end();
        });
        *self.present() = Some(Arc::clone(&session));
        Ok(session)
    }

    fn present(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        // Nothing in it is left half done by a panic.
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until when the lease may be believed by which this handle leads an election; `None`, if it has none.
    pub(super) fn trusted_until(&self, election: &Name) -> Option<Mono> {
        let session = self.present().clone()?;
        let leases = session.leases();
        let leases = leases.values().filter(|lease| lease.election == *election);
        // One that was not covered yet, or was given up, is none.
        let ends = leases.map(|lease| lease.until());
        ends.filter(|until| *until != Mono(0)).max()
    }

    /// Gives a candidacy up in the background.
    pub(super) fn leave(&self, session: SessionId, election: &Name, candidate: &Name) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // The runtime is gone, and the process soon: the session expires.
            return;
        };
        let command = Command::Leave {
            election: election.clone(),
            candidate: candidate.clone(),
            session,
        };
        let service = Arc::clone(&self.service);
        let left = runtime.spawn(async move {
            if let Err(error) = service.execute(&Caller::default(), command).await {
                tracing::debug!(%error, "a candidacy was not given up");
            }
        });
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|_, left| !left.is_finished());
        leaving.insert((election.clone(), candidate.clone()), left);
    }

    /// Waits until a candidacy that is being given up is gone.
    pub(super) async fn left(&self, election: &Name, candidate: &Name) {
        let left = {
            let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.remove(&(election.clone(), candidate.clone()))
        };
        if let Some(left) = left {
            // It fails only with the runtime.
            let _ = left.await;
        }
    }

    /// Ends the session in good order.
    pub(super) async fn close(&self) {
        let _changing = self.changing.lock().await;
        let Some(session) = self.present().take() else {
            return;
        };
        // Trust ends before the word is sent.
        session.end();
        let caller = Caller {
            timeout: CLOSE_MAX,
            ..Caller::default()
        };
        let command = Command::CloseSession {
            session: session.id,
        };
        if let Err(error) = self.service.execute(&caller, command).await {
            tracing::debug!(%error, "the session was not closed; it will expire");
        }
    }
}

impl Session {
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Renews at once.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// From now on renewals cover this lease.
    pub(super) fn add(&self, lease: &Arc<Lease>) {
        self.leases().insert(lease.token, Arc::clone(lease));
        if self.has_ended() {
            lease.end(Standing::Over);
        }
    }

    pub(super) fn remove(&self, token: FencingToken) {
        self.leases().remove(&token);
    }

    /// It has ended, or nothing is known of it: no lease of it is believed any more.
    pub(super) fn end(&self) {
        self.ended.cancel();
        for (_, lease) in self.leases().drain() {
            lease.end(Standing::Over);
        }
    }

    /// Takes an acknowledgement for what it covers. True when something was lost, so that one has to look.
    fn acknowledged(&self, sent: Mono, kept: &Kept) -> bool {
        let mut lost = false;
        for lease in self.leases().values() {
            let confirmed = lease.confirmed();
            if confirmed < kept.lost {
                lost = true;
            } else if confirmed <= kept.revision {
                lease.renewed(sent);
            }
        }
        lost
    }

    /// What is left of the leases, as of a revision: the others are over.
    fn compare(&self, held: &HashMap<FencingToken, Arc<Leadership>>, revision: u64) {
        self.leases().retain(|token, lease| {
            // One that was elected after the look is not in it.
            if lease.confirmed() > revision {
                return true;
            }
            match held.get(token).map(|leader| &leader.phase) {
                None => {
                    lease.end(Standing::Over);
                    false
                }
                Some(Phase::Revoking { .. }) => {
                    lease.end(Standing::Revoked);
                    false
                }
                Some(Phase::Leading | Phase::Draining { .. }) => {
                    lease.confirm(revision);
                    true
                }
            }
        });
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<FencingToken, Arc<Lease>>> {
        // Nothing in it is left half done by a panic.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews a session until it has ended.
async fn keep(session: Arc<Session>, service: Arc<dyn ElectionService>) {
    let beat = session.terms.trust() / RENEWALS_PER_TRUST;
    let caller = Caller {
        timeout: beat.min(ANSWER_MAX),
        ..Caller::default()
    };
    let mut pause = beat;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = session.nudge.notified() => {}
            () = session.ended.cancelled() => return,
        }
        let sent = clock::boottime();
        let renewal = Renewal {
            sessions: vec![session.id],
            elections: Vec::new(),
        };
        pause = beat;
        match service.renew(&caller, renewal).await {
            Ok(renewed) => match renewed.live.iter().find(|kept| kept.session == session.id) {
                Some(kept) => {
                    if session.acknowledged(sent, kept) {
                        match look(&session, &*service, &caller).await {
                            // What is left is covered by the next renewal, at once.
                            Ok(()) => session.nudge(),
                            Err(error) if error.code == Code::SessionExpired => session.end(),
                            Err(_) => pause = AGAIN_AFTER,
                        }
                    }
                }
                None => session.end(),
            },
            Err(error) if error.code == Code::SessionExpired => session.end(),
            Err(error) => {
                tracing::debug!(%error, session = %session.id, "a renewal failed");
                pause = AGAIN_AFTER.min(beat);
            }
        }
    }
}

/// Looks at what is left of a session that lost something.
async fn look(
    session: &Session,
    service: &dyn ElectionService,
    caller: &Caller,
) -> Result<(), Error> {
    let mut held = HashMap::new();
    let mut after = None;
    let mut first_revision = None;
    loop {
        let query = Query::Session {
            session: session.id,
            after,
            max: limits::PAGE_MAX,
        };
        let Answer::Session(view) = service.query(caller, query).await? else {
            return Err(misfit());
        };
        // Pages are of different instants: what they show together was whole as of the first.
        let revision = *first_revision.get_or_insert(view.revision);
        after = view.items.last().map(|(election, _, _)| election.clone());
        for (_, _, leader) in view.items {
            if let Some(leader) = leader {
                held.insert(leader.token, leader);
            }
        }
        if !view.more || after.is_none() {
            session.compare(&held, revision);
            return Ok(());
        }
    }
}
