//! The engine under [`super::Worker`] and the worker agent: keeps slots filled, leases alive and
//! outcomes recorded.
//!
//! One task owns all state and turns three kinds of news (a word from the queue, a handler that
//! ended, the clock) into words to the queue. Handlers run in tasks of their own. Per concern one
//! file: `grants` asks for leases and starts handlers, `beats` keeps them alive, `settles` records
//! outcomes, `watch` stops what must stop.
//!
//! What it guarantees: a handler is told to stop before its lease's trust ends by this machine's own
//! clock, and is dropped when it ends; a grant that may have been given back is not started before a
//! heartbeat that lists it was acknowledged; an outcome is sent until it is recorded, refused, or the
//! lease is over.

mod beats;
mod grants;
pub(super) mod settles;
mod watch;

use super::context::Shared;
use super::held::Held;
use super::link::{Down, Link, Up};
use super::{Handler, Report};
use crate::machine::{LeaseId, SessionId, Settlement};
use crate::service::QueueService;
use beats::Beats;
use grants::Ask;
use quorate_core::clock;
use quorate_core::error::{Code, Error, Kind};
use quorate_core::retry::Backoff;
use quorate_core::types::Mono;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// The engine looks at its clock at least so often, because timers stand still while the machine is
/// suspended and the clock of leases does not.
const LOOK_MAX: Duration = Duration::from_millis(500);

/// How long the end of the session may take at shutdown.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// How long outcomes may take to be recorded at shutdown after all handlers have ended.
const SETTLE_AT_SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// How the engine works.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Jobs at a time.
    pub(crate) slots: usize,
    /// How long running jobs may go on when the worker shuts down.
    pub(crate) drain: Duration,
    /// How long a handler that was told to stop may take.
    pub(crate) grace: Duration,
}

pub(crate) struct Engine {
    options: Options,
    handler: Arc<dyn Handler>,
    service: Arc<dyn QueueService>,
    link: Link,
    report: Report,

    session: Option<SessionId>,
    connected: bool,
    opening: bool,
    open_at: Mono,
    open_backoff: Backoff,

    held: BTreeMap<LeaseId, Held>,
    free_slots: BTreeSet<usize>,
    jobs: JoinSet<Settlement>,
    running: HashMap<Id, (LeaseId, AbortHandle)>,

    asks: BTreeMap<u64, Ask>,
    asks_last: u64,
    ask_at: Mono,
    ask_backoff: Backoff,

    beats: Beats,
    dirty: Arc<AtomicBool>,

    to_settle: VecDeque<LeaseId>,
    settles: BTreeMap<u64, Vec<LeaseId>>,
    settles_last: u64,
    settle_at: Mono,
    settle_backoff: Backoff,

    watch_at: Mono,
    draining: CancellationToken,
    drain_until: Option<Mono>,
}

impl Engine {
    pub(crate) fn new(
        options: Options,
        handler: Arc<dyn Handler>,
        service: Arc<dyn QueueService>,
        link: Link,
    ) -> Self {
        let free_slots = (0..options.slots).collect();
        Self {
            options,
            handler,
            service,
            link,
            report: Report::default(),
            session: None,
            connected: false,
            opening: false,
            open_at: Mono::default(),
            open_backoff: Backoff::default(),
            held: BTreeMap::new(),
            free_slots,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            asks: BTreeMap::new(),
            asks_last: 0,
            ask_at: Mono::default(),
            ask_backoff: Backoff::default(),
            beats: Beats::default(),
            dirty: Arc::new(AtomicBool::new(false)),
            to_settle: VecDeque::new(),
            settles: BTreeMap::new(),
            settles_last: 0,
            settle_at: Mono::default(),
            settle_backoff: Backoff::default(),
            watch_at: Mono::default(),
            draining: CancellationToken::new(),
            drain_until: None,
        }
    }

