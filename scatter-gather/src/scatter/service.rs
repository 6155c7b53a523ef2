//! A scatter as a `tower` service: what stands before services (limits, buffers, metrics) stands before it.

use super::{Answer, Question, Scatter};
use futures::future::BoxFuture;
use quorate_core::error::Error;
use std::task::{Context, Poll};

impl tower::Service<Question> for Scatter {
    type Response = Answer;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Answer, Error>>;

    /// Always: what is too much is refused when it is asked, before any call is made.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, question: Question) -> Self::Future {
        let scatter = self.clone();
        Box::pin(async move { scatter.ask(question).await })
    }
}
