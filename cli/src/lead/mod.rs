//! Running a command only while leading, for `quorate election exec`.
//!
//! Between this process and the command stands a [`helper`]: this program again, which is told until when
//! the command may run and kills its whole group then by itself. So the command ends in time also when
//! this process stands still or is killed.

pub(crate) mod helper;

use crate::errors::{Exit, Failure, Outcome};
use crate::output::Output;
use helper::Running;
use quorate_core::runtime::Shutdown;
use quorate_core::types::Name;
use quorate_leader_election::election::{Election, Guard};
use std::ffi::OsString;
use std::time::Duration;

/// The command's group is dead so long before the lease ends.
const SLACK: Duration = Duration::from_millis(100);
/// How often the helper is told the new deadline, as a part of what is left.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What to run, and how.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) election: Name,
    pub(crate) command: Vec<OsString>,
    pub(crate) priority: u32,
    pub(crate) metadata: String,
    pub(crate) kill_grace: Duration,
    pub(crate) once: bool,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command ended by itself with this code, or 128 + its signal.
    Code(i32),
    /// This process was told to stop.
    Stopped,
    /// Leadership was lost, and once was enough.
    Lost,
}

/// Why a command that still ran was ended.
enum Why {
    Stopped,
    Lost,
    HandedOver,
}

/// Campaigns, runs the command while leading, and again, until it ends by itself.
pub(crate) async fn run(
    handle: &Election,
    plan: &Plan,
    shutdown: &Shutdown,
    output: Output,
) -> Outcome<Ended> {
    loop {
        output.note(format!("standing for {}", plan.election));
        let campaign = handle
            .campaign(plan.election.as_str())
            .priority(plan.priority)
            .metadata(&plan.metadata);
        let guard = tokio::select! {
            guard = std::future::IntoFuture::into_future(campaign) => guard?,
            () = shutdown.wait() => return Ok(Ended::Stopped),
        };
        output.note(format!(
            "leading {} as {} with token {}",
            plan.election,
            guard.candidate(),
            guard.token()
        ));
        let mut running = start(plan, &guard)?;
        let ended = lead(plan, &guard, &mut running, shutdown).await?;
        match ended {
            Ok(code) => {
                give_up(guard).await;
                return Ok(Ended::Code(code));
            }
            Err(Why::Stopped) => {
                give_up(guard).await;
                return Ok(Ended::Stopped);
            }
            Err(Why::HandedOver) => guard.hand_over().await,
            Err(Why::Lost) => drop(guard),
        }
        output.note(format!("{} is lost", plan.election));
        if plan.once {
            return Ok(Ended::Lost);
        }
    }
}

async fn give_up(guard: Guard) {
    // Its failure leaves a lease that runs out.
    let _ = guard.resign().await;
}

fn start(plan: &Plan, guard: &Guard) -> Outcome<Running> {
    let env = [
        ("ELECTION_NAME", plan.election.to_string()),
        ("ELECTION_CANDIDATE", guard.candidate().to_string()),
        ("ELECTION_FENCING_TOKEN", guard.token().to_string()),
    ];
    Running::start(&plan.command, env, guard.valid_until(), SLACK).map_err(|error| {
        let command = plan.command.first().map(|word| word.to_string_lossy());
        Failure::new(
            Exit::Unavailable,
            format!("cannot run {}: {error}", command.unwrap_or_default()),
        )
    })
}

/// Keeps the command running while leading. Gives its exit code, or why it was ended; nothing of its
/// group runs any more then.
async fn lead(
    plan: &Plan,
    guard: &Guard,
    running: &mut Running,
    shutdown: &Shutdown,
) -> Outcome<Result<i32, Why>> {
    let margin = plan.kill_grace + SLACK * 2;
    let mut tell = tokio::time::interval(TELL_EVERY);
    let why = loop {
        let left = guard.valid_for().saturating_sub(margin);
        if left.is_zero() {
            break Why::Lost;
        }
        tokio::select! {
            code = running.ended() => return Ok(Ok(code.map_err(|error| broken(&error))?)),
            _ = tell.tick() => running.may_run_until(guard.valid_until()),
            () = shutdown.wait() => break Why::Stopped,
            // Over, revoked, or the clock; the loop looks at what is left.
            () = guard.lost() => break Why::Lost,
            asked = guard.draining() => break asked.map_or(Why::Lost, |_| Why::HandedOver),
        }
    };
    // While it still leads the command may finish; the helper kills it at the end of the lease.
    let grace = match why {
        Why::Stopped | Why::HandedOver => plan.kill_grace,
        Why::Lost => plan.kill_grace.min(guard.valid_for().saturating_sub(SLACK)),
    };
    running.terminate();
    let ended = tokio::time::timeout(grace, running.ended()).await;
    if ended.is_err() {
        running.kill();
        running.ended().await.map_err(|error| broken(&error))?;
    }
    Ok(Err(why))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Temporary,
        format!("the command's supervisor failed, and the command with it: {error}"),
    )
}
