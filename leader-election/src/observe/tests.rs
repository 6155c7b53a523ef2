//! Proves when doubt begins and ends, at a cluster that answers as a test wants it to.

use super::{Begun, Contact};
use crate::machine::{
    Answer, Change, Command, ElectionView, History, Query, Renewal, Renewed, What,
};
use crate::service::{Caller, ClusterInfo, ElectionService, Executed, Observation, Observed};
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use quorate_core::clock;
use quorate_core::error::{Code, Error};
use quorate_core::types::{LogTime, Name};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

const PATIENCE: Duration = Duration::from_secs(60);

fn election() -> Name {
    Name::new("e").unwrap()
}

fn state(changed: u64, revision: u64) -> ElectionView {
    ElectionView {
        changed,
        ..ElectionView::absent(&election(), revision, LogTime(0))
    }
}

fn change(revision: u64, what: What) -> Arc<Change> {
    Arc::new(Change {
        revision,
        previous: 0,
        time: LogTime(0),
        election: election(),
        what,
        leader: None,
    })
}

/// What the cluster knows.
#[derive(Default)]
struct Known {
    reachable: bool,
    state: Option<ElectionView>,
    past: Vec<Arc<Change>>,
    revision: u64,
    /// How often it was asked for the state.
    asked: u32,
}

/// A cluster that can be looked at only.
#[derive(Default)]
struct Cluster(Mutex<Known>);

impl Cluster {
    fn set(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.0.lock().unwrap());
    }

    async fn is_asked_again(&self) {
        let before = self.0.lock().unwrap().asked;
        let asked = async {
            while self.0.lock().unwrap().asked < before + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap();
    }
}

#[async_trait]
impl ElectionService for Cluster {
    async fn execute(&self, _: &Caller, _: Command) -> Result<Executed, Error> {
        unreachable!("nobody changes anything")
    }

    async fn query(&self, _: &Caller, query: Query) -> Result<Answer, Error> {
        let mut known = self.0.lock().unwrap();
        if !known.reachable {
            return Err(Error::new(Code::NoQuorum, "cut off"));
        }
        let revision = known.revision;
        Ok(match query {
            Query::Position => Answer::Position {
                revision,
                time: LogTime(0),
                elections: 0,
                sessions: 0,
                candidacies: 0,
            },
            Query::History { after, .. } if after <= revision => {
                let changes = known.past.iter();
                Answer::History(History::Changes {
                    changes: changes.filter(|c| c.revision > after).cloned().collect(),
                    through: revision,
                    last: revision,
                })
            }
            Query::History { .. } => {
                known.asked += 1;
                Answer::History(History::Reset {
                    state: known.state.clone(),
                    revision,
                })
            }
            other => unreachable!("{other:?}"),
        })
    }

    async fn renew(&self, _: &Caller, _: Renewal) -> Result<Renewed, Error> {
        unreachable!("nobody holds a session")
    }

    async fn observe(&self, _: &Caller, _: Name, _: Option<u64>) -> Result<Observation, Error> {
        unreachable!("the test tells itself")
    }

    async fn cluster(&self) -> Result<ClusterInfo, Error> {
        unreachable!("nobody asks")
    }
}

type Tell = mpsc::UnboundedSender<Result<Observed, Error>>;

/// A cluster, who tells what happens there, and what is told with doubt.
fn observed() -> (Arc<Cluster>, Tell, Observation) {
    let cluster = Arc::new(Cluster::default());
    cluster.set(|known| {
        known.reachable = true;
        known.revision = 5;
        known.state = Some(state(5, 5));
    });
    let service = Arc::clone(&cluster);
    let contact = Arc::new(Contact::new(service));
    let (tell, told) = mpsc::unbounded_channel();
    let begun = Begun {
        election: election(),
        after: None,
        asked: clock::boottime(),
    };
    let told = UnboundedReceiverStream::new(told).boxed();
    tell.send(Ok(Observed::State(state(5, 5)))).unwrap();
    (cluster, tell, contact.doubting(begun, told, || None))
}

async fn next(observation: &mut Observation) -> Observed {
    let observed = tokio::time::timeout(PATIENCE, observation.next()).await;
    observed.expect("told in time").unwrap().unwrap()
}

#[tokio::test]
async fn it_is_known_again_when_all_is_told_that_happened_meanwhile() {
    let (cluster, tell, mut observation) = observed();
    assert_eq!(next(&mut observation).await, Observed::State(state(5, 5)));
    cluster.set(|known| known.reachable = false);
    assert_eq!(next(&mut observation).await, Observed::Unknown);
    cluster.set(|known| {
        known.reachable = true;
        known.revision = 9;
        known.state = Some(state(8, 9));
    });
    let told = tokio::spawn(async move { (next(&mut observation).await, observation) });
    cluster.is_asked_again().await;
    assert!(!told.is_finished(), "something was left out");
    let elected = change(8, What::Elected);
    tell.send(Ok(Observed::Change(Arc::clone(&elected))))
        .unwrap();
    let (observed, mut observation) = told.await.unwrap();
    assert_eq!(observed, Observed::Change(elected));
    assert_eq!(next(&mut observation).await, Observed::State(state(8, 9)));
}

#[tokio::test]
async fn an_election_that_is_gone_is_known_again_too() {
    let (cluster, tell, mut observation) = observed();
    assert_eq!(next(&mut observation).await, Observed::State(state(5, 5)));
    cluster.set(|known| known.reachable = false);
    assert_eq!(next(&mut observation).await, Observed::Unknown);
    let removed = change(7, What::Removed);
    cluster.set(|known| {
        known.reachable = true;
        known.revision = 7;
        known.state = None;
        known.past.push(Arc::clone(&removed));
    });
    let told = tokio::spawn(async move { (next(&mut observation).await, observation) });
    cluster.is_asked_again().await;
    assert!(!told.is_finished(), "its end was left out");
    tell.send(Ok(Observed::Change(Arc::clone(&removed))))
        .unwrap();
    let (observed, mut observation) = told.await.unwrap();
    assert_eq!(observed, Observed::Change(removed));
    let Observed::State(shown) = next(&mut observation).await else {
        panic!("not a state");
    };
    assert!(shown.as_of > LogTime(0), "as of now");
    assert_eq!(shown, ElectionView::absent(&election(), 7, shown.as_of));
}

#[tokio::test]
async fn the_doubt_of_whoever_tells_is_its_own_to_end() {
    // Proves: a sidecar that does not trust the lease of its candidate any more is not overruled by a cluster
    // that still shows it.
    let (cluster, tell, mut observation) = observed();
    assert_eq!(next(&mut observation).await, Observed::State(state(5, 5)));
    for _ in 0..2 {
        tell.send(Ok(Observed::Unknown)).unwrap();
    }
    assert_eq!(next(&mut observation).await, Observed::Unknown);
    assert!(
        next(&mut observation).now_or_never().is_none(),
        "once is enough"
    );
    let elected = change(6, What::Elected);
    tell.send(Ok(Observed::Change(Arc::clone(&elected))))
        .unwrap();
    assert_eq!(next(&mut observation).await, Observed::Change(elected));
    assert!(next(&mut observation).now_or_never().is_none());
    cluster.set(|known| assert_eq!(known.asked, 0));
    tell.send(Ok(Observed::State(state(6, 6)))).unwrap();
    assert_eq!(next(&mut observation).await, Observed::State(state(6, 6)));
}
