//! Real containers on the Docker engine of this host: the images as `make images` makes them, on private networks, as an
//! operator runs them.
//!
//! Each scenario is one row of [`SCENARIOS`] and leaves nothing behind, whether it passes or not. They run one after the
//! other, because the engine's host is shared and what is measured is behaviour, not speed.

mod cluster;
mod compose;
mod docker;
mod election;
mod faults;
mod image;
mod init;
mod limits;
mod refusals;
mod rolling;

use futures::future::BoxFuture;
use quorate_core::runtime::Pattern;
use std::time::{Duration, Instant};

pub use docker::engine;

/// One test.
pub struct Scenario {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What it proves.
    pub proves: &'static str,
    /// No run of it takes longer unless it hangs.
    pub limit: Duration,
    run: fn(Images) -> BoxFuture<'static, anyhow::Result<String>>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The images under test.
#[derive(Clone, Debug)]
pub struct Images {
    /// Their tag.
    pub tag: String,
}

impl Images {
    fn work_queue(&self) -> (Pattern, String) {
        self.of(Pattern::WorkQueue)
    }

    fn leader_election(&self) -> (Pattern, String) {
        self.of(Pattern::LeaderElection)
    }

    fn of(&self, pattern: Pattern) -> (Pattern, String) {
        (pattern, format!("quorate/{pattern}:{}", self.tag))
    }
}

macro_rules! scenario {
    ($name:literal, $seconds:literal, $run:path, $proves:literal) => {
        Scenario {
            name: $name,
            proves: $proves,
            limit: Duration::from_secs($seconds),
            run: |images| Box::pin($run(images)),
        }
    };
}

/// All of them, in the order in which they run.
pub static SCENARIOS: &[Scenario] = &[
    scenario!(
        "image",
        60,
        image::from_outside,
        "the image runs as uid 65532 with a read-only root and no capability, becomes healthy, drains on docker stop and exits 0; a wrong setting exits 78"
    ),
    scenario!(
        "process-one",
        60,
        init::process_one,
        "as process 1 of an application's container the binary reaps orphans, passes SIGTERM on and exits with the application's code"
    ),
    scenario!(
        "faults",
        180,
        faults::each_in_turn,
        "under load, each node is killed, paused and cut off in turn, the leader included: no acknowledged job is lost or done twice"
    ),
    scenario!(
        "election",
        180,
        election::one_at_a_time,
        "while each node is killed, paused and cut off in turn, candidates never believe to lead at once, tokens grow, and somebody leads again"
    ),
    scenario!(
        "rolling-restart",
        120,
        rolling::restart,
        "all nodes are restarted one after the other under load, and no operation fails at the client"
    ),
    scenario!(
        "full-disk",
        120,
        limits::full_disk,
        "a full data volume of one node costs nothing; of all nodes it stops acknowledgements, not processes, and space given back mends it"
    ),
    scenario!(
        "memory-limit",
        120,
        limits::memory,
        "a queue with a byte limit refuses what does not fit instead of outgrowing its container's memory"
    ),
    scenario!(
        "peer-refusals",
        120,
        refusals::strangers,
        "a node with another authority's certificate, another cluster's, or none at all never gets in, and the cluster goes on"
    ),
    scenario!(
        "compose-queue",
        180,
        compose::work_queue,
        "the Compose file of the queue comes up by one command, and its workers do the producer's jobs"
    ),
    scenario!(
        "compose-beside",
        180,
        compose::beside,
        "an application without a change does jobs by the agent beside it, on localhost"
    ),
    scenario!(
        "compose-election",
        180,
        compose::election,
        "the Compose file of leader election comes up by one command, and both instances of the application lead in turn"
    ),
    scenario!(
        "compose-transcode",
        240,
        compose::transcode,
        "the transcoding pipeline comes up by one command, and the film passes every check"
    ),
    scenario!(
        "compose-search",
        180,
        compose::search,
        "the search comes up by one command, six leaves behind gates and a root, and the client gets a complete answer"
    ),
];

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    /// What it found, or why it failed.
    pub result: Result<String, String>,
    /// How long it took.
    pub took: Duration,
}

impl Scenario {
    /// Runs it to its end or its limit.
    pub async fn run(&self, images: &Images) -> Ended {
        let begin = Instant::now();
        // A task of its own: a failed assertion fails the scenario, and what it made is removed all the same.
        let task = tokio::spawn((self.run)(images.clone()));
        let abort = task.abort_handle();
        let result = match tokio::time::timeout(self.limit, task).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) => Err(format!("{error:#}")),
            Ok(Err(panic)) => Err(panic.to_string()),
            Err(_) => {
                abort.abort();
                Err(format!("not over after {:?}", self.limit))
            }
        };
        Ended {
            result,
            took: begin.elapsed(),
        }
    }
}
