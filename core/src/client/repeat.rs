//! A call that is made until it succeeds, is refused, or its time is over.

use super::{Api, Servers};
use crate::error::{Code, Error, Kind};
use crate::retry::Backoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An attempt that may be repeated is given up for another server after this long: long enough for a
/// change of leader, short enough to leave a server that hangs.
const ATTEMPT_MAX: Duration = Duration::from_secs(2);

/// How often an operation may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Again only after a failure that says "certainly not done".
    IfNotDone,
    /// Again also when the outcome is not known: twice is the same as once.
    Freely,
}

/// Why a call was given up.
#[derive(Clone, Debug)]
pub struct GivenUp {
    /// What became of the last attempt.
    pub last: Error,
    /// What became of an attempt that may have been executed.
    pub unknown: Option<Error>,
}

impl From<GivenUp> for Error {
    /// A refusal stands. Otherwise what may have been executed must not be called certainly not done.
    fn from(given_up: GivenUp) -> Self {
        match given_up {
            GivenUp {
                last,
                unknown: Some(unknown),
            } if last.code.kind() != Kind::Rejected => unknown,
            GivenUp { last, .. } => last,
        }
    }
}

impl<A: Api + 'static> Servers<A> {
    /// Makes a call until it succeeds, is refused, or `timeout` is over, at whichever server is current.
    /// The server may take up to `wait` to find something to answer. `call` gets the time that the
    /// attempt has.
    ///
    /// # Errors
    /// What became of it.
    pub async fn repeat<T, F>(
        self: &Arc<Self>,
        timeout: Duration,
        wait: Duration,
        repeat: Repeat,
        mut call: impl FnMut(A::Stub, Duration) -> F,
    ) -> Result<T, GivenUp>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let end = Instant::now() + timeout;
        let mut backoff = Backoff::default();
        let mut unknown = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let most = match repeat {
                Repeat::IfNotDone => left,
                Repeat::Freely => left.min(wait + ATTEMPT_MAX),
            };
            let (server, stub) = self.current();
            let last = match tokio::time::timeout(most, call(stub, most)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) if error.code.kind() == Kind::Unknown => Error {
                    detail: format!("{} says: {}", self.name(server), error.detail),
                    ..error
                },
                Ok(Err(error)) => error,
                Err(_) => Error::new(
                    Code::OutcomeUnknown,
                    format!("no answer from {} in time", self.name(server)),
                ),
            };
            let kind = last.code.kind();
            if kind == Kind::Rejected {
                return Err(GivenUp { last, unknown });
            }
            self.failed(server, last.code);
            let again = kind == Kind::Retryable || repeat == Repeat::Freely;
            let delay = backoff.next(last.retry_after_ms);
            if kind == Kind::Unknown {
                unknown = Some(last.clone());
            }
            if !again || Instant::now() + delay >= end {
                return Err(GivenUp { last, unknown });
            }
            tokio::time::sleep(delay).await;
            // A process that stood still: an attempt without time would only end as unknown.
            if Instant::now() >= end {
                return Err(GivenUp { last, unknown });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Config;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use tonic::transport::Channel;
    use tonic::{Request, Status};

    #[derive(Debug)]
    struct Nothing;

    impl Api for Nothing {
        type Stub = ();

        fn over(_: Channel) {}

        async fn term_led((): &mut (), _: Request<()>) -> Result<Option<u64>, Status> {
            Ok(None)
        }
    }

    /// What becomes of a call whose attempts end so, one after the other, and at which servers they were made. The clock
    /// is the test's, so that it ends the call and nothing else does.
    async fn call(repeat: Repeat, ends: &[Result<(), Code>]) -> (Result<(), GivenUp>, Vec<usize>) {
        let servers: Arc<Servers<Nothing>> =
            Arc::new(Servers::new(&Config::servers("a:1,b:2")).unwrap());
        let mut ends = VecDeque::from(ends.to_vec());
        let tried = RefCell::new(Vec::new());
        let attempt = |(), _| {
            tried.borrow_mut().push(servers.current().0);
            let end = ends.pop_front().unwrap_or(Err(Code::NoQuorum));
            std::future::ready(end.map_err(|code| Error::new(code, "as the test wants it")))
        };
        let within = Duration::from_secs(10);
        let done = servers.repeat(within, Duration::ZERO, repeat, attempt);
        (done.await, tried.take())
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_done_is_tried_elsewhere_and_what_may_have_been_only_if_it_may() {
        for repeat in [Repeat::IfNotDone, Repeat::Freely] {
            let (done, tried) = call(repeat, &[Err(Code::NoQuorum), Ok(())]).await;
            assert!(done.is_ok() && tried == [0, 1], "{done:?} {tried:?}");
        }
        let lost = [Err(Code::OutcomeUnknown), Ok(())];
        let (done, tried) = call(Repeat::Freely, &lost).await;
        assert!(done.is_ok() && tried.len() == 2, "{done:?} {tried:?}");
        let (done, tried) = call(Repeat::IfNotDone, &lost).await;
        assert_eq!(tried, [0]);
        let error = Error::from(done.unwrap_err());
        assert_eq!(error.code, Code::OutcomeUnknown);
        assert!(error.detail.starts_with("a:1 says: "), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_been_done_is_never_called_not_done() {
        let (done, tried) = call(Repeat::Freely, &[Err(Code::OutcomeUnknown)]).await;
        assert!(tried.len() > 2, "{tried:?}");
        assert_eq!(Error::from(done.unwrap_err()).code, Code::OutcomeUnknown);
        // A refusal says what became of it; whoever knows better looks at what came before.
        let refused = [Err(Code::OutcomeUnknown), Err(Code::NotFound)];
        let (done, _) = call(Repeat::Freely, &refused).await;
        let given_up = done.unwrap_err();
        assert_eq!(
            given_up.unknown.as_ref().map(|error| error.code),
            Some(Code::OutcomeUnknown)
        );
        assert_eq!(Error::from(given_up).code, Code::NotFound);
    }
}
