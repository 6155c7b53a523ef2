//! What one node knows of the changes, and whom it tells.
//!
//! The feeder takes in the events of the replica beside it, in order of their revisions. Some it may
//! never see: they overtook its place in the channel, or came in a snapshot, which tells no events. So it
//! checks that revisions follow each other, asks the leader from time to time where the cluster is, and
//! fetches from the machine's history what it missed. An observer gets each change once, from a bounded
//! channel; one that does not keep up loses the channel and catches up on its own.

use crate::machine::{Answer, Change, ElectionMachine, Event, History, Query, limits};
use quorate_core::error::Error;
use quorate_core::node::Node;
use quorate_core::types::Name;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

/// Changes kept for observers that come back, so that they need not ask the leader: a few MB.
const KEPT_MAX: usize = 16_384;

/// Changes that wait for one observer.
const BEHIND_MAX: usize = 64;

/// How often the leader is asked where the cluster is.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// How long such a question, or one for what was missed, may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// A node that reaches no leader for so long tells its observers to go elsewhere: it may be cut off.
const BLIND_AFTER: Duration = Duration::from_secs(5);

/// What a node knows, and its observers.
#[derive(Debug, Default)]
pub(super) struct Hub {
    known: Mutex<Known>,
}

/// An observer's number and where its changes go.
type Observer = (u64, mpsc::Sender<Arc<Change>>);

#[derive(Debug, Default)]
struct Known {
    /// Contiguous revisions up to `through`.
    kept: VecDeque<Arc<Change>>,
    /// The last revision taken in; `None` before the first.
    through: Option<u64>,
    observers: HashMap<Name, Vec<Observer>>,
    observer_last: u64,
    blind: bool,
}

/// What an observer begins with.
pub(super) struct Subscription {
    pub(super) id: u64,
    pub(super) changes: mpsc::Receiver<Arc<Change>>,
    /// All changes after the revision asked for, if they are kept here.
    pub(super) recalled: Option<Vec<Arc<Change>>>,
}

impl Hub {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing in here is left half done by a panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this node has heard of no leader for long.
    pub(super) fn is_blind(&self) -> bool {
        self.known().blind
    }

    /// From now on, changes of `election` come; those since `after` at once, if they are kept.
    pub(super) fn subscribe(&self, election: &Name, after: Option<u64>) -> Subscription {
        let mut known = self.known();
        known.observer_last += 1;
        let id = known.observer_last;
        let (sender, changes) = mpsc::channel(BEHIND_MAX);
        known
            .observers
            .entry(election.clone())
            .or_default()
            .push((id, sender));
        Subscription {
            id,
            changes,
            recalled: after.and_then(|after| known.recall(election, after)),
        }
    }

    /// The observer is gone.
    pub(super) fn unsubscribe(&self, election: &Name, id: u64) {
        let mut known = self.known();
        if let Some(observers) = known.observers.get_mut(election) {
            observers.retain(|(other, _)| *other != id);
            if observers.is_empty() {
                known.observers.remove(election);
            }
        }
    }

    fn through(&self) -> Option<u64> {
        self.known().through
    }

    /// Takes a change in if it is the next one, or `follows` what was taken in last for certain, as the
    /// first of all changes follows revision 0. False when one is missing before it.
    fn take_in(&self, change: &Arc<Change>, follows: bool) -> bool {
        let mut known = self.known();
        match known.through {
            Some(through) if change.revision <= through => true,
            Some(through) if change.revision > through + 1 && !follows => false,
            _ => {
                known.through = Some(change.revision);
                known.tell(change);
                known.kept.push_back(Arc::clone(change));
                if known.kept.len() > KEPT_MAX {
                    known.kept.pop_front();
                }
                true
            }
        }
    }

    /// Begins anew after `revision`: every observer catches up on its own.
    fn restart(&self, revision: u64) {
        let mut known = self.known();
        known.kept.clear();
        known.through = Some(revision);
        known.observers.clear();
    }

    fn set_blind(&self, blind: bool) {
        let mut known = self.known();
        known.blind = blind;
        if blind {
            known.observers.clear();
        }
    }
}

impl Known {
    fn recall(&self, election: &Name, after: u64) -> Option<Vec<Arc<Change>>> {
        let through = self.through?;
        let floor = self
            .kept
            .front()
            .map_or(through, |first| first.revision - 1);
        let skip = usize::try_from(after.checked_sub(floor)?).ok()?;
        (after <= through).then(|| {
            self.kept
                .iter()
                .skip(skip)
                .filter(|change| change.election == *election)
                .cloned()
                .collect()
        })
    }

    fn tell(&mut self, change: &Arc<Change>) {
        let Some(observers) = self.observers.get_mut(&change.election) else {
            return;
        };
        // Who is full loses its channel, which tells it to catch up.
        observers.retain(|(_, to)| to.try_send(Arc::clone(change)).is_ok());
        if observers.is_empty() {
            self.observers.remove(&change.election);
        }
    }
}

/// Feeds the hub for as long as the node lives.
pub(super) async fn feed(hub: Arc<Hub>, node: Node<ElectionMachine>) {
    let mut events = node.events();
    let mut probe = tokio::time::interval(PROBE_EVERY);
    probe.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked = std::pin::pin!(position(node.clone()));
    let mut asking = true;
    let mut heard = Instant::now();
    // The cluster was here when it was last asked.
    let mut reached: Option<u64> = None;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Change(change)) => {
                    if !hub.take_in(&change, false) {
                        catch_up(&hub, &node).await;
                    }
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => catch_up(&hub, &node).await,
                Err(broadcast::error::RecvError::Closed) => return,
            },
            answer = &mut asked, if asking => {
                asking = false;
                match answer {
                    Ok(revision) => {
                        heard = Instant::now();
                        reached = Some(revision);
                        hub.set_blind(false);
                    }
                    Err(_) if heard.elapsed() > BLIND_AFTER => hub.set_blind(true),
                    Err(_) => {}
                }
            },
            _ = probe.tick(), if !asking => {
                // What was there half a second ago should have come by now, unless it came in a
                // snapshot.
                match (reached, hub.through()) {
                    (Some(reached), None) => hub.restart(reached),
                    (Some(reached), Some(through)) if through < reached => {
                        catch_up(&hub, &node).await;
                    }
                    _ => {}
                }
                asked.set(position(node.clone()));
                asking = true;
            },
        }
    }
}

async fn position(node: Node<ElectionMachine>) -> Result<u64, Error> {
    match node.query(Query::Position, ASK_TIMEOUT).await? {
        Answer::Position { revision, .. } => Ok(revision),
        other => Err(odd(&other)),
    }
}

/// Fetches what was missed. Without success the next event or probe tries again.
async fn catch_up(hub: &Hub, node: &Node<ElectionMachine>) {
    loop {
        let Some(after) = hub.through() else {
            return;
        };
        let query = Query::History {
            election: None,
            after,
            max: limits::HISTORY_PAGE_MAX,
        };
        match node.query(query, ASK_TIMEOUT).await {
            Ok(Answer::History(History::Changes {
                changes,
                through,
                last,
            })) => {
                for change in &changes {
                    hub.take_in(change, true);
                }
                if through >= last || changes.is_empty() {
                    return;
                }
            }
            Ok(Answer::History(History::Reset { revision, .. })) => return hub.restart(revision),
            Ok(_) | Err(_) => return,
        }
    }
}

/// An answer that does not belong to its question: a bug.
pub(super) fn odd(answer: &Answer) -> Error {
    Error::new(
        quorate_core::error::Code::Internal,
        format!("an answer of another kind than the question: {answer:?}"),
    )
}
