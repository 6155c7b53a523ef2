//! The operations under way: what starts them, and what comes of them.

use super::Working;
use crate::api::OPERATION_TIMEOUT;
use crate::convert::reply::misfit;
use crate::convert::{error_into, lease_into, renewed_into, settled_into};
use crate::machine::{
    Command, Lease, LeaseRequest, Renewal, Renewed, Reply, Settle, Settlement, limits,
};
use crate::service::Caller;
use futures::FutureExt as _;
use quorate_core::error::{Error, Kind};
use quorate_proto::queue as pb;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Commands of settlements under way. One waits for its sync while the next ones gather.
const SETTLES_MAX: usize = 4;
/// Heartbeats under way.
const RENEWALS_MAX: usize = 4;
/// Pause before asking for work again after a failure that may pass.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What came of an operation.
pub(super) enum Event {
    Leased {
        asked: u32,
        heartbeat: u64,
        result: Result<Reply, Error>,
    },
    Settled {
        /// Number and length of each group of settlements.
        groups: Vec<(u64, usize)>,
        asked: u32,
        heartbeat: u64,
        result: Result<Reply, Error>,
    },
    Renewed {
        number: u64,
        result: Result<Renewed, Error>,
    },
}

impl Working {
    /// Starts whatever can be started.
    pub(super) fn start(&mut self) {
        while self.renewing < RENEWALS_MAX
            && let Some(renewal) = self.overdue.take()
        {
            self.renew(renewal);
        }
        while self.settling < SETTLES_MAX && !self.pending.is_empty() {
            self.settle();
        }
        let takes_more = self.up.is_some() && self.credits > 0;
        if takes_more && !self.asking && self.pending.is_empty() {
            self.ask();
        }
    }

    fn renew(&mut self, renewal: Renewal) {
        self.renewing += 1;
        let (api, caller) = (self.api.clone(), self.caller.clone());
        let renewing = async move {
            let number = renewal.number;
            let result = api.service.renew(&caller, renewal).await;
            Event::Renewed { number, result }
        };
        self.in_flight.push(renewing.boxed());
    }

    /// Sends what gathered, as much as one command takes, and asks for work in the same step.
    fn settle(&mut self) {
        let (mut settle, mut groups, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some((number, list)) = self.pending.pop_front() {
            let more: usize = list.iter().map(result_bytes).sum();
            let full = settle.len() + list.len() > limits::LEASES_PER_REQUEST_MAX
                || bytes + more > limits::REQUEST_BYTES_MAX;
            if full && !groups.is_empty() {
                self.pending.push_front((number, list));
                break;
            }
            bytes += more;
            self.pending_len -= list.len();
            groups.push((number, list.len()));
            settle.extend(list);
        }
        let asked = if self.up.is_some() { self.claim() } else { 0 };
        let heartbeat = self.heartbeat;
        let then = (asked > 0).then(|| self.request(asked));
        let (api, caller) = (self.api.clone(), self.caller.clone());
        self.settling += 1;
        let settling = async move {
            let command = Command::Settle { settle, then };
            let result = api.execute(&caller, command).await;
            Event::Settled {
                groups,
                asked,
                heartbeat,
                result,
            }
        };
        self.in_flight.push(settling.boxed());
    }

    /// Asks for work, and waits for it.
    fn ask(&mut self) {
        self.asking = true;
        let asked = self.claim();
        let (heartbeat, request) = (self.heartbeat, self.request(asked));
        let (api, pause) = (self.api.clone(), self.pause.take());
        let caller = Caller {
            wait: self.hello.wait,
            timeout: OPERATION_TIMEOUT + self.hello.wait,
            ..self.caller.clone()
        };
        let asking = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
            let result = api.execute(&caller, Command::Lease(request)).await;
            Event::Leased {
                asked,
                heartbeat,
                result,
            }
        };
        self.in_flight.push(asking.boxed());
    }

