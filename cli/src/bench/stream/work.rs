//! One `Work` stream: leases come, are completed at once, and each completion is sent again until it
//! is answered.

use super::super::body;
use super::super::driver::Failed;
use super::super::ledger::Ledger;
use super::{Addresses, Failures, OPEN_TIMEOUT};
use crate::measure::Latency;
use quorate_core::error::{Code, Error, Kind};
use quorate_proto::queue as pb;
use quorate_work_queue::convert;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Messages up that wait for the connection: settlements, each for at least one lease, and beats.
const UP_MAX: usize = 64;
/// Between heartbeats. They tell the queue which grants never arrived, so that these come again
/// within two beats and not at the end of their lease.
const BEAT_EVERY: Duration = Duration::from_millis(500);
/// Without any word from a node for so long although settlements are under way, another is tried.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Works until told to stop, and then until every completion is answered.
pub(super) async fn run(
    addresses: Addresses,
    queue: &str,
    connection: u32,
    inflight: u32,
    ledger: &Ledger,
    stop: &CancellationToken,
) -> Result<Latency, Failed> {
    let mut worker = Worker {
        addresses,
        queue,
        name: format!("bench-{connection}"),
        inflight,
        ledger,
        session: None,
        held: BTreeMap::new(),
        unsent: Vec::new(),
        settles: BTreeMap::new(),
        last: 0,
        beats: 0,
        latency: Latency::default(),
        failures: Failures::default(),
    };
    loop {
        match worker.connection(stop).await {
            Ok(()) => return Ok(worker.latency),
            Err(error) => {
                worker.lost();
                if matches!(error.code, Code::SessionExpired | Code::NotFound) {
                    worker.forget();
                } else {
                    worker.failures.another(&error).await?;
                }
                worker.addresses.next();
            }
        }
        if stop.is_cancelled() && worker.held.is_empty() {
            return Ok(worker.latency);
        }
    }
}

/// A lease whose completion is not answered yet.
struct Held {
    number: u64,
    since: Instant,
}

struct Worker<'a> {
    addresses: Addresses,
    queue: &'a str,
    name: String,
    inflight: u32,
    ledger: &'a Ledger,
    session: Option<u64>,
    held: BTreeMap<u64, Held>,
    /// Leases whose completion has to be sent (again).
    unsent: Vec<u64>,
    /// Settlements under way, by number.
    settles: BTreeMap<u64, Vec<u64>>,
    last: u64,
    beats: u64,
    latency: Latency,
    failures: Failures,
}

