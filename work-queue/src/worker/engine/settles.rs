//! Outcomes: sent until they are recorded, refused for good, or the lease is over.

use super::super::held::{Phase, Settling};
use super::super::link::Up;
use super::Engine;
use crate::machine::{LeaseId, Settle, Settled, Settlement, limits};
use quorate_core::error::{Code, Error, Kind};
use quorate_core::types::Mono;
use std::sync::Arc;
use tokio::task::{Id, JoinError};

/// Requests with outcomes under way; the next ones gather meanwhile.
pub(super) const UNDER_WAY_MAX: usize = 4;
/// Bytes of results in one request, so that it stays within one message and one log entry.
const BYTES_MAX: usize = 1024 * 1024;

impl Engine {
    /// A handler ended, one way or another.
    pub(super) fn ended(&mut self, ended: Result<(Id, Settlement), JoinError>) {
        let (task, settlement) = match ended {
            Ok((task, settlement)) => (task, settlement),
            // It was dropped, because its lease ended or its grace was over.
            Err(error) if error.is_cancelled() => (error.id(), Settlement::Release),
            Err(error) => {
                let id = error.id();
                let text = panic_text(error);
                tracing::error!(%text, "a handler panicked; the attempt failed");
                (id, failure(&format!("the handler panicked: {text}"), true))
            }
        };
        let Some((lease, _)) = self.running.remove(&task) else {
            return;
        };
        if let Some(held) = self.held.get_mut(&lease) {
            self.free_slots.insert(held.shared.slot);
            if settlement == Settlement::Release {
                held.over();
            }
            self.outcome(lease, settlement);
        }
    }

    /// Notes an outcome that is to be recorded.
    pub(super) fn outcome(&mut self, lease: LeaseId, settlement: Settlement) {
        if let Some(held) = self.held.get_mut(&lease) {
            held.phase = Phase::Settling(Settling {
                settlement,
                under_way: None,
                alone: false,
            });
            self.to_settle.push_back(lease);
        }
    }

    pub(super) fn settle(&mut self, now: Mono) {
        while self.connected
            && now >= self.settle_at
            && self.settles.len() < UNDER_WAY_MAX
            && !self.to_settle.is_empty()
        {
            let number = self.settles_last + 1;
            let settle = self.gather(number);
            if settle.is_empty() {
                continue;
            }
            self.settles_last = number;
            self.settles
                .insert(number, settle.iter().map(|settle| settle.lease).collect());
            let max = self.want(now);
            let ask = (max > 0).then(|| self.asking(max, now));
            self.say(Up::Settle {
                number,
                settle,
                ask,
            });
        }
    }

    /// The next outcomes that go into one request.
    fn gather(&mut self, number: u64) -> Vec<Settle> {
        let mut settle = Vec::new();
        let mut bytes = 0;
        while let Some(lease) = self.to_settle.front().copied() {
            let Some(held) = self.held.get_mut(&lease) else {
                self.to_settle.pop_front();
                continue;
            };
            let Phase::Settling(settling) = &mut held.phase else {
                self.to_settle.pop_front();
                continue;
            };
            let size = size_of(&settling.settlement);
            let full = settle.len() >= limits::LEASES_PER_REQUEST_MAX || bytes + size > BYTES_MAX;
            if !settle.is_empty() && (full || settling.alone) {
                break;
            }
            settling.under_way = Some(number);
            bytes += size;
            settle.push(Settle {
                lease,
                session: Some(held.shared.session),
                settlement: settling.settlement.clone(),
            });
            let alone = settling.alone;
            self.to_settle.pop_front();
            if alone {
                break;
            }
        }
        settle
    }

    pub(super) fn settled(&mut self, number: u64, result: Result<Vec<Settled>, Error>, now: Mono) {
        let Some(leases) = self.settles.remove(&number) else {
            return;
        };
        match result {
            Ok(outcomes) => {
                self.settle_backoff.reset();
                let outcomes = outcomes
                    .into_iter()
                    .map(Some)
                    .chain(std::iter::repeat(None));
                for (lease, outcome) in leases.into_iter().zip(outcomes) {
                    let outcome = outcome.unwrap_or_else(|| {
                        Err(Error::new(
                            Code::OutcomeUnknown,
                            "the queue answered fewer outcomes than there were settlements",
                        ))
                    });
                    self.answered(lease, outcome, now);
                }
            }
            Err(error) if error.code.kind() == Kind::Rejected && leases.len() > 1 => {
                tracing::debug!(%error, "outcomes were refused together; each goes alone");
                for lease in leases {
                    self.again(lease, true);
                }
            }
            Err(error) => {
                for lease in leases {
                    self.answered(lease, Err(error.clone()), now);
                }
            }
        }
    }

    fn answered(&mut self, lease: LeaseId, outcome: Settled, now: Mono) {
        let Some(held) = self.held.get(&lease) else {
            return;
        };
        let Phase::Settling(settling) = &held.phase else {
            return;
        };
        match outcome {
            Ok(()) => {
                match &settling.settlement {
                    Settlement::Complete { .. } => self.report.completed += 1,
                    Settlement::Fail { .. } => self.report.failed += 1,
                    Settlement::Release => self.report.released += 1,
                }
                self.let_go(lease);
            }
            Err(error) if error.code.kind() != Kind::Rejected => {
                self.settle_at = now + self.settle_backoff.next(error.retry_after_ms);
                self.again(lease, false);
            }
            Err(error) => {
                let bad = matches!(error.code, Code::TooLarge | Code::InvalidArgument);
                let complete = matches!(settling.settlement, Settlement::Complete { .. });
                let job = held.shared.job;
                if bad && complete {
                    tracing::error!(%job, %error, "the result was refused; the job is dead");
                    let text = format!("the result was refused: {}", error.detail);
                    self.outcome(lease, failure(&text, false));
                    return;
                }
                if settling.settlement != Settlement::Release {
                    tracing::warn!(%job, %lease, %error, "the outcome was not recorded; the job is no longer ours");
                    self.report.lost += 1;
                }
                self.let_go(lease);
            }
        }
    }

    fn again(&mut self, lease: LeaseId, alone: bool) {
        if let Some(held) = self.held.get_mut(&lease)
            && let Phase::Settling(settling) = &mut held.phase
        {
            settling.under_way = None;
            settling.alone |= alone;
            self.to_settle.push_back(lease);
        }
    }

    /// The connection broke: what was under way goes again.
    pub(super) fn settles_lost(&mut self) {
        for lease in std::mem::take(&mut self.settles).into_values().flatten() {
            self.again(lease, false);
        }
    }
}

/// A failed attempt without a process behind it.
pub(crate) fn failure(error: &str, retry: bool) -> Settlement {
    Settlement::Fail {
        error: Arc::from(super::super::context::cut(error, limits::ERROR_BYTES_MAX)),
        retry,
        delay_ms: None,
        exit_code: None,
        signal: None,
        log_tail: Arc::from(""),
    }
}

fn size_of(settlement: &Settlement) -> usize {
    match settlement {
        Settlement::Complete { result, .. } => result.len(),
        Settlement::Fail {
            error, log_tail, ..
        } => error.len() + log_tail.len(),
        Settlement::Release => 0,
    }
}

fn panic_text(error: JoinError) -> String {
    let panic = error.into_panic();
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
