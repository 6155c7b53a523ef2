//! The door: so many go through at once, so many wait, the rest is sent away.
//!
//! A queue that is longer than its callers are patient is worse than none: each comes to its turn when nobody
//! waits for it any more, and the leaf works for nothing. So nobody waits who would have to wait for more
//! than half of its time at the pace of the last departures, and nobody is let in whose time is shorter than
//! the leaf's; both are told at once, while another replica may still be asked.

use super::limit::Limit;
use super::pace::Pace;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait already: for their number, or for the time there is.
    Full,
    /// Its deadline passed before its turn came.
    Expired,
}

/// How much there is to do.
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Load {
    /// With the leaf.
    pub in_flight: usize,
    /// As many may be.
    pub limit: usize,
    /// Waiting.
    pub queued: usize,
    /// As many may wait.
    pub queue_max: usize,
    /// Sent away because too many waited, for their number or for the time there was.
    pub refused: u64,
    /// Dropped because their time passed while they waited, or too little was left for the leaf.
    pub expired: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Door {
    inside: Mutex<Inside>,
    queue_max: usize,
}

#[derive(Debug, Default)]
struct Inside {
    limit: Limit,
    pace: Pace,
    in_flight: usize,
    queue: VecDeque<Waiting>,
    refused: u64,
    expired: u64,
}

#[derive(Debug)]
struct Waiting {
    deadline: Instant,
    go: oneshot::Sender<Pass>,
}

/// Leave to be with the leaf, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    door: Option<Arc<Door>>,
}

impl Door {
    /// At which at most so many wait.
    pub fn new(queue_max: usize) -> Self {
        Self {
            inside: Mutex::default(),
            queue_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much there is to do.
    pub fn load(&self) -> Load {
        let inside = self.lock();
        Load {
            in_flight: inside.in_flight,
            limit: inside.limit.get(),
            queued: inside.queue.len(),
            queue_max: self.queue_max,
            refused: inside.refused,
            expired: inside.expired,
        }
    }

    /// Waits for its turn until the deadline. `hedge` does not wait: it is an extra request, and there is
    /// no room for extras where others wait.
    pub async fn enter(self: &Arc<Self>, deadline: Instant, hedge: bool) -> Result<Pass, Refused> {
        let turn = {
            let mut inside = self.lock();
            let now = Instant::now();
            if deadline <= now {
                inside.expired += 1;
                return Err(Refused::Expired);
            }
            if inside.in_flight < inside.limit.get() && inside.queue.is_empty() {
                inside.in_flight += 1;
                return Ok(self.pass());
            }
            let late = inside.pace.is_late(inside.queue.len() + 1, deadline - now);
            if hedge || late || inside.queue.len() >= self.queue_max {
                inside.refused += 1;
                return Err(Refused::Full);
            }
            let (go, turn) = oneshot::channel();
            inside.queue.push_back(Waiting { deadline, go });
            turn
        };
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(pass)) => Ok(pass),
            // The place in the queue is cleared when its turn comes.
            Ok(Err(_)) | Err(_) => {
                let mut inside = self.lock();
                inside.expired += 1;
                inside.queue.retain(|waiting| !waiting.go.is_closed());
                Err(Refused::Expired)
            }
        }
    }

    fn pass(self: &Arc<Self>) -> Pass {
        Pass {
            door: Some(Arc::clone(self)),
        }
    }

    /// Lets in who waits, as far as there is room.
    fn admit(self: &Arc<Self>) {
        let now = Instant::now();
        loop {
            let waiting = {
                let mut inside = self.lock();
                if inside.in_flight >= inside.limit.get() {
                    return;
                }
                let Some(waiting) = inside.queue.pop_front() else {
                    return;
                };
                // Whoever comes to an idle leaf goes in: otherwise it could never show that it is fast again.
                let patience = waiting.deadline.saturating_duration_since(now);
                if patience < inside.pace.leaf() && inside.in_flight > 0 {
                    // It is told by the loss of its place.
                    continue;
                }
                if patience.is_zero() || waiting.go.is_closed() {
                    continue;
                }
                inside.in_flight += 1;
                waiting
            };
            // One that left in this moment gives its pass back by dropping it, outside of the lock.
            let _ = waiting.go.send(self.pass());
        }
    }
}

