//! The supervisor of commands as a program of its own, for programs that embed the worker agent and
//! cannot be started as it themselves (`agent::Config::helper`). `quorate` and the containers carry it
//! inside.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate_work_queue::agent::supervisor::main(std::env::args_os().skip(1))
}
