//! From the flags of a client command to the cluster, and the questions most commands ask.

use crate::errors::{Exit, Failure, Outcome};
use quorate_core::error::Error;
use quorate_core::runtime::settings::ClientFlags;
use quorate_core::runtime::{Pattern, Settings};
use quorate_core::types::Name;
use quorate_leader_election::election::Election;
use quorate_work_queue::agent::Blobs;
use quorate_work_queue::client::{Client, Config};
use quorate_work_queue::machine::{
    Answer, BatchId, BatchView, Command, JobId, JobView, Query, QueueView, Reply,
};
use quorate_work_queue::queue::Queue;
use quorate_work_queue::service::{Caller, QueueService};
use std::sync::Arc;

/// A connection to the cluster that the settings name.
#[derive(Clone)]
pub(crate) struct Remote {
    service: Arc<dyn QueueService>,
    blobs: Option<Blobs>,
}

impl Remote {
    /// As flags, environment and file say. Connects with the first request.
    pub(crate) fn open(flags: &ClientFlags) -> Outcome<Self> {
        let settings = Settings::load(Pattern::WorkQueue, &flags.values)?;
        let blobs = settings.blobs.as_ref().map(|url| Blobs::open(&url.0));
        Ok(Self {
            service: Arc::new(client(&settings, settings.servers.0.clone())?),
            blobs: blobs
                .transpose()
                .map_err(|error| Failure::config(error.to_string()))?,
        })
    }

    /// The blob store, if the settings name one.
    pub(crate) fn blobs(&self) -> Option<&Blobs> {
        self.blobs.as_ref()
    }

    /// Has a command carried out.
    pub(crate) async fn execute(&self, command: Command) -> Outcome<Reply> {
        Ok(self.service.execute(&Caller::default(), command).await?)
    }

    /// The same, where the answer is a number of jobs.
    pub(crate) async fn count(&self, command: Command) -> Outcome<u64> {
        match self.execute(command).await? {
            Reply::Count(count) => Ok(count),
            _ => Err(unexpected()),
        }
    }

    /// Asks a question. The error keeps its code, for commands to which "not found" is an answer.
    pub(crate) async fn ask(&self, query: Query) -> Result<Answer, Error> {
        self.service.query(&Caller::default(), query).await
    }

    /// One queue.
    pub(crate) async fn queue(&self, queue: &Name) -> Outcome<QueueView> {
        let queue = queue.clone();
        match self.ask(Query::Queue { queue }).await? {
            Answer::Queue(view) => Ok(*view),
            _ => Err(unexpected()),
        }
    }

    /// One job.
    pub(crate) async fn job(&self, job: JobId) -> Outcome<JobView> {
        match self.ask(Query::Job { job }).await? {
            Answer::Job(view) => Ok(*view),
            _ => Err(unexpected()),
        }
    }

    /// One batch.
    pub(crate) async fn batch(&self, batch: BatchId) -> Outcome<BatchView> {
        match self.ask(Query::Batch { batch }).await? {
            Answer::Batch(view) => Ok(*view),
            _ => Err(unexpected()),
        }
    }
}

/// Leader election of the cluster that the settings name, as the Rust API has it.
pub(crate) fn election(flags: &ClientFlags) -> Outcome<Election> {
    let settings = Settings::load(Pattern::LeaderElection, &flags.values)?;
    let client = election_client(&settings, settings.servers.0.clone())?;
    Ok(Election::over(client))
}

/// One server of an election alone, for questions about itself.
pub(crate) fn one_election(
    settings: &Settings,
    server: &str,
) -> Outcome<quorate_leader_election::client::Client> {
    election_client(settings, vec![server.to_owned()])
}

fn election_client(
    settings: &Settings,
    servers: Vec<String>,
) -> Outcome<quorate_leader_election::client::Client> {
    let client = quorate_leader_election::client::Client::new(&Config {
        servers,
        token: settings.servers_token()?,
        tls: settings.upstream(),
    });
    client.map_err(|error| Failure::config(error.to_string()))
}

/// An answer of another kind than the question: client and server are of different versions.
pub(crate) fn unexpected() -> Failure {
    Failure::new(
        Exit::Temporary,
        "the server's answer does not fit the question; are quorate and the server of the same version?",
    )
}

/// The queue of the cluster that the settings name, as the Rust API has it.
pub(crate) fn queue(settings: &Settings) -> Outcome<Queue> {
    Ok(Queue::from_service(Arc::new(client(
        settings,
        settings.servers.0.clone(),
    )?)))
}

/// One server alone, for questions about itself.
pub(crate) fn one(settings: &Settings, server: &str) -> Outcome<Client> {
    client(settings, vec![server.to_owned()])
}

fn client(settings: &Settings, servers: Vec<String>) -> Outcome<Client> {
    Client::new(&Config {
        servers,
        token: settings.servers_token()?,
        tls: settings.upstream(),
    })
    .map_err(|error| Failure::config(error.to_string()))
}
