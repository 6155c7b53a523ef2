//! Items in groups: large groups when they come fast, small ones when stdin is slow, so that nothing
//! waits for a thousandth line that may never come.

use super::source::Item;
use quorate_work_queue::machine::limits;
use std::time::Duration;
use tokio::sync::mpsc;

/// When a group is closed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Items, at the most.
    pub(crate) items: usize,
    /// Bytes of their texts, at about the most: with the largest payloads a group stays below what
    /// one request may hold.
    pub(crate) bytes: usize,
    /// Time to wait for one more item.
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            items: limits::JOBS_PER_ENQUEUE_MAX,
            bytes: limits::REQUEST_BYTES_MAX / 2,
            pause: Duration::from_millis(50),
        }
    }
}

/// Reads items on a thread of its own, because stdin blocks, and groups them.
pub(crate) struct Chunks {
    items: mpsc::Receiver<Result<Item, String>>,
    patience: Patience,
    /// The item that did not fit, or the failure after the last group.
    left: Option<Result<Item, String>>,
}

impl Chunks {
    /// Starts to read.
    pub(crate) fn new(
        items: Box<dyn Iterator<Item = Result<Item, String>> + Send>,
        patience: Patience,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(patience.items);
        // Detached: it ends with the items, with the receiver, or, blocked on stdin, with the process.
        std::thread::spawn(move || {
            for item in items {
                let failed = item.is_err();
                if sender.blocking_send(item).is_err() || failed {
                    return;
                }
            }
        });
        Self {
            items: receiver,
            patience,
            left: None,
        }
    }

    /// The next group; none at the end. A failure comes after all items before it.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Item>, String>> {
        let first = match self.left.take() {
            Some(left) => left,
            None => self.items.recv().await?,
        };
        let first = match first {
            Ok(item) => item,
            Err(error) => return Some(Err(error)),
        };
        let mut bytes = first.text.len();
        let mut group = vec![first];
        while group.len() < self.patience.items {
            let next = match tokio::time::timeout(self.patience.pause, self.items.recv()).await {
                Ok(Some(next)) => next,
                Ok(None) | Err(_) => break,
            };
            match next {
                Ok(item) if bytes + item.text.len() <= self.patience.bytes => {
                    bytes += item.text.len();
                    group.push(item);
                }
                other => {
                    self.left = Some(other);
                    break;
                }
            }
        }
        Some(Ok(group))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(index: u32, bytes: usize) -> Item {
        Item {
            index,
            text: "x".repeat(bytes),
            json: None,
            file: None,
        }
    }

    const PATIENCE: Patience = Patience {
        items: 3,
        bytes: 10,
        pause: Duration::from_millis(20),
    };

    async fn groups(items: Vec<Result<Item, String>>) -> Vec<Result<Vec<u32>, String>> {
        let mut chunks = Chunks::new(Box::new(items.into_iter()), PATIENCE);
        let mut groups = Vec::new();
        while let Some(group) = chunks.next().await {
            groups.push(group.map(|items| items.iter().map(|item| item.index).collect()));
        }
        groups
    }

    #[tokio::test]
    async fn groups_are_bounded_in_items_and_bytes_and_lose_nothing() {
        let sizes = [1, 1, 1, 1, 9, 2, 50, 1];
        let items = sizes
            .iter()
            .zip(0..)
            .map(|(&bytes, index)| Ok(item(index, bytes)))
            .collect();
        assert_eq!(
            groups(items).await,
            [
                Ok(vec![0, 1, 2]),
                Ok(vec![3, 4]),
                Ok(vec![5]),
                Ok(vec![6]),
                Ok(vec![7])
            ]
        );
    }

    #[tokio::test]
    async fn a_failure_comes_after_the_items_before_it_and_ends_all() {
        let items = vec![Ok(item(0, 1)), Err("line 2".to_owned()), Ok(item(2, 1))];
        assert_eq!(groups(items).await, [Ok(vec![0]), Err("line 2".to_owned())]);
    }

    #[tokio::test]
    async fn a_slow_source_does_not_hold_back_what_it_gave() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut chunks = Chunks::new(Box::new(receiver.into_iter()), PATIENCE);
        sender.send(Ok(item(0, 1))).unwrap();
        // The source stays open and silent.
        let group = tokio::time::timeout(Duration::from_secs(10), chunks.next())
            .await
            .unwrap();
        assert_eq!(group.unwrap().unwrap().len(), 1);
        drop(sender);
        assert!(chunks.next().await.is_none());
    }
}
