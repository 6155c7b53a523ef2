//! `quorate dev`: every pattern there is, in one process, to try things out.

use crate::context::{Context, container};
use crate::errors::Outcome;
use clap::Args;
use quorate_core::runtime::listen::Strictness;
use quorate_core::runtime::settings::ServeFlags;
use quorate_core::runtime::{Pattern, Settings, Spec, Starting, Status, run};
use quorate_work_queue::server;
use std::fmt::Write as _;
use tokio::sync::watch;

/// Run all patterns in one process on this machine, in memory, to try them out
///
/// Today that is the work queue. With --data-dir it keeps its data. Open doors are warned of, not
/// refused: never use it where others can reach it.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  quorate dev")]
pub(crate) struct Dev {
    #[command(flatten)]
    flags: ServeFlags,
}

impl Dev {
    pub(crate) fn run(self, _: Context) -> Outcome {
        let settings = Settings::load(Pattern::WorkQueue, &self.flags.values)?;
        container(settings, |settings, shutdown| {
            let spec = Spec {
                strictness: Strictness::Warn,
                ..Spec::new(Pattern::WorkQueue, "dev", server::VERSION)
            };
            run(spec, settings, shutdown, |starting| async move {
                let service = server::replica_in_memory(starting.clone()).await?;
                tokio::spawn(greet(starting, service.status.clone()));
                Ok(service)
            })
        })
    }
}

/// Says where everything is, once it can be used.
async fn greet(starting: Starting, mut status: watch::Receiver<Status>) {
    if status.wait_for(|status| status.ready).await.is_ok() {
        eprint!("{}", greeting(&starting));
    }
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
