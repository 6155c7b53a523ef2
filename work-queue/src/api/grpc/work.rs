//! `Work`: a worker's conversation with the queue.
//!
//! Up come credits, heartbeats and settlements, down go leases, outcomes and what became of the
//! heartbeats. The conversation is a state machine ([`Working`]) with a few operations under way:
//!
//! - **Settlements** that arrive while [`SETTLES_MAX`] commands are under way gather and go together in
//!   the next one, so that the batch grows with the load. A command takes the free credits along and
//!   leases in the same step.
//! - **Credits** that no settlement takes along are asked for by one request that waits. Its wait is
//!   half the time between the worker's heartbeats: a grant that arrives is then never preceded by two
//!   heartbeats that could not list it, which would make the worker drop it.
//! - **Heartbeats** go out at once; when [`RENEWALS_MAX`] are under way the next ones overtake each
//!   other.
//!
//! The end of the stream releases nothing: a broken connection does not prove that the worker is gone.

use super::{Answers, stopping};
use crate::api::poll::SLICE;
use crate::api::{Api, OPERATION_TIMEOUT};
use crate::check;
use crate::convert::reply::misfit;
use crate::convert::{
    error_into, lease_into, renewal_from_heartbeat, renewal_from_progress, renewed_into,
    settle_from, settled_into, within,
};
use crate::machine::{
    Command, Lease, LeaseRequest, Renewal, Renewed, Reply, SessionId, Settle, Settlement, limits,
};
use crate::service::Caller;
use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered};
use futures::{FutureExt as _, StreamExt as _};
use quorate_core::error::{Error, Kind};
use quorate_core::types::Name;
use quorate_proto::queue as pb;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Status, Streaming};

/// Commands of settlements under way. One waits for its sync while the next ones gather.
const SETTLES_MAX: usize = 4;
/// Settlements that gather beyond those; then the worker's messages wait in its connection.
const PENDING_MAX: usize = 4 * limits::LEASES_PER_REQUEST_MAX;
/// Heartbeats under way.
const RENEWALS_MAX: usize = 4;
/// Credits of one worker: more leases than that serve no process.
const CREDITS_MAX: u32 = 100_000;
/// The shortest wait of a request for work, so that a worker with a quick heart does not poll.
const WAIT_MIN: Duration = Duration::from_millis(50);
/// The time between heartbeats of a worker that says neither that nor a lease length.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(5);
/// Pause before asking for work again after a failure that may pass.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The answers to a worker.
pub(super) fn stream(
    api: Api,
    caller: Caller,
    up: Streaming<pb::WorkRequest>,
) -> Answers<pb::WorkResponse> {
    let opening = Conversation::Opening(Box::new((api, caller, up)));
    stream::unfold(opening, |state| async move {
        match state {
            Conversation::Opening(opening) => {
                let (api, caller, up) = *opening;
                match Working::open(api, caller, up).await {
                    Ok(working) => {
                        let answer = pb::WorkResponse {
                            session: Some(working.hello.session.0),
                            ..Default::default()
                        };
                        Some((Ok(answer), Conversation::Working(Box::new(working))))
                    }
                    Err(status) => Some((Err(status), Conversation::Over)),
                }
            }
            Conversation::Working(mut working) => match working.next().await? {
                Ok(answer) => Some((Ok(answer), Conversation::Working(working))),
                Err(status) => Some((Err(status), Conversation::Over)),
            },
            Conversation::Over => None,
        }
    })
    .boxed()
}

enum Conversation {
    Opening(Box<(Api, Caller, Streaming<pb::WorkRequest>)>),
    Working(Box<Working>),
    Over,
}

/// Who works, and how.
struct Hello {
    queue: Name,
    worker: Arc<str>,
    session: SessionId,
    lease_ms: Option<u64>,
    /// How long a request for work waits.
    wait: Duration,
}