    /// Works until `shutdown` and the drain that follows it are over.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Report {
        loop {
            let now = clock::boottime();
            self.watch(now);
            self.open(now);
            self.beat(now);
            self.settle(now);
            self.ask(now);
            if self.is_drained(now) {
                break;
            }
            let wake = self.next_wake(now);
            tokio::select! {
                down = self.link.down.recv() => {
                    let Some(down) = down else { break };
                    self.heard(down);
                    while let Ok(down) = self.link.down.try_recv() {
                        self.heard(down);
                    }
                }
                Some(ended) = self.jobs.join_next_with_id() => {
                    self.ended(ended);
                    while let Some(ended) = self.jobs.try_join_next_with_id() {
                        self.ended(ended);
                    }
                }
                () = tokio::time::sleep(wake) => {}
                () = shutdown.cancelled(), if self.drain_until.is_none() => self.drain(),
            }
        }
        self.close().await;
        self.report
    }

    /// Says something to the queue. The link takes it unless it is gone; then `run` ends.
    fn say(&self, up: Up) {
        if let Err(error) = self.link.up.try_send(up) {
            // What is under way is bounded far below the queue's length, so only a link that hangs
            // gets here; its silence is then handled like that of the network.
            tracing::debug!(%error, "the link takes no word");
        }
    }

    fn heard(&mut self, down: Down) {
        let now = clock::boottime();
        match down {
            Down::Opened(session) => {
                self.opening = false;
                self.connected = true;
                self.open_backoff.reset();
                self.session = Some(session);
                self.beats.sweep();
            }
            Down::Broken(error) => self.broken(&error, now),
            Down::Granted {
                ask,
                heartbeat,
                leases,
                closed,
            } => {
                self.granted(ask, heartbeat, leases, now);
                if let Some(ask) = ask
                    && closed
                {
                    self.asks.remove(&ask);
                }
            }
            Down::Refused { ask, error } => {
                self.asks.remove(&ask);
                self.failed(&error, "no work could be asked for", now);
                self.ask_at = now + self.ask_backoff.next(error.retry_after_ms);
                if error.code.kind() == Kind::Unknown {
                    // Leases that were granted and never arrived go back after two heartbeats.
                    self.beats.sweep();
                }
            }
            Down::Settled { number, result } => self.settled(number, result, now),
            Down::Renewed { number, result } => self.renewed(number, result, now),
            Down::Closed => {}
        }
    }

    fn open(&mut self, now: Mono) {
        if !self.connected && !self.opening && now >= self.open_at && self.drain_until.is_none() {
            self.opening = true;
            self.say(Up::Open {
                session: self.session,
            });
        }
    }

    /// Leaves a connection that is silent: the link opens the session anew at another server.
    fn reopen(&mut self) {
        tracing::warn!("the queue does not answer heartbeats; trying another server");
        self.lose_what_is_under_way();
        self.opening = true;
        self.say(Up::Open {
            session: self.session,
        });
    }

    fn lose_what_is_under_way(&mut self) {
        self.connected = false;
        self.asks.clear();
        self.beats.clear();
        self.settles_lost();
    }

    fn broken(&mut self, error: &Error, now: Mono) {
        self.opening = false;
        self.lose_what_is_under_way();
        self.failed(error, "the connection to the queue is gone", now);
        self.open_at = now + self.open_backoff.next(error.retry_after_ms);
    }

    /// Notes a failure; one that says that the session is over has consequences.
    fn failed(&mut self, error: &Error, what: &str, now: Mono) {
        match error.code.kind() {
            Kind::Rejected if error.code != Code::SessionExpired => {
                tracing::error!(%error, "{what}");
            }
            _ => tracing::warn!(%error, "{what}; trying again"),
        }
        if error.code == Code::SessionExpired {
            self.session_lost(now);
        }
    }

    fn session_of(&self, shared: &Shared) -> bool {
        self.session == Some(shared.session)
    }

    async fn close(&mut self) {
        if !self.connected {
            return;
        }
        self.say(Up::Close);
        let closed = async {
            while let Some(down) = self.link.down.recv().await {
                if matches!(down, Down::Closed | Down::Broken(_)) {
                    break;
                }
            }
        };
        // A session that could not be closed expires by itself.
        let _ = tokio::time::timeout(CLOSE_MAX, closed).await;
    }
}
