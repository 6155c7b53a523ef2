//! Numbers for requests within a client stream: what makes it safe to send one again.
//!
//! The cluster remembers the answers of a stream's numbers until it is told that they are no longer
//! needed. A number is needed until its [`Number`] is dropped; the smallest one needed goes along with
//! every request.

use quorate_core::error::{Code, Error};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Numbers in use at a time: half of what the cluster remembers of a stream, because those between
/// the smallest in use and the newest count as well.
const IN_USE_MAX: usize = 2_000;

/// The numbers of one client.
#[derive(Debug)]
pub(super) struct Numbers {
    state: Mutex<State>,
    /// Held while a stream is opened, so that one is.
    opening: tokio::sync::Mutex<()>,
    in_use: Semaphore,
}

#[derive(Debug, Default)]
struct State {
    stream: Option<u64>,
    /// The server cannot number requests.
    unavailable: bool,
    last: u64,
    in_use: BTreeSet<(u64, u64)>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            in_use: Semaphore::new(IN_USE_MAX),
        }
    }
}

/// A number in use.
#[derive(Debug)]
pub(super) struct Number<'a> {
    numbers: &'a Numbers,
    stream: u64,
    seq: u64,
    _permit: SemaphorePermit<'a>,
}

impl Numbers {
    /// The next number; opens a stream if there is none. `None` when the server has no streams.
    pub(super) async fn next<F>(
        &self,
        open: impl FnOnce() -> F,
    ) -> Result<Option<Number<'_>>, Error>
    where
        F: Future<Output = Result<u64, Error>>,
    {
        let permit = self
            .in_use
            .acquire()
            .await
            .map_err(|_| Error::new(Code::Internal, "the client is gone"))?;
        if self.lock().unavailable {
            return Ok(None);
        }
        let has_stream = self.lock().stream.is_some();
        if !has_stream {
            let _opening = self.opening.lock().await;
            let has_stream = self.lock().stream.is_some();
            if !has_stream {
                match open().await {
                    Ok(stream) => {
                        let mut state = self.lock();
                        state.stream = Some(stream);
                        state.last = 0;
                    }
                    Err(error) if error.code == Code::Unimplemented => {
                        self.lock().unavailable = true;
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let mut state = self.lock();
        let Some(stream) = state.stream else {
            return Err(Error::new(
                Code::NoQuorum,
                "the client's stream expired at once; try again",
            ));
        };
        state.last += 1;
        let seq = state.last;
        state.in_use.insert((stream, seq));
        drop(state);
        Ok(Some(Number {
            numbers: self,
            stream,
            seq,
            _permit: permit,
        }))
    }

    /// The cluster no longer knows this stream; the next number opens another.
    pub(super) fn expired(&self, stream: u64) {
        let mut state = self.lock();
        if state.stream == Some(stream) {
            state.stream = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number<'_> {
    pub(super) fn stream(&self) -> u64 {
        self.stream
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// The smallest number of the stream that is in use.
    pub(super) fn done_below(&self) -> u64 {
        let state = self.numbers.lock();
        let first = state.in_use.range((self.stream, 0)..).next();
        first.map_or(self.seq, |(_, seq)| *seq).min(self.seq)
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        let mut state = self.numbers.lock();
        state.in_use.remove(&(self.stream, self.seq));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_stream_is_opened_numbers_grow_and_the_smallest_in_use_is_kept() {
        let numbers = Numbers::default();
        let next = |stream| numbers.next(move || async move { Ok(stream) });
        let one = next(7).await.unwrap().unwrap();
        let two = next(8).await.unwrap().unwrap();
        assert_eq!(
            (one.stream(), one.seq(), two.stream(), two.seq()),
            (7, 1, 7, 2)
        );
        assert_eq!(two.done_below(), 1);
        drop(one);
        assert_eq!(two.done_below(), 2);
        numbers.expired(7);
        let again = next(9).await.unwrap().unwrap();
        assert_eq!((again.stream(), again.seq(), again.done_below()), (9, 1, 1));
        numbers.expired(7);
        let same = next(10).await.unwrap().unwrap();
        assert_eq!(
            same.stream(),
            9,
            "an old stream's end does not end the new one"
        );
        assert_eq!(two.done_below(), 2, "numbers of streams do not mix");
    }

    #[tokio::test]
    async fn a_server_without_streams_is_asked_once() {
        let numbers = Numbers::default();
        let none = || async { Err(Error::unimplemented("streams")) };
        assert!(numbers.next(none).await.unwrap().is_none());
        let panic = || async { panic!("asked again") };
        assert!(numbers.next(panic).await.unwrap().is_none());
    }
}
