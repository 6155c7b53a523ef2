//! The container `leader-election`: a replica with its API, or the API beside an application.

use quorate_core::runtime::{Pattern, Program};
use quorate_leader_election::server;
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = Program {
        pattern: Pattern::LeaderElection,
        name: "quorate-leader-election",
        version: server::VERSION,
        about: "Replicated leader election",
        serve: "A replica of the elections, with its API",
        sidecar: "The API beside an application, in front of the cluster that QUORATE_SERVERS names",
    };
    program.main(server::replica, server::sidecar)
}
