//! [`Election`]: elections as a Rust program uses them, the same over a cluster, over a replica in this
//! process and in memory.
//!
//! ```no_run
//! # use quorate_leader_election::election::Election;
//! # async fn plan(_: quorate_core::types::FencingToken) {}
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let election = Election::connect("127.0.0.1:7071")?;
//! loop {
//!     let guard = election.campaign("planner").await?; // waits until this process leads
//!     let Err(lost) = guard.run(|token| plan(token)).await else { break };
//!     eprintln!("{lost}"); // `plan` was dropped before anybody else could be elected
//! }
//! # Ok(()) }
//! ```

mod campaign;
mod guard;
mod keeper;
mod lease;

pub use campaign::Campaign;
pub use guard::{Guard, Lost, Why};
pub use lease::HandOver;

#[cfg(feature = "node")]
pub use quorate_core::node::{Config as NodeConfig, StartError};

#[cfg(feature = "client")]
use crate::client::{Client, Config};
use crate::convert::reply::misfit;
use crate::machine::{
    Answer, Command, ElectionSummary, ElectionView, Query, Reply, Settings, Transferring, limits,
};
#[cfg(feature = "node")]
use crate::node::ElectionNode;
use crate::observe::{Begun, Contact, Following};
use crate::service::{Caller, ElectionService, Observation};
use keeper::Keeper;
use quorate_core::clock;
use quorate_core::error::Error;
use quorate_core::types::{FencingToken, Name};
use std::sync::Arc;
use std::time::Duration;

/// Length of a session unless it is set: a dead process's leaderships pass on within about so long.
const TTL: Duration = Duration::from_secs(2);

/// A handle on leader election. Cheap to clone; all clones share one session, so that any number of
/// candidacies cost the renewals of one.
#[derive(Clone)]
pub struct Election {
    service: Arc<dyn ElectionService>,
    timeout: Duration,
    candidate: Name,
    keeper: Arc<Keeper>,
    contact: Arc<Contact>,
    #[cfg(feature = "node")]
    node: Option<ElectionNode>,
}

impl std::fmt::Debug for Election {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Election").finish_non_exhaustive()
    }
}

impl Election {
    /// Over a cluster: its API addresses, separated by commas. Connects with the first call. Must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// `invalid_argument`: no servers, or one that is no address.
    #[cfg(feature = "client")]
    pub fn connect(servers: &str) -> Result<Self, Error> {
        Ok(Self::over(Client::new(&Config::servers(servers))?))
    }

    /// As [`Election::connect`], with a client that was set up otherwise.
    #[cfg(feature = "client")]
    pub fn over(client: Client) -> Self {
        Self::from_service(Arc::new(client))
    }

    /// Over a replica in this process: alone, or one of three or five that form a cluster. The replica
    /// stops with [`Election::shutdown`].
    ///
    /// # Errors
    /// The replica does not start.
    #[cfg(feature = "node")]
    pub async fn embedded(config: NodeConfig) -> Result<Self, StartError> {
        let node = ElectionNode::new(quorate_core::node::Node::start(config).await?);
        Ok(Self {
            node: Some(node.clone()),
            ..Self::from_service(Arc::new(node))
        })
    }

    /// Over a replica of its own that keeps everything in memory: for tests and for trying things out.
    ///
    /// # Errors
    /// The replica does not start.
    #[cfg(feature = "node")]
    pub async fn in_memory() -> Result<Self, StartError> {
        Self::embedded(NodeConfig::in_memory()).await
    }

    /// Over any implementation of the service.
    pub fn from_service(service: Arc<dyn ElectionService>) -> Self {
        Self {
            keeper: Arc::new(Keeper::new(Arc::clone(&service), TTL)),
            contact: Arc::new(Contact::new(Arc::clone(&service))),
            service,
            timeout: Caller::default().timeout,
            candidate: own_name(),
            #[cfg(feature = "node")]
            node: None,
        }
    }

