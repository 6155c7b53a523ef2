//! [`Node`]: what a pattern holds of its replica, and the forwarding that lets any node answer.

use super::driver::Letter;
use super::mailbox::{Mailbox, Refused};
use super::peers::{Forwarded, Peers};
use super::requests::Replied;
use super::status::{NodeState, NodeStatus};
use crate::clock;
use crate::error::{Code, Error};
use crate::machine::{Machine, Op, Origin};
use crate::replica::RequestId;
use crate::types::{NodeId, Principal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Requests a node holds at one time, parked ones included: at a few hundred bytes each some tens of MiB.
pub(super) const REQUESTS_MAX: usize = 65_536;

/// Pause before another try when the leader is unknown or has just changed.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// A running replica of a machine. Clones share it; it stops when it is shut down or, abruptly, when
/// the last clone is dropped.
pub struct Node<M: Machine> {
    pub(super) shared: Arc<Shared<M>>,
    /// None in the node's own tasks, which must not keep it alive.
    pub(super) owner: Option<Arc<Owner<M>>>,
}

/// Stops the node when its users are gone.
pub(super) struct Owner<M: Machine>(pub(super) Arc<Shared<M>>);

impl<M: Machine> Drop for Owner<M> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<M: Machine> Shared<M> {
    /// Ends the tasks and, through the driver, the threads.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
        self.mailbox.close();
    }

    /// Runs a task until the node stops, which waits for its end.
    pub(super) fn spawn<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let task = self.stopping.clone().run_until_cancelled_owned(task);
        self.tasks.spawn(task);
    }
}

pub(super) struct Shared<M: Machine> {
    pub(super) node: NodeId,
    pub(super) mailbox: Arc<Mailbox<Letter<M>>>,
    pub(super) peers: Peers,
    pub(super) status: watch::Sender<NodeStatus>,
    pub(super) events: broadcast::Sender<M::Event>,
    pub(super) permits: Semaphore,
    pub(super) request_last: AtomicU64,
    pub(super) stopping: tokio_util::sync::CancellationToken,
    pub(super) threads: std::sync::Mutex<Vec<std::thread::JoinHandle<()>>>,
    /// What holds the data directory or the peer port, and ends with `stopping`.
    pub(super) tasks: TaskTracker,
}

impl<M: Machine> Clone for Node<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            owner: self.owner.clone(),
        }
    }
}

impl<M: Machine> std::fmt::Debug for Node<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("node", &self.shared.node)
            .finish_non_exhaustive()
    }
}

