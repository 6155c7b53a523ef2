//! A call under way that can be called off from outside its future.
//!
//! Futures in a set cannot be taken out of it one by one. So each looks at its row in the tower when
//! it is polled, and ends if the row says so; calling off sets the row and wakes the future. All of
//! this happens within one task, so the lock is never waited for.

use crate::gather::AttemptId;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The rows of one request, by attempt.
#[derive(Clone, Debug)]
pub(super) struct Tower(Arc<Mutex<Vec<Row>>>);

#[derive(Clone, Debug, Default)]
struct Row {
    off: bool,
    waker: Option<Waker>,
}

impl Tower {
    pub(super) fn new(calls: usize) -> Self {
        Self(Arc::new(Mutex::new(Vec::with_capacity(calls))))
    }

    /// The call ends at its next poll, which comes soon.
    pub(super) fn call_off(&self, attempt: AttemptId) {
        let waker = self.row(attempt, |row| {
            row.off = true;
            row.waker.take()
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the call is off; if not, remembers whom to wake.
    fn is_off(&self, attempt: AttemptId, cx: &Context<'_>) -> bool {
        self.row(attempt, |row| {
            if !row.off && row.waker.as_ref().is_none_or(|w| !w.will_wake(cx.waker())) {
                row.waker = Some(cx.waker().clone());
            }
            row.off
        })
    }

    fn row<T>(&self, attempt: AttemptId, f: impl FnOnce(&mut Row) -> T) -> T {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() <= attempt.index() {
            rows.resize(attempt.index() + 1, Row::default());
        }
        f(&mut rows[attempt.index()])
    }
}

/// A call that has ended; without a result it was called off.
pub(super) struct Landed<T> {
    pub(super) attempt: AttemptId,
    pub(super) result: Option<T>,
}

/// Makes a call that ends when it is called off.
pub(super) async fn fly<T>(
    attempt: AttemptId,
    tower: Tower,
    call: impl Future<Output = T>,
) -> Landed<T> {
    let mut call = pin!(call);
    let result = poll_fn(|cx| {
        if tower.is_off(attempt, cx) {
            return Poll::Ready(None);
        }
        call.as_mut().poll(cx).map(Some)
    })
    .await;
    Landed { attempt, result }
}
