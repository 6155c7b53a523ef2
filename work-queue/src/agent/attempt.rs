//! One attempt by a command, from its files to its outcome.

use super::Setup;
use super::board::{Board, Entry};
use super::checkpoint::{self, Checkpoints};
use super::files::{self, FileError};
use super::process::{Exit, Process};
use super::progress::parse::Parser;
use super::progress::tail::Tail;
use super::workdir::AttemptDir;
use crate::machine::{Lease, Settlement, limits};
use crate::worker::{Context, Stop, cut};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Exit code of a command that wants another attempt (EX_TEMPFAIL of sysexits.h).
const EXIT_RETRY: i32 = 75;
/// Exit code of a command for which no attempt can succeed (EX_DATAERR of sysexits.h).
const EXIT_DEAD: i32 = 65;

/// The progress file is looked at so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// The checkpoint directory is looked at so often: a checkpoint is a write to the log.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// How an attempt went wrong before or after its command.
enum Trouble {
    Files(&'static str, FileError),
    Io(&'static str, io::Error),
    /// It was told to stop.
    Stopped,
}

/// Does one job with the configured command.
pub(super) async fn run(
    setup: &Setup,
    board: &Board,
    lease: Lease,
    context: Context,
) -> Settlement {
    let entry = board.begin(context.slot(), &lease);
    let attempt = Attempt {
        setup,
        entry: &entry,
        lease: &lease,
        context: &context,
    };
    let settlement = match attempt.run().await {
        Ok(settlement) => settlement,
        Err(trouble) => trouble.settlement(),
    };
    entry.end(&words(&settlement, &context));
    settlement
}

struct Attempt<'a> {
    setup: &'a Setup,
    entry: &'a Entry<'a>,
    lease: &'a Lease,
    context: &'a Context,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Settlement, Trouble> {
        let dir = AttemptDir::create(self.setup.dir.path(), self.lease)
            .map_err(|error| Trouble::Io("making the work directory", error))?;
        tokio::select! {
            prepared = self.prepare(&dir) => prepared?,
            () = self.context.cancelled() => return Err(Trouble::Stopped),
        }
        let prefix = files::prefix(self.lease);
        let mut checkpoints = Checkpoints::new(&dir.checkpoint(), &prefix);
        let mut process = Process::start(
            &self.setup.helper,
            &self.setup.argv,
            dir.path(),
            dir.env(self.lease),
        )
        .await
        .map_err(|error| Trouble::Io("starting the command", error))?;
        let exit = self.attend(&mut process, &dir, &mut checkpoints).await;
        let exit = exit.map_err(|error| Trouble::Io("the command", error))?;
        let log_tail = process.log_tail();
        if exit == Exit::Code(0) {
            return self.complete(&dir, &prefix).await;
        }
        self.save(&mut checkpoints, true).await;
        if self.context.is_cancelled() {
            return Ok(Settlement::Release);
        }
        Ok(failed(exit, &log_tail))
    }

    async fn prepare(&self, dir: &AttemptDir) -> Result<(), Trouble> {
        let blobs = self.setup.blobs.as_ref();
        files::fetch_inputs(blobs, &self.lease.inputs, &dir.input())
            .await
            .map_err(|error| Trouble::Files("fetching the inputs", error))?;
        if let Some(batch) = self.lease.joins {
            let fetch = blobs.filter(|_| self.setup.fetch_children);
            files::write_manifest(&*self.context.service, batch, dir, fetch)
                .await
                .map_err(|error| Trouble::Files("fetching what the batch made", error))?;
        }
        if let Some(data) = &self.lease.checkpoint {
            checkpoint::restore(data, &dir.checkpoint(), blobs)
                .await
                .map_err(|error| Trouble::Files("restoring the checkpoint", error))?;
        }
        Ok(())
    }

