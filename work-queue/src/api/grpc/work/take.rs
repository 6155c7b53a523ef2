//! What a worker says: credits, heartbeats and settlements, checked and put where they wait.

use super::Working;
use crate::check;
use crate::convert::reply::misfit;
use crate::convert::{
    error_into, renewal_from_heartbeat, renewal_from_progress, settle_from, within,
};
use crate::machine::{Command, Renewal, Settle, limits};
use quorate_core::error::Error;
use quorate_proto::queue as pb;
use std::collections::{BTreeMap, BTreeSet};

/// Settlements that gather beyond those; then the worker's messages wait in its connection.
pub(super) const PENDING_MAX: usize = 4 * limits::LEASES_PER_REQUEST_MAX;
/// Credits of one worker: more leases than that serve no process.
const CREDITS_MAX: u32 = 100_000;

impl Working {
    /// Takes a message of the worker in. What can be refused at once goes into `answer`.
    pub(super) fn take(
        &mut self,
        request: pb::WorkRequest,
        answer: &mut pb::WorkResponse,
    ) -> Result<(), Error> {
        if request.hello.is_some() {
            return Err(Error::invalid(
                "hello: comes twice; open another stream for another worker",
            ));
        }
        self.credits = self.credits.saturating_add(request.credits);
        if self.credits > CREDITS_MAX {
            return Err(Error::invalid(format!(
                "credits: {} leases are too many for one worker; keep to {CREDITS_MAX}",
                self.credits
            )));
        }
        if let Some(heartbeat) = request.heartbeat {
            self.heartbeat = self.heartbeat.max(heartbeat.number);
            let renewal = self.renewal(heartbeat)?;
            self.overdue = Some(match self.overdue.take() {
                Some(overtaken) => overtake(overtaken, renewal),
                None => renewal,
            });
        }
        if let Some(settle) = request.settle {
            match checked(settle.settle) {
                Ok(list) => {
                    self.pending_len += list.len();
                    self.pending.push_back((settle.number, list));
                }
                Err(error) => answer.settled.push(pb::WorkSettled {
                    number: settle.number,
                    outcomes: Vec::new(),
                    error: Some(error_into(error)),
                }),
            }
        }
        Ok(())
    }

    fn renewal(&self, heartbeat: pb::WorkHeartbeat) -> Result<Renewal, Error> {
        let session = self.hello.session.0;
        let mut renewal = if heartbeat.progress_only {
            renewal_from_progress(pb::ProgressRequest {
                session,
                progress: heartbeat.progress,
                leases: heartbeat.leases,
                number: heartbeat.number,
            })
        } else {
            renewal_from_heartbeat(pb::HeartbeatRequest {
                session,
                leases: heartbeat.leases,
                progress: heartbeat.progress,
                number: heartbeat.number,
            })
        }
        .map_err(|e| within("heartbeat", e))?;
        check::renewal(&mut renewal).map_err(|e| within("heartbeat", e))?;
        Ok(renewal)
    }
}

/// Reads and checks one group of settlements by itself, so that a bad one spoils no other.
fn checked(settle: Vec<pb::Settlement>) -> Result<Vec<Settle>, Error> {
    let mut command = Command::Settle {
        settle: settle_from("settle", settle)?,
        then: None,
    };
    check::command(&mut command)?;
    match command {
        Command::Settle { settle, .. } => Ok(settle),
        _ => Err(misfit()),
    }
}

/// One heartbeat in the place of two that have not gone out. A report of progress does not take the
/// place of a heartbeat proper, whose list alone is complete and true for its own number.
fn overtake(earlier: Renewal, later: Renewal) -> Renewal {
    let mut progress: BTreeMap<_, _> = earlier.progress.into_iter().collect();
    progress.extend(later.progress);
    let progress = progress.into_iter().take(limits::LEASES_PER_RENEWAL_MAX);
    let (number, leases) = match (earlier.complete, later.complete) {
        (_, true) => (later.number, later.leases),
        (true, false) => (earlier.number, earlier.leases),
        (false, false) => {
            let both: BTreeSet<_> = later.leases.into_iter().chain(earlier.leases).collect();
            let leases = both.into_iter().take(limits::LEASES_PER_RENEWAL_MAX);
            (later.number, leases.collect())
        }
    };
    Renewal {
        session: later.session,
        number,
        leases,
        progress: progress.collect(),
        complete: earlier.complete || later.complete,
    }
}
