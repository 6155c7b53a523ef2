//! Leader election as an async service: what REST, gRPC, the Rust API and the sidecar talk to.

use crate::machine::{
    Answer, Change, Command, ElectionView, Leadership, Query, Renewal, Renewed, Reply,
};
use async_trait::async_trait;
use futures::stream::BoxStream;
use quorate_core::error::Error;
pub use quorate_core::service::{Caller, ClusterInfo};
use quorate_core::types::Name;
use std::sync::Arc;

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The answer.
    pub reply: Reply,
    /// It is the remembered answer of an earlier execution under the same key: a grant or session in
    /// it has **no validity until renewed**.
    pub replayed: bool,
}

/// What an observer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The full state: comes first when no revision was given, whenever the revision is older than what
    /// is kept or not of this cluster, and after `Unknown`. An election that does not exist (yet) is shown
    /// vacant, with `changed` 0. Go on from its `revision`.
    State(ElectionView),
    /// The next change. Its `previous` is the revision of the change of this election that was told
    /// before, or was last before the revision that was given.
    Change(Arc<Change>),
    /// What was told may not stand any longer: the lease is over of whoever leads through whoever tells
    /// this, or that one has not heard of the cluster for 1.5 s. Changes that follow are what happened
    /// meanwhile; once they are all told, `State` says how it stands. Told by sidecars and by the Rust
    /// library.
    Unknown,
}

impl Observed {
    /// Up to which revision this tells.
    pub fn revision(&self) -> Option<u64> {
        match self {
            Self::State(view) => Some(view.revision),
            Self::Change(change) => Some(change.revision),
            Self::Unknown => None,
        }
    }

    /// Who leads as of this revision.
    pub fn leader(&self) -> Option<&Leadership> {
        match self {
            Self::State(view) => view.leader.as_deref(),
            Self::Change(change) => change.leader.as_deref(),
            Self::Unknown => None,
        }
    }
}

/// What happens to one election, without a gap, for as long as it is listened to. An error ends it;
/// observe again after the last revision, perhaps elsewhere.
pub type Observation = BoxStream<'static, Result<Observed, Error>>;

/// Leader election, wherever it runs. A replica in this process and the client of a cluster implement
/// it.
#[async_trait]
pub trait ElectionService: Send + Sync + 'static {
    /// Logs a command and answers once it is applied, hence synced on a majority. [`Caller::wait`] is
    /// not used: no command waits (see [`Command::Campaign`]). Commands of the leader itself are
    /// refused.
    async fn execute(&self, caller: &Caller, command: Command) -> Result<Executed, Error>;

    /// Answers a question, linearizably.
    async fn query(&self, caller: &Caller, query: Query) -> Result<Answer, Error>;

    /// Renews sessions. The acknowledgement counts from before the caller sent it.
    async fn renew(&self, caller: &Caller, renewal: Renewal) -> Result<Renewed, Error>;

    /// What happens to an election after a revision; from its present state when none is given. An
    /// endpoint that is behind the revision waits until it is not. One need not be a candidate, and the
    /// election need not exist.
    async fn observe(
        &self,
        caller: &Caller,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error>;

    /// Opens a client stream in the log: its number goes into `OpKey::Stream` with every operation
    /// that shall be executed once.
    async fn open_stream(&self, _caller: &Caller) -> Result<u64, Error> {
        Err(Error::unimplemented("numbering requests in a stream"))
    }

    /// How this endpoint stands.
    async fn cluster(&self) -> Result<ClusterInfo, Error>;
}