impl<M: Machine> Node<M> {
    /// Logs a command and answers once it is applied, hence synced on a majority. The flag says that
    /// the reply is the remembered one of an earlier execution.
    ///
    /// A command that would find nothing waits up to `wait`; beyond that the answer comes within
    /// `timeout`. What was certainly not done is tried again within that time, also at a new leader;
    /// what may have been done is tried again only if its origin carries a key.
    ///
    /// # Errors
    /// What the machine refuses; `no_quorum` (certainly not done), `outcome_unknown`, `over_quota`.
    pub async fn execute(
        &self,
        origin: Origin,
        command: M::Command,
        wait: Duration,
        timeout: Duration,
    ) -> Replied<M> {
        let wait_ends = Instant::now() + wait;
        let deadline = wait_ends + timeout;
        let repeatable = matches!(&origin, Origin::Client { key: Some(_), .. });
        let op = Op { origin, command };
        let mut unknown = None;
        loop {
            let wait = wait_ends.saturating_duration_since(Instant::now());
            let result = match self.leader() {
                Some(leader) if leader == self.shared.node => {
                    self.propose_here(op.clone(), wait, deadline).await
                }
                Some(leader) => {
                    let forwarded = self
                        .shared
                        .peers
                        .execute::<M>(leader, &op, wait, deadline)
                        .await;
                    self.unless_elsewhere(forwarded)
                }
                None => Err(self.no_leader()),
            };
            let error = match result {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let again =
                error.code == Code::NoQuorum || (repeatable && error.code == Code::OutcomeUnknown);
            let error = error.after(&mut unknown);
            if !again {
                return Err(error);
            }
            self.again(deadline, error).await?;
        }
    }

    /// Answers a question about the state as of now (linearizable).
    ///
    /// # Errors
    /// What the machine refuses; `no_quorum`, `deadline_exceeded`, `over_quota`.
    pub async fn query(&self, query: M::Query, timeout: Duration) -> Result<M::Answer, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let result = match self.leader() {
                Some(leader) if leader == self.shared.node => {
                    self.query_here(query.clone(), deadline).await
                }
                Some(leader) => {
                    let forwarded = self.shared.peers.query::<M>(leader, &query, deadline).await;
                    self.unless_elsewhere(forwarded)
                }
                None => Err(self.no_leader()),
            };
            match result {
                Err(error) if matches!(error.code, Code::NoQuorum | Code::OutcomeUnknown) => {
                    self.again(deadline, error).await?;
                }
                other => return other,
            }
        }
    }

    /// Renews leases; nothing is logged. The caller reads its clock before it calls.
    ///
    /// # Errors
    /// What the machine refuses; `no_quorum`, `deadline_exceeded`, `over_quota`.
    pub async fn renew(&self, renewal: M::Renewal, timeout: Duration) -> Result<M::Renewed, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let result = match self.leader() {
                Some(leader) if leader == self.shared.node => {
                    self.renew_here(renewal.clone(), deadline).await
                }
                Some(leader) => {
                    let forwarded = self
                        .shared
                        .peers
                        .renew::<M>(leader, &renewal, deadline)
                        .await;
                    self.unless_elsewhere(forwarded)
                }
                None => Err(self.no_leader()),
            };
            match result {
                Err(error) if matches!(error.code, Code::NoQuorum | Code::OutcomeUnknown) => {
                    self.again(deadline, error).await?;
                }
                other => return other,
            }
        }
    }

    /// Opens a client stream: operations numbered within it are executed once, however often they are
    /// sent. Opening one twice because an answer was lost costs nothing: an idle stream expires.
    ///
    /// # Errors
    /// `no_quorum`, `deadline_exceeded`, `over_quota`.
    pub async fn open_stream(
        &self,
        principal: &Principal,
        timeout: Duration,
    ) -> Result<u64, Error> {
        let deadline = Instant::now() + timeout;
        loop {
            let result = match self.leader() {
                Some(leader) if leader == self.shared.node => {
                    self.open_stream_here(principal.clone(), deadline).await
                }
                Some(leader) => self.unless_elsewhere(
                    self.shared
                        .peers
                        .open_stream(leader, principal, deadline)
                        .await,
                ),
                None => Err(self.no_leader()),
            };
            match result {
                Err(error) if matches!(error.code, Code::NoQuorum | Code::OutcomeUnknown) => {
                    self.again(deadline, error).await?;
                }
                other => return other,
            }
        }
    }

    /// How the node stands, and every change of it.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.shared.status.subscribe()
    }

    /// What is applied from now on, on this node. A receiver that falls behind misses events.
    pub fn events(&self) -> broadcast::Receiver<M::Event> {
        self.shared.events.subscribe()
    }

    /// Waits until the node can serve.
    ///
    /// # Errors
    /// `no_quorum` with the reason when it cannot within `timeout` or has failed.
    pub async fn ready(&self, timeout: Duration) -> Result<(), Error> {
        let mut status = self.status();
        let waited = tokio::time::timeout(
            timeout,
            status.wait_for(|status| {
                status.ready || matches!(status.state, NodeState::Failed | NodeState::Stopped)
            }),
        )
        .await;
        match waited {
            Ok(Ok(status)) if status.ready => Ok(()),
            _ => Err(self.no_leader()),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        self.shared.status.borrow().leader
    }

    fn no_leader(&self) -> Error {
        let status = self.shared.status.borrow();
        let reason = if status.reason.is_empty() {
            "no leader at the moment"
        } else {
            &status.reason
        };
        Error::new(Code::NoQuorum, reason).retry_after_ms(500)
    }

    fn unless_elsewhere<T>(&self, forwarded: Forwarded<T>) -> Result<T, Error> {
        match forwarded {
            Forwarded::Answered(result) => result,
            Forwarded::NotSent(detail) => {
                Err(Error::new(Code::NoQuorum, detail).retry_after_ms(500))
            }
            Forwarded::Lost(detail) => Err(Error::new(Code::OutcomeUnknown, detail)),
        }
    }

    /// Waits for a reason to try again; gives `error` back when the time is up.
    async fn again(&self, deadline: Instant, error: Error) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        let state = self.shared.status.borrow().state.clone();
        if left <= RETRY_PAUSE || matches!(state, NodeState::Failed | NodeState::Stopped) {
            return Err(error);
        }
        let mut status = self.shared.status.subscribe();
        if status.borrow_and_update().leader.is_some() {
            // A leader is known, yet refused or cannot be reached: it may have just changed.
            tokio::time::sleep(RETRY_PAUSE).await;
        } else {
            let known = status
                .wait_for(|status| status.leader.is_some() || status.state == NodeState::Failed);
            let _ = tokio::time::timeout(left, known).await;
        }
        Ok(())
    }

    pub(super) async fn propose_here(
        &self,
        op: Op<M::Command>,
        wait: Duration,
        deadline: Instant,
    ) -> Replied<M> {
        let wait_until = (!wait.is_zero()).then(|| clock::monotonic() + wait);
        let unknown = || {
            Error::new(
                Code::OutcomeUnknown,
                "no answer in time: it may or may not have been done; repeat it under the same key, or look first",
            )
        };
        self.ask(deadline, unknown, |id, to| Letter::Propose {
            id,
            op,
            wait_until,
            to,
        })
        .await
    }

    pub(super) async fn query_here(
        &self,
        query: M::Query,
        deadline: Instant,
    ) -> Result<M::Answer, Error> {
        self.ask(deadline, late, |id, to| Letter::Query { id, query, to })
            .await
    }

    pub(super) async fn renew_here(
        &self,
        renewal: M::Renewal,
        deadline: Instant,
    ) -> Result<M::Renewed, Error> {
        self.ask(deadline, late, |id, to| Letter::Renew { id, renewal, to })
            .await
    }

    pub(super) async fn open_stream_here(
        &self,
        principal: Principal,
        deadline: Instant,
    ) -> Result<u64, Error> {
        self.ask(deadline, late, |id, to| Letter::OpenStream {
            id,
            principal,
            to,
        })
        .await
    }

    async fn ask<T>(
        &self,
        deadline: Instant,
        late: impl Fn() -> Error,
        letter: impl FnOnce(RequestId, oneshot::Sender<Result<T, Error>>) -> Letter<M>,
    ) -> Result<T, Error> {
        let busy = |what: &str| Error::new(Code::OverQuota, what).retry_after_ms(100);
        let _permit = self.shared.permits.try_acquire().map_err(|_| {
            busy("this node holds as many requests as it can; slow down or spread over the nodes")
        })?;
        let id = RequestId(self.shared.request_last.fetch_add(1, Ordering::Relaxed) + 1);
        let (to, answer) = oneshot::channel();
        self.shared
            .mailbox
            .offer(letter(id, to))
            .map_err(|refused| match refused {
                Refused::Full => busy("this node is overloaded; slow down"),
                Refused::Closed => Error::new(Code::NoQuorum, "this node is stopping; ask another"),
            })?;
        let mut guard = ForgetOnDrop {
            shared: &self.shared,
            id,
            armed: true,
        };
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(result)) => {
                guard.armed = false;
                result
            }
            // The driver dropped the waiter: the node stopped with the request in flight.
            Ok(Err(_)) => {
                guard.armed = false;
                Err(late())
            }
            Err(_) => Err(late()),
        }
    }
}

fn late() -> Error {
    Error::new(Code::DeadlineExceeded, "no answer in time; try again").retry_after_ms(500)
}

/// Tells the driver when a caller stops waiting, so that a parked request does not take a job that
/// nobody will hear of.
struct ForgetOnDrop<'a, M: Machine> {
    shared: &'a Shared<M>,
    id: RequestId,
    armed: bool,
}

impl<M: Machine> Drop for ForgetOnDrop<'_, M> {
    fn drop(&mut self) {
        if self.armed {
            self.shared.mailbox.push(Letter::Forget(self.id));
        }
    }
}