    /// Waits for the command, and sees to its progress, its checkpoints and its end if it must stop.
    async fn attend(
        &self,
        process: &mut Process,
        dir: &AttemptDir,
        checkpoints: &mut Checkpoints,
    ) -> io::Result<Exit> {
        let total = self.setup.total_of(&self.lease.payload);
        let mut tail = Tail::new(&dir.progress(), Parser::with_total(total));
        let mut look = tokio::time::interval(PROGRESS_EVERY);
        let mut save = tokio::time::interval(CHECKPOINT_EVERY);
        loop {
            tokio::select! {
                exit = process.ended() => {
                    self.report(&mut tail);
                    return exit;
                }
                () = self.context.cancelled() => return process.stop(self.setup.grace).await,
                _ = look.tick() => self.report(&mut tail),
                _ = save.tick() => tokio::select! {
                    () = self.save(checkpoints, false) => {}
                    () = self.context.cancelled() => {}
                },
            }
        }
    }

    fn report(&self, tail: &mut Tail) {
        match tail.poll() {
            Ok(Some(progress)) => {
                self.entry.progress(&progress);
                self.context.report(progress);
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the progress file could not be read"),
        }
    }

    /// Saves the checkpoint if it changed. That it could not be saved costs work, not correctness.
    async fn save(&self, checkpoints: &mut Checkpoints, last: bool) {
        // The queue takes nothing under a lease that is over.
        if !self.context.is_valid() {
            return;
        }
        let saved = match checkpoints.changed(self.setup.blobs.as_ref(), last).await {
            Ok(None) => return,
            Ok(Some(data)) => self
                .context
                .checkpoint(data)
                .await
                .map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = saved {
            tracing::warn!(job = %self.lease.job, %error, "the checkpoint was not saved");
        }
    }

    async fn complete(&self, dir: &AttemptDir, prefix: &str) -> Result<Settlement, Trouble> {
        let outcome = files::store_outputs(self.setup.blobs.as_ref(), &dir.output(), prefix).await;
        let outcome = outcome.map_err(|error| Trouble::Files("storing the outputs", error))?;
        Ok(Settlement::Complete {
            result_is_json: !outcome.result.is_empty(),
            result: outcome.result,
            outputs: outcome.outputs,
        })
    }
}

impl Trouble {
    fn settlement(self) -> Settlement {
        let (what, error, retry) = match self {
            Self::Stopped => return Settlement::Release,
            Self::Files(what, error) => (what, error.to_string(), error.is_transient()),
            Self::Io(what, error) => {
                let hint = super::blobs::disk_hint(&error);
                (what, format!("{error}{hint}"), true)
            }
        };
        tracing::warn!(what, error, "the attempt failed");
        Settlement::Fail {
            error: Arc::from(cut(&format!("{what}: {error}"), limits::ERROR_BYTES_MAX)),
            retry,
            delay_ms: None,
            exit_code: None,
            signal: None,
            log_tail: Arc::from(""),
        }
    }
}

/// The outcome of a command that ended other than with 0.
fn failed(exit: Exit, log_tail: &str) -> Settlement {
    let (error, exit_code, signal) = match exit {
        Exit::Code(EXIT_RETRY) => (
            "the command asks for another attempt".into(),
            Some(75),
            None,
        ),
        Exit::Code(EXIT_DEAD) => (
            "the command says that no attempt can succeed".into(),
            Some(65),
            None,
        ),
        Exit::Code(code) => (
            format!("the command exited with code {code}"),
            Some(code),
            None,
        ),
        Exit::Signal(signal) => (
            format!("the command was ended by signal {signal}"),
            None,
            Some(signal),
        ),
    };
    Settlement::Fail {
        error: Arc::from(error),
        retry: exit != Exit::Code(EXIT_DEAD),
        delay_ms: None,
        exit_code,
        signal,
        log_tail: Arc::from(log_tail),
    }
}

/// The outcome in a few words, for people.
fn words(settlement: &Settlement, context: &Context) -> String {
    match settlement {
        Settlement::Complete { outputs, .. } if outputs.is_empty() => "done".to_owned(),
        Settlement::Complete { outputs, .. } => format!("done, {} file(s)", outputs.len()),
        Settlement::Fail {
            error, retry: true, ..
        } => format!("failed ({error})"),
        Settlement::Fail { error, .. } => format!("dead ({error})"),
        Settlement::Release => match context.stop_reason() {
            Some(Stop::Cancelled) => "cancelled".to_owned(),
            Some(Stop::LeaseEnded) => "stopped: the lease ended".to_owned(),
            Some(Stop::Unreachable) => "stopped: the queue cannot be reached".to_owned(),
            Some(Stop::Shutdown) | None => "given back".to_owned(),
        },
    }
}
