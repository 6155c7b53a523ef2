//! The container `scatter-gather`: a root or an inner node, or a gate in front of a leaf.

use quorate_core::runtime::{Pattern, Program};
use quorate_scatter_gather::server;
use std::process::ExitCode;

fn main() -> ExitCode {
    let program = Program {
        pattern: Pattern::ScatterGather,
        name: "quorate-scatter-gather",
        version: server::VERSION,
        about: "Scatter a request to every shard, gather one truthful answer",
        serve: "A root or an inner node, with its API",
        sidecar: "A gate in front of the leaf that QUORATE_UPSTREAM names",
    };
    program.main(server::root, server::gate)
}
