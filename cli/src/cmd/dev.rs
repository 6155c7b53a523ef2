//! `quorate dev`: every pattern there is, in one process, to try things out.

use crate::context::{Context, container};
use crate::errors::Outcome;
use clap::Args;
use quorate_core::runtime::listen::Strictness;
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Exit, Pattern, Settings, Spec, Starting, Status, run};
use quorate_leader_election::server as election;
use quorate_scatter_gather::server as scatter;
use quorate_work_queue::server as queue;
use std::fmt::Write as _;
use tokio::sync::watch;

/// Run all patterns in one process on this machine, in memory, to try them out
///
/// These are the work queue, at --listen, leader election, and a root of scatter/gather. With --data-dir they keep their data
/// there and beside it. Open doors are warned of, not refused: never use it where others can reach it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate dev")]
pub(crate) struct Dev {
    /// Where the API of leader election listens; 127.0.0.1:7071, or any free port if --listen is given
    #[arg(long, value_name = "HOST:PORT")]
    election_listen: Option<String>,
    #[command(flatten)]
    flags: ServeFlags,
}

impl Dev {
    pub(crate) fn run(self, _: Context) -> Outcome {
        let settings = Settings::load(Pattern::WorkQueue, &self.flags.values)?;
        let of_election = self.election(&settings)?;
        let of_scatter = self.scatter()?;
        container(settings, |settings, shutdown| async move {
            let queue = run(
                spec(Pattern::WorkQueue, queue::VERSION),
                settings,
                shutdown.clone(),
                |starting| async move {
                    let service = queue::replica_in_memory(starting.clone()).await?;
                    tokio::spawn(greet(starting, service.status.clone(), greeting));
                    Ok(service)
                },
            );
            let election = run(
                spec(Pattern::LeaderElection, election::VERSION),
                of_election,
                shutdown.clone(),
                |starting| async move {
                    let service = election::replica_in_memory(starting.clone()).await?;
                    tokio::spawn(greet(starting, service.status.clone(), election_greeting));
                    Ok(service)
                },
            );
            let root = run(
                spec(Pattern::ScatterGather, scatter::VERSION),
                of_scatter,
                shutdown.clone(),
                |starting| async move {
                    let service = scatter::root(starting.clone()).await?;
                    tokio::spawn(greet(starting, service.status.clone(), scatter_greeting));
                    Ok(service)
                },
            );
            // Whichever ends first takes the others along.
            let ended = |exit| {
                shutdown.order();
                exit
            };
            let (queue, election, root) = tokio::join!(
                async { ended(queue.await) },
                async { ended(election.await) },
                async { ended(root.await) },
            );
            let failed = [queue, election, root]
                .into_iter()
                .find(|exit| *exit != Exit::Ok);
            failed.unwrap_or(Exit::Ok)
        })
    }

    /// The settings of leader election: the same, at ports and in a directory of its own.
    fn election(&self, queue: &Settings) -> Outcome<Settings> {
        let own_ports = self.flags.values.get("listen").is_none();
        let default = if own_ports {
            "127.0.0.1:7071"
        } else {
            "127.0.0.1:0"
        };
        let ops = if own_ports {
            "127.0.0.1:7171"
        } else {
            "127.0.0.1:0"
        };
        let listen = self.election_listen.as_deref().unwrap_or(default);
        let mut values = self.flags.values.clone();
        values = values.with("listen", listen).with("ops_listen", ops);
        if let Some(dir) = &queue.data_dir {
            let mut beside = dir.clone().into_os_string();
            beside.push(".election");
            values = values.with("data_dir", beside.to_string_lossy());
        }
        Ok(Settings::load(Pattern::LeaderElection, &values)?)
    }
}

impl Dev {
    /// The settings of scatter/gather: the same, at ports of its own, or any free ones if --listen is given.
    fn scatter(&self) -> Outcome<Settings> {
        let own_ports = self.flags.values.get("listen").is_none();
        let (listen, ops) = if own_ports {
            ("127.0.0.1:7073", "127.0.0.1:7173")
        } else {
            ("127.0.0.1:0", "127.0.0.1:0")
        };
        let values = self.flags.values.clone();
        let values = values.with("listen", listen).with("ops_listen", ops);
        Ok(Settings::load(Pattern::ScatterGather, &values)?)
    }
}

fn spec(pattern: Pattern, version: &'static str) -> Spec {
    Spec {
        strictness: Strictness::Warn,
        ..Spec::new(pattern, "dev", version)
    }
}

/// Says where everything is, once it can be used.
async fn greet(
    starting: Starting,
    mut status: watch::Receiver<Status>,
    greeting: fn(&Starting) -> String,
) {
    if status.wait_for(|status| status.ready).await.is_ok() {
        eprint!("{}", greeting(&starting));
    }
}

fn scatter_greeting(starting: &Starting) -> String {
    let api = starting.api;
    format!(
        "\nquorate dev: scatter/gather is ready\n\n  API      http://{api}      PUT /v1/fanouts/NAME defines a fan-out\n\n"
    )
}

fn election_greeting(starting: &Starting) -> String {
    let api = starting.api;
    format!(
        "
quorate dev: leader election is ready

  API      http://{api}      REST and gRPC; http://{api}/openapi.json

Lead, and see who leads:

  curl -s -X PUT http://{api}/v1/elections/planner/candidates/me -H 'content-type: application/json' -d '{{\"ttl_ms\":60000,\"wait_ms\":5000}}'
  curl -s http://{api}/v1/elections/planner
  QUORATE_SERVERS=http://{api} quorate election exec planner -- sh -c 'echo leading with $ELECTION_FENCING_TOKEN; sleep 60'

"
    )
}

fn greeting(starting: &Starting) -> String {
    let (api, ops) = (starting.api, starting.ops);
    let kept = match &starting.settings.data_dir {
        Some(dir) => format!("data in {}", dir.display()),
        None => "in memory: gone when this ends".to_owned(),
    };
    let mut text = format!(
        "
quorate dev: the work queue is ready ({kept})

  API      http://{api}      REST and gRPC; http://{api}/openapi.json
  health   http://{ops}/readyz, metrics http://{ops}/metrics

Put a job in, lease it, look at the queue:

  curl -s http://{api}/v1/queues/hello/jobs -H 'content-type: application/json' -d '{{\"payload\":{{\"to\":\"world\"}}}}'
  curl -s http://{api}/v1/queues/hello/leases -H 'content-type: application/json' -d '{{\"worker\":\"me\"}}'
  curl -s http://{api}/v1/queues/hello
"
    );
    if api.port() != Pattern::WorkQueue.api_port() {
        let _ = writeln!(
            text,
            "\nFor the other commands: export QUORATE_SERVERS=http://{api}"
        );
    }
    text.push_str("\nCtrl-C ends it.\n\n");
    text
}
