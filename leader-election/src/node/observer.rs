//! One observer of one election: changes from the hub, and from the machine's history what the hub no
//! longer has.

use super::hub::{Hub, odd};
use crate::machine::{Answer, Change, ElectionMachine, ElectionView, History, Query, limits};
use crate::service::{Observation, Observed};
use futures::StreamExt as _;
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::node::Node;
use quorate_core::types::{LogTime, Name};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Follows one election.
pub(super) struct Observer {
    hub: Arc<Hub>,
    node: Node<ElectionMachine>,
    election: Name,
    /// All up to this revision is told or waits in `next`; `None`: nothing yet, begin with the state.
    cursor: Option<u64>,
    next: VecDeque<Observed>,
    channel: Option<(u64, mpsc::Receiver<Arc<Change>>)>,
    timeout: Duration,
}

impl Observer {
    pub(super) fn new(
        hub: Arc<Hub>,
        node: Node<ElectionMachine>,
        election: Name,
        after: Option<u64>,
        timeout: Duration,
    ) -> Self {
        Self {
            hub,
            node,
            election,
            cursor: after,
            next: VecDeque::new(),
            channel: None,
            timeout,
        }
    }

    /// Everything from here on. Ends after an error.
    pub(super) fn stream(self) -> Observation {
        futures::stream::unfold(Some(self), |observer| async {
            let mut observer = observer?;
            Some(match observer.follow().await {
                Ok(observed) => (Ok(observed), Some(observer)),
                Err(error) => (Err(error), None),
            })
        })
        .boxed()
    }

    async fn follow(&mut self) -> Result<Observed, Error> {
        loop {
            if let Some(observed) = self.next.pop_front() {
                return Ok(observed);
            }
            match &mut self.channel {
                Some((_, changes)) => match changes.recv().await {
                    Some(change) => self.take(change),
                    None => self.channel = None,
                },
                None => self.catch_up().await?,
            }
        }
    }

    /// Tells a change unless it was told.
    fn take(&mut self, change: Arc<Change>) {
        if self.cursor.is_none_or(|cursor| cursor < change.revision) {
            self.cursor = Some(change.revision);
            self.next.push_back(Observed::Change(change));
        }
    }

    /// Joins the hub and fetches what came before.
    pub(super) async fn catch_up(&mut self) -> Result<(), Error> {
        if self.hub.is_blind() {
            return Err(Error::new(
                Code::NoQuorum,
                "this node has heard of no leader for some time and may be cut off; observe at another one, after the last revision",
            )
            .retry_after_ms(500));
        }
        self.leave();
        let joined = self.hub.subscribe(&self.election, self.cursor);
        self.channel = Some((joined.id, joined.changes));
        if let Some(recalled) = joined.recalled {
            for change in recalled {
                self.take(change);
            }
            return Ok(());
        }
        loop {
            let query = Query::History {
                election: Some(self.election.clone()),
                // No revision is above this one: the answer is the full state.
                after: self.cursor.unwrap_or(u64::MAX),
                max: limits::HISTORY_PAGE_MAX,
            };
            match self.node.query(query, self.timeout).await? {
                Answer::History(History::Changes {
                    changes,
                    through,
                    last,
                }) => {
                    for change in changes {
                        self.take(change);
                    }
                    self.cursor = self.cursor.max(Some(through));
                    if through >= last {
                        return Ok(());
                    }
                }
                Answer::History(History::Reset { state, revision }) => {
                    let state = state.unwrap_or_else(|| {
                        ElectionView::absent(&self.election, revision, LogTime(clock::wall_ms()))
                    });
                    self.cursor = Some(revision);
                    self.next.push_back(Observed::State(state));
                    return Ok(());
                }
                other => return Err(odd(&other)),
            }
        }
    }

    fn leave(&mut self) {
        if let Some((id, _)) = self.channel.take() {
            self.hub.unsubscribe(&self.election, id);
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.leave();
    }
}
