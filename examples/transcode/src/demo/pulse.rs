//! Measures how long the queue is away: small operations, one after another in quick succession, each
//! of which the queue must log and sync on a majority before it answers.

use crate::job::remote::Remote;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_work_queue::machine::{Command, Settings};
use quorate_work_queue::service::Caller;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Between two operations.
const INTERVAL: Duration = Duration::from_millis(20);
/// How long one may take; the next does not wait for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the operations saw.
#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: u64,
    last: Instant,
    longest: Duration,
}

/// A running measurement; ends when it is dropped.
pub struct Pulse {
    seen: Arc<Mutex<Seen>>,
    beat: JoinHandle<()>,
}

impl Pulse {
    /// Starts beating on a queue of its own.
    pub async fn start(remote: &Remote) -> anyhow::Result<Self> {
        let queue = Name::new("pulse")?;
        let settings = Settings::default();
        remote
            .tell(Command::Configure {
                queue: queue.clone(),
                settings,
            })
            .await?;
        let seen = Arc::new(Mutex::new(Seen {
            answered: 0,
            last: Instant::now(),
            longest: Duration::ZERO,
        }));
        let beat = tokio::spawn(beat(remote.clone(), queue, Arc::clone(&seen)));
        Ok(Self { seen, beat })
    }

    /// Forgets the longest gap so far.
    pub fn mark(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.longest = Duration::ZERO;
    }

    /// The longest time between two answers since the mark, and the answers in all.
    pub fn longest_gap(&self) -> (Duration, u64) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.longest.max(seen.last.elapsed()), seen.answered)
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

async fn beat(remote: Remote, queue: Name, seen: Arc<Mutex<Seen>>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        ticks.tick().await;
        while under_way.try_join_next().is_some() {}
        let (remote, queue, seen) = (remote.clone(), queue.clone(), Arc::clone(&seen));
        under_way.spawn(async move {
            // Bounds what is under way to TIMEOUT / INTERVAL operations.
            let done = tokio::time::timeout(TIMEOUT, operation(&remote, queue)).await;
            if matches!(done, Ok(Ok(()))) {
                let now = Instant::now();
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let gap = now.saturating_duration_since(seen.last);
                seen.longest = seen.longest.max(gap);
                seen.last = now;
                seen.answered += 1;
            }
        });
    }
}

/// Logged and synced like any other, and leaves everything as it was.
async fn operation(remote: &Remote, queue: Name) -> Result<(), Error> {
    let caller = Caller {
        timeout: TIMEOUT,
        ..Caller::default()
    };
    let command = Command::Pause {
        queue,
        paused: false,
    };
    remote.service().execute(&caller, command).await.map(drop)
}
