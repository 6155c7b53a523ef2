//! An observation that outlives connections and servers: when one breaks, the next goes on after the
//! last revision that was told.

use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use quorate_core::error::{Error, Kind};
use quorate_core::retry::Backoff;

/// Observations of one election that follow each other. `begin` begins one after a revision, or with the
/// state when there is none.
pub(crate) struct Following<B> {
    begin: B,
    after: Option<u64>,
    open: Option<Observation>,
    /// Whoever tells said `Unknown`, and has not said since how it stands.
    in_doubt: bool,
    backoff: Backoff,
}

impl<B, F> Following<B>
where
    B: Fn(Option<u64>) -> F + Send + 'static,
    F: Future<Output = Result<Observation, Error>> + Send + 'static,
{
    pub(crate) fn new(begin: B, after: Option<u64>) -> Self {
        Self {
            begin,
            after,
            open: None,
            in_doubt: false,
            backoff: Backoff::default(),
        }
    }

    /// Begins, or tries to.
    pub(crate) async fn try_open(&mut self) -> Result<(), Error> {
        // Who said that it does not know would also have said when it knows again. Another one has to say
        // how it stands at once.
        let after = self.after.filter(|_| !self.in_doubt);
        self.open = Some((self.begin)(after).await?);
        Ok(())
    }

    /// Begins. Fails only when it is refused.
    pub(crate) async fn open(&mut self) -> Result<(), Error> {
        loop {
            match self.try_open().await {
                Err(error) if error.code.kind() != Kind::Rejected => {
                    tokio::time::sleep(self.backoff.next(error.retry_after_ms)).await;
                }
                result => return result,
            }
        }
    }

    /// Everything from here on. Ends only when it is refused.
    pub(crate) fn stream(self) -> Observation {
        futures::stream::unfold(Some(self), |following| async move {
            let mut following = following?;
            match following.next().await {
                Ok(observed) => Some((Ok(observed), Some(following))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn next(&mut self) -> Result<Observed, Error> {
        loop {
            let Some(open) = &mut self.open else {
                self.open().await?;
                continue;
            };
            let hint = match open.next().await {
                Some(Ok(observed)) => {
                    self.backoff.reset();
                    self.take(&observed);
                    return Ok(observed);
                }
                Some(Err(error)) if error.code.kind() == Kind::Rejected => return Err(error),
                Some(Err(error)) => error.retry_after_ms,
                // It was read too slowly; what was not read is told again.
                None => None,
            };
            self.open = None;
            tokio::time::sleep(self.backoff.next(hint)).await;
        }
    }

    fn take(&mut self, observed: &Observed) {
        match observed {
            Observed::Unknown => self.in_doubt = true,
            Observed::State(_) => self.in_doubt = false,
            Observed::Change(_) => {}
        }
        self.after = observed.revision().or(self.after);
    }
}
