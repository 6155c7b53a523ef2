//! `transcode`: a film in chunks on many workers. The library's documentation says how.

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};
use quorate_work_queue::agent::supervisor;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use transcode::demo::{self, Verdict, family};
use transcode::ffmpeg::{Failure, Tools, tether};
use transcode::film::{test_film, verify};
use transcode::job::prepared::plan_film;
use transcode::{item, report, run, say};

/// EX_UNAVAILABLE of sysexits.h: a tool is missing.
const EXIT_UNAVAILABLE: u8 = 69;

/// How much a work item and its ffmpeg step back behind other processes of the machine.
const NICE: i32 = 10;

/// Transcodes a film in chunks on many workers, through crashes.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Transcode a film over a queue that runs already
    Run(run::Options),
    /// Start a queue and workers, transcode a film, and kill some of them meanwhile
    Demo(demo::Options),
    /// Do one work item: the command of `quorate work transcode -- transcode item`
    Item,
    /// Make the film that flashes and beeps once a second
    TestFilm {
        /// The film to write
        output: PathBuf,
        /// Its length
        #[arg(long, default_value_t = test_film::SECONDS, value_parser = clap::value_parser!(u32).range(1..=3600))]
        seconds: u32,
    },
    /// Compare a transcoded film with its source
    Verify {
        /// The transcoded film
        film: PathBuf,
        /// What it was made from
        #[arg(long)]
        source: PathBuf,
    },
    /// Run a program that dies with the process that asked for it
    #[command(name = tether::SUBCOMMAND, hide = true)]
    Tether {
        parent: i32,
        #[arg(last = true)]
        program: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    // A worker agent within a program that uses this one supervises its commands through it.
    if let Some(code) = supervisor::intercept() {
        return code;
    }
    match execute(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("transcode: {error:#}");
            match error.downcast_ref::<Failure>() {
                Some(Failure::Unreadable(_)) => ExitCode::from(item::EXIT_UNREADABLE),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Tether { parent, program } => Err(tether::become_program(parent, &program)),
        Command::Item => Ok(do_item()),
        Command::TestFilm { output, seconds } => with_tools(|tools| {
            test_film::make(tools, seconds, &output)?;
            Ok(Verdict::Passed)
        }),
        Command::Verify { film, source } => with_tools(|tools| {
            let plan = plan_film(tools, &source, None)?;
            let checks = verify::verify(tools, &plan, &source, &film)?;
            say::line(report::checks(&checks));
            Ok(match verify::all_passed(&checks) {
                true => Verdict::Passed,
                false => Verdict::Failed,
            })
        }),
        Command::Run(options) => with_tools(|tools| until_signalled(run::run(tools, &options))),
        Command::Demo(options) => with_tools(|tools| until_signalled(demo::run(tools, &options))),
    }
}

/// The worker's command. Its last line on standard error is the reason that the queue records.
fn do_item() -> ExitCode {
    // Encoding takes all it can get: let it give way to the queue that may run beside it.
    let _best_effort = rustix::process::nice(NICE);
    let done = Tools::find()
        .and_then(|tools| item::Contract::from_env().map(|contract| (tools, contract)))
        .and_then(|(tools, contract)| item::run(&tools, &contract));
    match done {
        Ok(made) => {
            let (frames, bytes, seconds) = (made.frames, made.bytes, made.seconds);
            say::line(format_args!(
                "{frames} frames, {bytes} bytes, {seconds:.1} s"
            ));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(match failure {
                Failure::Unreadable(_) => item::EXIT_UNREADABLE,
                Failure::Machine(_) => item::EXIT_TRY_AGAIN,
            })
        }
    }
}

fn with_tools(work: impl FnOnce(&Tools) -> anyhow::Result<Verdict>) -> anyhow::Result<ExitCode> {
    let tools = match Tools::find() {
        Ok(tools) => tools.tethered(tether::this_binary()?),
        Err(failure) => {
            eprintln!("transcode: {failure}");
            return Ok(ExitCode::from(EXIT_UNAVAILABLE));
        }
    };
    Ok(match work(&tools)? {
        Verdict::Passed => ExitCode::SUCCESS,
        Verdict::Failed => ExitCode::FAILURE,
    })
}

/// Runs on this thread, which lives as long as the process, so that tethered children may be started
/// here. On Ctrl-C, SIGTERM and the end of the terminal everything that was started is ended.
fn until_signalled(work: impl Future<Output = anyhow::Result<Verdict>>) -> anyhow::Result<Verdict> {
    family::adopt_orphans();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            outcome = work => outcome,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("ended by SIGTERM"),
            _ = hang_up.recv() => bail!("ended by SIGHUP"),
        }
    });
    family::end();
    runtime.shutdown_background();
    outcome
}