impl Pass {
    /// The leaf answered after this time.
    pub fn answered(&mut self, took: Duration) {
        if let Some(door) = &self.door {
            let mut inside = door.lock();
            let under_way = inside.in_flight;
            inside.limit.answered(took, under_way);
            inside.pace.answered(took);
        }
    }

    /// The leaf has too much to do.
    pub fn overloaded(&mut self) {
        if let Some(door) = &self.door {
            door.lock().limit.overloaded();
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(door) = self.door.take() {
            {
                let mut inside = door.lock();
                let busy = inside.in_flight >= inside.limit.get();
                inside.pace.departed(Instant::now(), busy);
                inside.in_flight -= 1;
            }
            door.admit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon(ms: u64) -> Instant {
        Instant::now() + Duration::from_millis(ms)
    }

    /// A leaf that does two at a time, in 10 ms each, gets twice of what it can do: it goes on doing what it
    /// can, for callers that still wait, and the others learn at once that they should ask elsewhere.
    #[tokio::test(start_paused = true)]
    async fn overload_costs_no_work() {
        let door = Arc::new(Door::new(256));
        let leaf = Arc::new(tokio::sync::Semaphore::new(2));
        let begin = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..8_000 {
            tokio::time::sleep_until(begin + Duration::from_micros(2_500) * number).await;
            let (door, leaf) = (Arc::clone(&door), Arc::clone(&leaf));
            calls.spawn(async move {
                let sent = Instant::now();
                let deadline = sent + Duration::from_secs(1);
                let Ok(mut pass) = door.enter(deadline, false).await else {
                    return Err(sent.elapsed());
                };
                let passed = Instant::now();
                let work = async {
                    let _worker = leaf.acquire().await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                };
                if tokio::time::timeout_at(deadline, work).await.is_err() {
                    pass.overloaded();
                    return Err(sent.elapsed());
                }
                pass.answered(passed.elapsed());
                Ok(sent.elapsed())
            });
        }
        let ended: Vec<_> = calls.join_all().await;
        let good = ended.iter().filter(|call| call.is_ok()).count();
        assert!(good >= 3_800, "{good} of 4,000 that could be done");
        let mut refused: Vec<_> = ended.into_iter().filter_map(Result::err).collect();
        refused.sort_unstable();
        assert_eq!(refused[refused.len() / 2], Duration::ZERO, "told at once");
    }

    /// Who comes first goes first; hedges do not wait; the queue is bounded; what expires is dropped.
    #[tokio::test]
    async fn turns_are_taken_in_order() {
        let door = Arc::new(Door::new(2));
        let limit = door.load().limit;
        let mut inside = Vec::new();
        for _ in 0..limit {
            inside.push(door.enter(soon(60_000), false).await.unwrap());
        }
        assert_eq!(
            door.enter(soon(1_000), true).await.unwrap_err(),
            Refused::Full
        );
        assert_eq!(
            door.enter(soon(10), false).await.unwrap_err(),
            Refused::Expired
        );
        let wait = |ms| {
            let door = Arc::clone(&door);
            tokio::spawn(async move { door.enter(soon(ms), false).await })
        };
        let first = wait(60_000);
        tokio::task::yield_now().await;
        let second = wait(60_000);
        tokio::task::yield_now().await;
        assert_eq!(door.load().queued, 2);
        assert_eq!(
            door.enter(soon(60_000), false).await.unwrap_err(),
            Refused::Full
        );
        drop(inside.pop());
        let first = first.await.unwrap().unwrap();
        assert_eq!(door.load().queued, 1);
        drop(first);
        drop(second.await.unwrap().unwrap());
        drop(inside);
        let load = door.load();
        assert_eq!(
            (load.in_flight, load.queued, load.refused, load.expired),
            (0, 0, 2, 1)
        );
    }

    /// A place whose owner has gone is not handed a pass that nobody takes.
    #[tokio::test]
    async fn who_leaves_gives_the_place_back() {
        let door = Arc::new(Door::new(8));
        let mut inside = Vec::new();
        for _ in 0..door.load().limit {
            inside.push(door.enter(soon(60_000), false).await.unwrap());
        }
        let waiting = tokio::spawn({
            let door = Arc::clone(&door);
            async move { door.enter(soon(60_000), false).await }
        });
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        inside.clear();
        assert_eq!(door.load().in_flight, 0);
        assert!(door.enter(soon(60_000), false).await.is_ok());
    }
}