/// What came of an operation.
enum Event {
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

struct Working {
    api: Api,
    caller: Caller,
    hello: Hello,
    /// None once the worker has sent its last.
    up: Option<Streaming<pb::WorkRequest>>,
    in_flight: FuturesUnordered<BoxFuture<'static, Event>>,
    /// Leases that the worker takes and nobody has asked for yet.
    credits: u32,
    /// A request for work is under way.
    asking: bool,
    /// The last one failed; the next one pauses first.
    pause: Option<Duration>,
    settling: usize,
    pending: VecDeque<(u64, Vec<Settle>)>,
    pending_len: usize,
    renewing: usize,
    /// The heartbeat that goes out next, when too many are under way.
    overdue: Option<Renewal>,
    /// Number of the last heartbeat that came.
    heartbeat: u64,
    /// How the stream ends once everything under way is answered; None is well.
    last: Option<Status>,
}

impl Working {
    /// Reads the hello, and opens a session if it names none.
    async fn open(
        api: Api,
        caller: Caller,
        mut up: Streaming<pb::WorkRequest>,
    ) -> Result<Self, Status> {
        let mut first = up.message().await?.ok_or_else(|| {
            Error::invalid("hello: missing; the first message of a worker has it")
        })?;
        let hello = first.hello.take().ok_or_else(|| {
            Error::invalid("hello: missing; the first message of a worker has it")
        })?;
        let heartbeat = hello.heartbeat;
        let hello = greet(&api, &caller, hello).await?;
        let mut working = Self {
            api,
            caller,
            hello,
            up: Some(up),
            in_flight: FuturesUnordered::new(),
            credits: 0,
            asking: false,
            pause: None,
            settling: 0,
            pending: VecDeque::new(),
            pending_len: 0,
            renewing: 0,
            overdue: None,
            heartbeat,
            last: None,
        };
        let mut refused = pb::WorkResponse::default();
        working.take(first, &mut refused)?;
        match refused.settled.pop().and_then(|settled| settled.error) {
            Some(error) => Err(crate::convert::error_from(error).into()),
            None => Ok(working),
        }
    }

    /// The next message down.
    async fn next(&mut self) -> Option<Result<pb::WorkResponse, Status>> {
        let drain = self.api.drain.clone();
        loop {
            self.start();
            let room = self.pending_len < PENDING_MAX;
            let open = self.up.is_some();
            let up = self.up.as_mut();
            tokio::select! {
                biased;
                Some(event) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    let mut answer = pb::WorkResponse::default();
                    if let Err(status) = self.finish(event, &mut answer) {
                        return Some(Err(status));
                    }
                    if answer != pb::WorkResponse::default() {
                        return Some(Ok(answer));
                    }
                }
                () = drain.cancelled(), if open => {
                    self.up = None;
                    self.last = Some(stopping());
                }
                message = read(up), if room && open => match message {
                    Ok(Some(request)) => {
                        let mut answer = pb::WorkResponse::default();
                        if let Err(error) = self.take(request, &mut answer) {
                            return Some(Err(error.into()));
                        }
                        if answer != pb::WorkResponse::default() {
                            return Some(Ok(answer));
                        }
                    }
                    Ok(None) => self.up = None,
                    Err(status) => return Some(Err(status)),
                },
                else => return self.last.take().map(Err),
            }
        }
    }

    /// Takes a message of the worker in. What can be refused at once goes into `answer`.
    fn take(
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

    /// Starts whatever can be started.
    fn start(&mut self) {
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
    fn finish(&mut self, event: Event, answer: &mut pb::WorkResponse) -> Result<(), Status> {
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

async fn read(
    up: Option<&mut Streaming<pb::WorkRequest>>,
) -> Result<Option<pb::WorkRequest>, Status> {
    match up {
        Some(up) => up.message().await,
        None => Ok(None),
    }
}

/// Reads the hello and makes sure of a session.
async fn greet(api: &Api, caller: &Caller, hello: pb::WorkHello) -> Result<Hello, Error> {
    let queue = Name::new(&hello.queue).map_err(|e| within("hello.queue", e.into()))?;
    let worker: Arc<str> = hello.worker.into();
    let heartbeat = hello
        .heartbeat_ms
        .or(hello.lease_ms.map(|ms| ms / 6))
        .map_or(HEARTBEAT_DEFAULT, Duration::from_millis);
    let mut probe = Command::Lease(LeaseRequest {
        queue: queue.clone(),
        worker: Arc::clone(&worker),
        session: None,
        max: 1,
        lease_ms: hello.lease_ms,
        heartbeat: 0,
    });
    check::command(&mut probe).map_err(|e| within("hello", e))?;
    let session = match hello.session {
        Some(session) if session != 0 => SessionId(session),
        _ => {
            let command = Command::OpenSession {
                worker: Arc::clone(&worker),
            };
            match api.execute(caller, command).await? {
                Reply::Session(session) => session,
                _ => return Err(misfit()),
            }
        }
    };
    Ok(Hello {
        queue,
        worker,
        session,
        lease_ms: hello.lease_ms,
        wait: (heartbeat / 2).clamp(WAIT_MIN, SLICE),
    })
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

fn result_bytes(settle: &Settle) -> usize {
    match &settle.settlement {
        Settlement::Complete { result, .. } => result.len(),
        _ => 0,
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
