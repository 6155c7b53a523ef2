//! A bounded queue into a thread: the receiver takes everything at once, so that whatever piled up
//! during one turn becomes one batch.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue from many threads and tasks into one thread.
///
/// A std mutex, never held across an await: senders push one item, the receiver swaps the whole vector.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    closed: bool,
}

/// Why an item was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many items as the mailbox holds are waiting.
    Full,
    /// The receiver is gone.
    Closed,
}

impl<T> Mailbox<T> {
    /// A mailbox that refuses [`Mailbox::offer`] beyond `capacity` waiting items.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: Vec::new(),
                closed: false,
            }),
            arrived: Condvar::new(),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // A panic aborts the process in production; in tests the data is still whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item unless the mailbox is full.
    pub(super) fn offer(&self, item: T) -> Result<(), Refused> {
        self.add(item, self.capacity)
    }

    /// Adds an item that must not be refused and whose number is bounded elsewhere.
    pub(super) fn push(&self, item: T) {
        // Closed means the process or the node is stopping; nothing waits for this item.
        let _ = self.add(item, usize::MAX);
    }

    fn add(&self, item: T, capacity: usize) -> Result<(), Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        if inner.items.len() >= capacity {
            return Err(Refused::Full);
        }
        inner.items.push(item);
        let first = inner.items.len() == 1;
        drop(inner);
        if first {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes everything that waits, after waiting at most `patience` for a first item. False when the
    /// mailbox is closed and empty.
    pub(super) fn take(&self, into: &mut Vec<T>, patience: Option<Duration>) -> bool {
        let mut inner = self.lock();
        if inner.items.is_empty() && !inner.closed {
            inner = match patience {
                Some(patience) if patience.is_zero() => inner,
                Some(patience) => {
                    self.arrived
                        .wait_timeout(inner, patience)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .arrived
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
        std::mem::swap(into, &mut inner.items);
        !(inner.closed && into.is_empty())
    }

    /// Whether it was closed.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes no more items and wakes the receiver.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_bounded_for_offers_only_and_hands_out_all_at_once_in_order() {
        let mailbox = Mailbox::new(2);
        assert_eq!(mailbox.offer(1), Ok(()));
        assert_eq!(mailbox.offer(2), Ok(()));
        assert_eq!(mailbox.offer(3), Err(Refused::Full));
        mailbox.push(4);
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert_eq!(items, vec![1, 2, 4]);
        mailbox.close();
        items.clear();
        assert_eq!(mailbox.offer(5), Err(Refused::Closed));
        assert!(!mailbox.take(&mut items, None));
    }
}
