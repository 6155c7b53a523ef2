//! A clock that wakes within some tens of microseconds, where tokio's wakes within a millisecond: a leaf that
//! is to take 2.3 ms should.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Wakes by a thread of its own, which ends when this is dropped. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Wheel(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    waiting: std::collections::HashMap<u64, oneshot::Sender<()>>,
    next: u64,
    over: bool,
}

impl Wheel {
    pub(super) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let turning = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("wheel".to_owned())
            .spawn(move || turning.turn())?;
        Ok(Self(Arc::new(Owner(shared))))
    }

    /// Waits so long.
    pub(super) async fn sleep(&self, time: Duration) {
        let (wake, woken) = oneshot::channel();
        let shared = &self.0.0;
        {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            let number = state.next;
            state.next += 1;
            state.due.push(Reverse((Instant::now() + time, number)));
            state.waiting.insert(number, wake);
            if state
                .due
                .peek()
                .is_some_and(|Reverse((_, first))| *first == number)
            {
                shared.changed.notify_one();
            }
        }
        // It ends early only with the wheel, and the wheel with its last user.
        let _ = woken.await;
    }
}

impl Shared {
    fn turn(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.over {
            let now = Instant::now();
            while let Some(Reverse((at, number))) = state.due.peek().copied()
                && at <= now
            {
                state.due.pop();
                if let Some(wake) = state.waiting.remove(&number) {
                    // Nobody waits any more for a call that was cancelled.
                    let _ = wake.send(());
                }
            }
            let next = state
                .due
                .peek()
                .map(|Reverse((at, _))| at.saturating_duration_since(now));
            state = match next {
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.over = true;
        self.0.changed.notify_one();
    }
}