    /// Length of the session, 2 s by default: a process that dies in silence is followed after so long.
    /// Handles made by this share a session of their own.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self {
            keeper: Arc::new(Keeper::new(Arc::clone(&self.service), ttl)),
            ..self
        }
    }

    /// Name of this process as a candidate; host name, process id and a number by default. Unique within
    /// an election.
    ///
    /// # Errors
    /// It is no valid name.
    pub fn candidate(self, id: &str) -> Result<Self, Error> {
        Ok(Self {
            candidate: Name::new(id)?,
            ..self
        })
    }

    /// How long one operation may take, retries included. 10 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The service beneath, for operations that this type has no method for.
    pub fn service(&self) -> Arc<dyn ElectionService> {
        Arc::clone(&self.service)
    }

    /// Stands for an election: awaiting it waits until this process leads.
    pub fn campaign(&self, election: &str) -> Campaign {
        Campaign::new(self.clone(), election)
    }

    /// What happens to an election: first its state, then each change, without a gap, whatever becomes of
    /// connections and servers. One need not be a candidate, and the election need not exist.
    ///
    /// It says [`Observed::Unknown`](crate::service::Observed::Unknown) when what it told last may not stand
    /// any longer: the cluster has not been heard of for 1.5 s, or the lease is over that this handle holds in
    /// the election. Believe nothing then until the next `State`.
    ///
    /// # Errors
    /// `invalid_argument`: no valid name; what the service refuses.
    pub async fn observe(&self, election: &str) -> Result<Observation, Error> {
        let election = Name::new(election)?;
        let begun = Begun {
            election: election.clone(),
            after: None,
            asked: clock::boottime(),
        };
        let observation = self.observe_after(election.clone(), None).await?;
        let keeper = Arc::clone(&self.keeper);
        let trusted = move || keeper.trusted_until(&election);
        Ok(self.contact.doubting(begun, observation, trusted))
    }

    /// As [`Election::observe`], from after a revision, and without doubt: for those who believe a lease and
    /// not an observation.
    async fn observe_after(
        &self,
        election: Name,
        after: Option<u64>,
    ) -> Result<Observation, Error> {
        let handle = self.clone();
        let begin = move |after| {
            let (handle, election) = (handle.clone(), election.clone());
            async move {
                let caller = handle.caller();
                handle.service.observe(&caller, election, after).await
            }
        };
        let mut following = Following::new(begin, after);
        following.try_open().await?;
        Ok(following.stream())
    }

    /// Everything about an election, linearizably.
    ///
    /// # Errors
    /// `not_found`; what the service answers.
    pub async fn get(&self, election: &str) -> Result<ElectionView, Error> {
        let election = Name::new(election)?;
        match self.query(Query::Election { election }).await? {
            Answer::Election(view) => Ok(view),
            _ => Err(misfit()),
        }
    }

    /// A page of elections by name, those after `after` whose names begin with `prefix`; and whether
    /// there are more.
    ///
    /// # Errors
    /// What the service answers.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<Name>,
    ) -> Result<(Vec<ElectionSummary>, bool), Error> {
        let query = Query::Elections {
            after,
            prefix: prefix.into(),
            max: limits::PAGE_MAX,
        };
        match self.query(query).await? {
            Answer::Elections { items, more, .. } => Ok((items, more)),
            _ => Err(misfit()),
        }
    }

    /// Whether a token is that of the present leadership. Linearizable.
    ///
    /// # Errors
    /// `not_found`; what the service answers.
    pub async fn check(&self, election: &str, token: FencingToken) -> Result<bool, Error> {
        let election = Name::new(election)?;
        match self.query(Query::Check { election, token }).await? {
            Answer::Current { current, .. } => Ok(current),
            _ => Err(misfit()),
        }
    }

    /// Orders a hand-over: the leader has `drain` to finish and acknowledge; then `to` follows. Answers
    /// when it is ordered; observe the election after the answer's revision to see it happen.
    ///
    /// # Errors
    /// `not_a_candidate`, `not_found`; what the service answers.
    pub async fn transfer(
        &self,
        election: &str,
        to: &str,
        drain: Duration,
    ) -> Result<Transferring, Error> {
        let command = Command::Transfer {
            election: Name::new(election)?,
            to: Name::new(to)?,
            drain_ms: u64::try_from(drain.as_millis()).unwrap_or(u64::MAX),
            token: None,
        };
        match self.execute(command).await? {
            Reply::Transferring(transferring) => Ok(transferring),
            _ => Err(misfit()),
        }
    }

    /// Sets an election up, or replaces its settings; `None` forgets them.
    ///
    /// # Errors
    /// What the service refuses.
    pub async fn configure(&self, election: &str, settings: Option<Settings>) -> Result<(), Error> {
        let election = Name::new(election)?;
        match self
            .execute(Command::Configure { election, settings })
            .await?
        {
            Reply::Done { .. } => Ok(()),
            _ => Err(misfit()),
        }
    }

    /// Ends this handle's session: its candidacies end, its leaderships pass on at once. Guards that are
    /// still around lead no longer from before this is sent.
    pub async fn close(&self) {
        self.keeper.close().await;
    }

    /// [`Election::close`], and the end of the replica of [`Election::embedded`], in order.
    pub async fn shutdown(&self) {
        self.close().await;
        #[cfg(feature = "node")]
        if let Some(node) = &self.node {
            node.replica().shutdown().await;
        }
    }

    async fn execute(&self, mut command: Command) -> Result<Reply, Error> {
        crate::check::command(&mut command)?;
        let executed = self.service.execute(&self.caller(), command).await?;
        Ok(executed.reply)
    }

    async fn query(&self, query: Query) -> Result<Answer, Error> {
        self.service.query(&self.caller(), query).await
    }

    fn caller(&self) -> Caller {
        Caller {
            timeout: self.timeout,
            ..Caller::default()
        }
    }
}

/// A name for a candidate that was given none: host and process for people to find it, and a number by
/// chance, since containers may share a host name and the process id 1.
fn own_name() -> Name {
    let system = rustix::system::uname();
    let host: String = system
        .nodename()
        .to_string_lossy()
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(64)
        .collect();
    let host = if host.is_empty() { "host".into() } else { host };
    let (pid, chance) = (std::process::id(), rand::random::<u32>());
    Name::new(&format!("{host}-{pid}-{chance:08x}"))
        .expect("it begins with a letter or digit, has only allowed characters and is short")
}
