//! The container `work-queue`: a replica with its API, or the API beside an application.

use quorate_core::runtime::{Pattern, Program};
use quorate_work_queue::server;
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = Program {
        pattern: Pattern::WorkQueue,
        name: "quorate-work-queue",
        version: server::VERSION,
        about: "The replicated work queue",
        serve: "A replica of the queue, with its API",
        sidecar: "The API beside an application, in front of the cluster that QUORATE_SERVERS names",
    };
    program.main(server::replica, server::sidecar)
}
