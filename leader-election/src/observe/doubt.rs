//! When an observation must not leave standing what it told last.
//!
//! Whoever only listens takes the last word for the truth, and cut off from the cluster it would do so for
//! ever. So an observation says [`Observed::Unknown`] when the lease is over of whoever leads through this
//! process, as far as is known, and otherwise when the cluster has not been heard of for 1.5 s. It says
//! [`Observed::State`] when it knows again, and not before everything was told that happened meanwhile: so
//! revisions only grow, also for a listener that takes no notice of doubt.
//!
//! This stands where something is told to whoever acts on it: in the Rust library, which counts by the clock
//! of the process that reads and so covers every way to the cluster; and in a sidecar, for the sake of
//! applications in other languages, and because it holds the leases of theirs.

use crate::machine::{Answer, ElectionView, History, Query};
use crate::service::{Caller, ElectionService, Observation, Observed};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use quorate_core::clock;
use quorate_core::error::Error;
use quorate_core::types::{LogTime, Mono, Name};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

/// How often the cluster is asked whether it is there while somebody listens.
const PROBE_EVERY: Duration = Duration::from_millis(500);
/// What was told stands for so long after the cluster was heard of last: two probes may get lost.
const HEARD_FOR: Duration = Duration::from_millis(1_500);
/// For the question how an election stands.
const STATE_MAX: Duration = Duration::from_millis(1_500);
/// Before it is asked again, while something is still to be told.
const STATE_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Such questions at once: ten thousand observations may be in doubt together.
const STATES_AT_ONCE: usize = 16;

/// When the cluster was last heard of. It is asked for as long as somebody listens.
pub(crate) struct Contact {
    service: Arc<dyn ElectionService>,
    /// When the last question was sent that the cluster answered: a reading of CLOCK_BOOTTIME.
    heard: AtomicU64,
    /// Wakes all who listen.
    looks: watch::Sender<()>,
    probing: Mutex<Weak<Probing>>,
    states: Semaphore,
}