    /// Takes credits for one request.
    fn claim(&mut self) -> u32 {
        let max = u32::try_from(limits::LEASES_PER_REQUEST_MAX).unwrap_or(u32::MAX);
        let claimed = self.credits.min(max);
        self.credits -= claimed;
        claimed
    }

    fn request(&self, max: u32) -> LeaseRequest {
        LeaseRequest {
            queue: self.hello.queue.clone(),
            worker: Arc::clone(&self.hello.worker),
            session: Some(self.hello.session),
            max,
            lease_ms: self.hello.lease_ms,
            heartbeat: self.heartbeat,
        }
    }

    /// Takes in what came of an operation.
    pub(super) fn finish(
        &mut self,
        event: Event,
        answer: &mut pb::WorkResponse,
    ) -> Result<(), Status> {
        match event {
            Event::Renewed { number, result } => {
                self.renewing -= 1;
                let (result, error) = match result {
                    Ok(renewed) => (Some(renewed_into(renewed)), None),
                    Err(error) => (None, Some(error_into(error))),
                };
                answer.renewed = Some(pb::WorkRenewed {
                    number,
                    result,
                    error,
                });
            }
            Event::Leased {
                asked,
                heartbeat,
                result,
            } => {
                self.asking = false;
                match result {
                    Ok(Reply::Leased { leases, .. }) => {
                        self.hand_out(asked, heartbeat, leases, answer);
                    }
                    Ok(_) => return Err(misfit().into()),
                    Err(error) if error.code.kind() == Kind::Rejected => return Err(error.into()),
                    Err(error) => {
                        self.credits += asked;
                        let hint = error.retry_after_ms.map(Duration::from_millis);
                        self.pause = Some(hint.unwrap_or(RETRY_PAUSE).max(RETRY_PAUSE));
                        tracing::debug!(%error, worker = %self.hello.worker, "no work for now");
                    }
                }
            }
            Event::Settled {
                groups,
                asked,
                heartbeat,
                result,
            } => {
                self.settling -= 1;
                self.settled(groups, asked, heartbeat, result, answer)?;
            }
        }
        Ok(())
    }

    fn settled(
        &mut self,
        groups: Vec<(u64, usize)>,
        asked: u32,
        heartbeat: u64,
        result: Result<Reply, Error>,
        answer: &mut pb::WorkResponse,
    ) -> Result<(), Status> {
        match result {
            Ok(Reply::Settled { outcomes, leased }) => {
                let mut outcomes = settled_into(outcomes).into_iter();
                answer.settled = groups
                    .into_iter()
                    .map(|(number, len)| pb::WorkSettled {
                        number,
                        outcomes: outcomes.by_ref().take(len).collect(),
                        error: None,
                    })
                    .collect();
                let leases = leased.map(|(_, leases)| leases).unwrap_or_default();
                self.hand_out(asked, heartbeat, leases, answer);
                Ok(())
            }
            Ok(_) => Err(misfit().into()),
            Err(error) => {
                self.credits += asked;
                answer.settled = groups
                    .into_iter()
                    .map(|(number, _)| pb::WorkSettled {
                        number,
                        outcomes: Vec::new(),
                        error: Some(error_into(error.clone())),
                    })
                    .collect();
                Ok(())
            }
        }
    }

    fn hand_out(
        &mut self,
        asked: u32,
        heartbeat: u64,
        leases: Vec<Lease>,
        answer: &mut pb::WorkResponse,
    ) {
        let granted = u32::try_from(leases.len()).unwrap_or(u32::MAX);
        self.credits += asked.saturating_sub(granted);
        if !leases.is_empty() {
            answer.leased = Some(pb::WorkLeased {
                leases: leases.into_iter().map(lease_into).collect(),
                heartbeat,
            });
        }
    }
}

fn result_bytes(settle: &Settle) -> usize {
    match &settle.settlement {
        Settlement::Complete { result, .. } => result.len(),
        _ => 0,
    }
}