impl Worker<'_> {
    /// One connection, from its opening to its end. Ends well when told to stop and all is answered.
    async fn connection(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let (up, mut down) = tokio::time::timeout(OPEN_TIMEOUT, self.connect())
            .await
            .map_err(|_| Error::new(Code::OutcomeUnknown, "no stream in time"))??;
        let mut beat = tokio::time::interval(BEAT_EVERY);
        let mut heard = Instant::now();
        // Credits that this connection has given and not yet seen used. Those of a broken connection
        // are gone with it.
        let mut credits = 0;
        loop {
            let want = if stop.is_cancelled() {
                0
            } else {
                self.inflight
            };
            let held = u32::try_from(self.held.len()).unwrap_or(u32::MAX);
            let more = want.saturating_sub(held).saturating_sub(credits);
            // Few credits alone are not worth a message; they go with the next settlement.
            let credit_due = more > 0 && more * 2 >= self.inflight;
            if !self.unsent.is_empty() || credit_due {
                match up.try_reserve() {
                    Ok(slot) => {
                        slot.send(self.settlement(more));
                        credits += more;
                    }
                    Err(mpsc::error::TrySendError::Full(())) => {}
                    Err(mpsc::error::TrySendError::Closed(())) => return Err(broken()),
                }
            }
            if stop.is_cancelled() && self.held.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                word = down.message() => match word {
                    Ok(Some(word)) => {
                        heard = Instant::now();
                        let used = word.leased.as_ref().map_or(0, |leased| leased.leases.len());
                        credits = credits.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
                        self.heard(word).await?;
                    }
                    Ok(None) => return Err(broken()),
                    Err(status) => return Err(transient(Error::from_status(&status))),
                },
                _ = beat.tick() => {
                    if !self.settles.is_empty() && heard.elapsed() > SILENCE_MAX {
                        return Err(Error::new(Code::OutcomeUnknown, "the node is silent"));
                    }
                    let heartbeat = self.heartbeat();
                    if up.try_send(heartbeat).is_err() && up.is_closed() {
                        return Err(broken());
                    }
                }
                () = stop.cancelled(), if want > 0 => {}
            }
        }
    }

    async fn connect(
        &mut self,
    ) -> Result<(mpsc::Sender<pb::WorkRequest>, Streaming<pb::WorkResponse>), Error> {
        let mut client = self.addresses.connect().await?;
        let (up, receiver) = mpsc::channel(UP_MAX);
        let hello = pb::WorkHello {
            queue: self.queue.to_owned(),
            worker: self.name.clone(),
            session: self.session,
            lease_ms: None,
            heartbeat_ms: u64::try_from(BEAT_EVERY.as_millis()).ok(),
            heartbeat: self.beats,
        };
        let first = pb::WorkRequest {
            hello: Some(hello),
            ..pb::WorkRequest::default()
        };
        up.try_send(first).map_err(|_| broken())?;
        let down = client
            .work(ReceiverStream::new(receiver))
            .await
            .map_err(|status| transient(Error::from_status(&status)))?;
        Ok((up, down.into_inner()))
    }

    /// Everything that is to be settled, with the credits that it frees.
    fn settlement(&mut self, credits: u32) -> pb::WorkRequest {
        let leases = std::mem::take(&mut self.unsent);
        let settle = (!leases.is_empty()).then(|| {
            self.last += 1;
            let complete = |&lease: &u64| pb::Settlement {
                lease,
                session: self.session,
                outcome: Some(pb::settlement::Outcome::Complete(pb::Complete::default())),
            };
            pb::WorkSettle {
                number: self.last,
                settle: leases.iter().map(complete).collect(),
            }
        });
        if settle.is_some() {
            self.settles.insert(self.last, leases);
        }
        pb::WorkRequest {
            credits,
            settle,
            ..pb::WorkRequest::default()
        }
    }

    fn heartbeat(&mut self) -> pb::WorkRequest {
        self.beats += 1;
        pb::WorkRequest {
            heartbeat: Some(pb::WorkHeartbeat {
                number: self.beats,
                leases: self.held.keys().copied().collect(),
                ..pb::WorkHeartbeat::default()
            }),
            ..pb::WorkRequest::default()
        }
    }

    async fn heard(&mut self, word: pb::WorkResponse) -> Result<(), Error> {
        if let Some(session) = word.session {
            if self.session.is_some_and(|before| before != session) {
                self.forget();
            }
            self.session = Some(session);
        }
        let now = Instant::now();
        if let Some(leased) = word.leased {
            self.leased(leased, now)?;
        }
        for settled in word.settled {
            self.settled(settled, now).await?;
        }
        Ok(())
    }

    fn leased(&mut self, leased: pb::WorkLeased, now: Instant) -> Result<(), Error> {
        // Two heartbeats did not list them: they may have been taken back.
        if self.beats >= leased.heartbeat + 2 {
            return Ok(());
        }
        for lease in leased.leases {
            let number = body::number(&lease.payload)
                .ok_or_else(|| Error::invalid("a lease without the number of its job"))?;
            self.ledger.handed_out(number);
            self.held.insert(lease.id, Held { number, since: now });
            self.unsent.push(lease.id);
        }
        Ok(())
    }

    async fn settled(&mut self, settled: pb::WorkSettled, now: Instant) -> Result<(), Error> {
        let Some(leases) = self.settles.remove(&settled.number) else {
            return Ok(());
        };
        if let Some(error) = settled.error {
            let error = convert::error_from(error);
            match error.code {
                Code::SessionExpired => return Err(error),
                _ => self.failures.another(&error).await.map_err(|_| error)?,
            }
            self.unsent.extend(leases);
            return Ok(());
        }
        self.failures.reset();
        let outcomes = convert::settled_from(settled.outcomes);
        for (lease, outcome) in leases.into_iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    if let Some(held) = self.held.remove(&lease) {
                        self.latency.record(now.duration_since(held.since));
                        self.ledger.completed(held.number);
                    }
                }
                // No longer ours: the job comes again.
                Err(error) if error.code.kind() == Kind::Rejected => {
                    self.held.remove(&lease);
                }
                Err(_) => self.unsent.push(lease),
            }
        }
        Ok(())
    }

    /// The connection broke: completions that were under way go again.
    fn lost(&mut self) {
        self.settles.clear();
        self.unsent = self.held.keys().copied().collect();
    }

    /// The session is over, and with it every lease.
    fn forget(&mut self) {
        self.session = None;
        self.held.clear();
        self.unsent.clear();
        self.settles.clear();
    }
}

fn broken() -> Error {
    Error::new(Code::OutcomeUnknown, "the stream ended")
}

/// The end of a stream says nothing against what was in it, unless the request itself was wrong or
/// the session is gone.
fn transient(error: Error) -> Error {
    match error.code {
        Code::InvalidArgument
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::Forbidden
        | Code::NotFound
        | Code::SessionExpired => error,
        _ if error.code.kind() == Kind::Rejected => {
            Error::new(Code::OutcomeUnknown, error.to_string())
        }
        _ => error,
    }
}