/// The task that asks ends with the last who listens.
struct Probing(JoinHandle<()>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How an observation began.
pub(crate) struct Begun {
    pub(crate) election: Name,
    /// The revision that it goes on from.
    pub(crate) after: Option<u64>,
    /// A reading of the clock before it was asked for.
    pub(crate) asked: Mono,
}

impl Contact {
    pub(crate) fn new(service: Arc<dyn ElectionService>) -> Self {
        Self {
            service,
            heard: AtomicU64::new(0),
            looks: watch::Sender::new(()),
            probing: Mutex::default(),
            states: Semaphore::new(STATES_AT_ONCE),
        }
    }

    /// The cluster answered what was sent then.
    pub(crate) fn hear(&self, sent: Mono) {
        let before = Mono(self.heard.fetch_max(sent.0, Ordering::AcqRel));
        if clock::boottime().since(before) >= HEARD_FOR {
            self.look();
        }
    }

    /// What may stand may be over sooner than it was, or doubt may be.
    pub(crate) fn look(&self) {
        self.looks.send_replace(());
    }

    /// An observation by this service, with doubt. `trusted` tells until when the lease is trusted of whoever
    /// leads through this process as far as is known; `None`, if nobody does.
    pub(crate) fn doubting<T>(
        self: &Arc<Self>,
        begun: Begun,
        observation: Observation,
        trusted: T,
    ) -> Observation
    where
        T: Fn() -> Option<Mono> + Send + 'static,
    {
        let doubting = Doubting {
            contact: Arc::clone(self),
            _probing: self.listen(),
            looks: self.looks.subscribe(),
            observation,
            trusted,
            election: begun.election,
            told: begun.after,
            asked: begun.asked,
            unknown: false,
            teller_in_doubt: false,
            state: None,
            state_after: Duration::ZERO,
        };
        futures::stream::unfold(doubting, |mut doubting| async move {
            let observed = doubting.next().await?;
            Some((observed, doubting))
        })
        .boxed()
    }

    fn listen(self: &Arc<Self>) -> Arc<Probing> {
        // Nothing in it is left half done by a panic.
        let mut probing = self.probing.lock().unwrap_or_else(PoisonError::into_inner);
        probing.upgrade().unwrap_or_else(|| {
            let begun = Arc::new(Probing(tokio::spawn(Arc::clone(self).probe())));
            *probing = Arc::downgrade(&begun);
            begun
        })
    }

    async fn probe(self: Arc<Self>) {
        let mut probe = interval_at(Instant::now() + PROBE_EVERY, PROBE_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = clock::boottime();
        loop {
            probe.tick().await;
            let sent = clock::boottime();
            if self.ask(Query::Position, PROBE_EVERY).await.is_some() {
                self.hear(sent);
            }
            // This process stood still, or the machine was suspended: timers do not know.
            if sent.since(last) > 2 * PROBE_EVERY {
                self.look();
            }
            last = sent;
        }
    }

    /// How an election stands now. `None` when that is not known, or when it is gone and that was not told.
    async fn state(&self, election: &Name, told: u64) -> Option<ElectionView> {
        let _turn = self.states.acquire().await.ok()?;
        let history = |after| Query::History {
            election: Some(election.clone()),
            after,
            max: 1,
        };
        // No revision is above this one: the answer is the full state.
        let Answer::History(History::Reset { state, revision }) =
            self.ask(history(u64::MAX), STATE_MAX).await?
        else {
            return None;
        };
        if state.is_some() {
            return state;
        }
        match self.ask(history(told), STATE_MAX).await? {
            Answer::History(History::Changes { changes, .. }) if changes.is_empty() => {
                let now = LogTime(clock::wall_ms());
                Some(ElectionView::absent(election, revision, now))
            }
            _ => None,
        }
    }

    async fn ask(&self, query: Query, timeout: Duration) -> Option<Answer> {
        let caller = Caller {
            timeout,
            ..Caller::default()
        };
        self.service.query(&caller, query).await.ok()
    }
}

/// An observation with doubt.
struct Doubting<T> {
    contact: Arc<Contact>,
    _probing: Arc<Probing>,
    looks: watch::Receiver<()>,
    observation: Observation,
    trusted: T,
    election: Name,
    /// Up to which revision it has told.
    told: Option<u64>,
    asked: Mono,
    /// `Unknown` was the last word on how it stands.
    unknown: bool,
    /// That was also said by whoever tells, who will say when it knows again.
    teller_in_doubt: bool,
    /// The question how it stands, when the cluster is heard of again.
    state: Option<BoxFuture<'static, Option<ElectionView>>>,
    state_after: Duration,
}

impl<T: Fn() -> Option<Mono>> Doubting<T> {
    fn stands_for(&self) -> Duration {
        let heard = Mono(self.contact.heard.load(Ordering::Acquire)).max(self.asked);
        let until = (self.trusted)().unwrap_or(heard + HEARD_FOR);
        until.since(clock::boottime())
    }

    async fn next(&mut self) -> Option<Result<Observed, Error>> {
        loop {
            let left = self.stands_for();
            if left.is_zero() {
                (self.state, self.state_after) = (None, Duration::ZERO);
                if !std::mem::replace(&mut self.unknown, true) {
                    return Some(Ok(Observed::Unknown));
                }
            } else if self.unknown && !self.teller_in_doubt && self.state.is_none() {
                self.state = self.ask();
            }
            let pause = if self.unknown {
                PROBE_EVERY
            } else {
                left.min(HEARD_FOR)
            };
            tokio::select! {
                observed = self.observation.next() => match observed? {
                    Ok(observed) => if self.is_news(&observed) {
                        return Some(Ok(observed));
                    },
                    Err(error) => return Some(Err(error)),
                },
                state = answer(&mut self.state) => {
                    (self.state, self.state_after) = (None, STATE_AGAIN_AFTER);
                    if let Some(state) = state.filter(|state| self.is_next(state)) {
                        let known = Observed::State(state);
                        self.is_news(&known);
                        return Some(Ok(known));
                    }
                }
                // Its sender lives as long as the contact.
                _ = self.looks.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Takes note of what is told next. False for a doubt that was told before.
    fn is_news(&mut self, observed: &Observed) -> bool {
        self.told = observed.revision().or(self.told);
        match observed {
            Observed::Change(_) => true,
            Observed::State(_) => {
                (self.unknown, self.teller_in_doubt) = (false, false);
                (self.state, self.state_after) = (None, Duration::ZERO);
                true
            }
            Observed::Unknown => {
                self.teller_in_doubt = true;
                !std::mem::replace(&mut self.unknown, true)
            }
        }
    }

    /// Whether everything was told that led to this state, and nothing that came after it.
    fn is_next(&self, state: &ElectionView) -> bool {
        let told = |told| state.changed <= told && told <= state.revision;
        self.told.is_some_and(told) && !self.stands_for().is_zero()
    }

    /// Asks how it stands. An observation that has told nothing yet begins with that by itself.
    fn ask(&self) -> Option<BoxFuture<'static, Option<ElectionView>>> {
        let (told, pause) = (self.told?, self.state_after);
        let (contact, election) = (Arc::clone(&self.contact), self.election.clone());
        let asked = async move {
            sleep(pause).await;
            contact.state(&election, told).await
        };
        Some(asked.boxed())
    }
}

async fn answer(
    question: &mut Option<BoxFuture<'static, Option<ElectionView>>>,
) -> Option<ElectionView> {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}
