//! Many jobs a second: what arrives while requests are under way goes together in the next one.
//!
//! Requests are numbered in a client stream. One whose answer was lost is sent again under its number
//! and executed once; a receipt says `outcome_unknown` only when that could not be done in time.

use super::carriers::{Carrier, Heard, Sent};
use super::{Enqueued, jobs, misfit};
use crate::machine::{NewJob, Reply, limits};
use crate::service::{Caller, QueueService};
use quorate_core::error::{Code, Error, Kind};
use quorate_core::retry::Backoff;
use quorate_core::types::Name;
use serde::Serialize;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Jobs that were sent and are not acknowledged.
const WINDOW_JOBS: usize = 16_384;
/// Requests under way: enough to fill the time of a sync.
const REQUESTS_MAX: usize = 32;
/// Jobs in one request.
const REQUEST_JOBS_MAX: usize = 512;
/// Payload bytes after which a request is full.
const REQUEST_BYTES: usize = 512 * 1024;
/// How long a job is tried before its receipt fails.
const TRY_MAX: Duration = Duration::from_secs(30);

/// A stream of jobs into one queue. Cheap to clone. When the last clone is dropped, what was sent is
/// still seen through.
#[derive(Clone, Debug)]
pub struct Producer {
    jobs: mpsc::Sender<Item>,
    window: Arc<Semaphore>,
}

/// The promise of an acknowledgement: a future that gives the job's id once it is synced on a majority.
/// May be dropped.
#[derive(Debug)]
pub struct Receipt {
    answer: oneshot::Receiver<Result<Enqueued, Error>>,
}

impl Future for Receipt {
    type Output = Result<Enqueued, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

fn gone() -> Error {
    Error::new(
        Code::OutcomeUnknown,
        "the producer or its client stream is gone; whether the job was added is not known",
    )
}

#[derive(Debug)]
struct Item {
    job: NewJob,
    answer: oneshot::Sender<Result<Enqueued, Error>>,
    _permit: OwnedSemaphorePermit,
}

impl Producer {
    pub(super) fn start(
        queue: Name,
        carrier: Box<dyn Carrier>,
        service: Arc<dyn QueueService>,
    ) -> Self {
        let (jobs, from) = mpsc::channel(WINDOW_JOBS);
        let flow = Flow {
            queue,
            carrier,
            service,
            from,
            stream: None,
            last: 0,
            requests: BTreeMap::new(),
            backoff: Backoff::default(),
            resend_at: None,
        };
        tokio::spawn(flow.run());
        Self {
            jobs,
            window: Arc::new(Semaphore::new(WINDOW_JOBS)),
        }
    }

    /// Sends a job with this payload as JSON. Returns as soon as there is room in the window; the
    /// receipt says when the job is safe.
    pub async fn send<T: Serialize + ?Sized>(&self, payload: &T) -> Result<Receipt, Error> {
        self.send_job(jobs::encode(payload)?).await
    }

    /// As [`Producer::send`], with a job as it is.
    pub async fn send_job(&self, job: NewJob) -> Result<Receipt, Error> {
        let permit = Arc::clone(&self.window).acquire_owned().await;
        let (answer, receipt) = oneshot::channel();
        let item = Item {
            job,
            answer,
            _permit: permit.map_err(|_| gone())?,
        };
        self.jobs.send(item).await.map_err(|_| gone())?;
        Ok(Receipt { answer: receipt })
    }

    /// Waits until nothing is on its way any more.
    pub async fn flush(&self) {
        let all = u32::try_from(WINDOW_JOBS).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = self.window.acquire_many(all).await;
    }
}

/// A request under way.
struct Request {
    jobs: Vec<NewJob>,
    items: Vec<oneshot::Sender<Result<Enqueued, Error>>>,
    permits: Vec<OwnedSemaphorePermit>,
    give_up: Instant,
    /// The client stream under which it was sent last.
    stream: Option<u64>,
    /// It is with the carrier.
    sent: bool,
    /// An earlier try ended without saying whether it was done.
    unknown: Option<Error>,
}

struct Flow {
    queue: Name,
    carrier: Box<dyn Carrier>,
    service: Arc<dyn QueueService>,
    from: mpsc::Receiver<Item>,
    /// The client stream; 0 when the service has none, and then nothing unknown is sent again.
    stream: Option<u64>,
    /// Number of the last request; they go on growing from stream to stream.
    last: u64,
    requests: BTreeMap<u64, Request>,
    backoff: Backoff,
    resend_at: Option<Instant>,
}

impl Flow {
    async fn run(mut self) {
        let mut open = true;
        while open || !self.requests.is_empty() {
            let resend_at = self.resend_at;
            tokio::select! {
                item = self.from.recv(), if open && self.requests.len() < REQUESTS_MAX => match item {
                    None => open = false,
                    Some(item) => {
                        self.gather(item);
                        self.send_all().await;
                    }
                },
                heard = self.carrier.heard() => self.heard(heard).await,
                () = until(resend_at), if resend_at.is_some() => {
                    self.resend_at = None;
                    self.give_up();
                    self.send_all().await;
                }
            }
        }
    }

    /// Makes one request of this job and those that wait behind it.
    fn gather(&mut self, first: Item) {
        let mut request = Request {
            jobs: Vec::new(),
            items: Vec::new(),
            permits: Vec::new(),
            give_up: Instant::now() + TRY_MAX,
            stream: None,
            sent: false,
            unknown: None,
        };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(item) = next {
            bytes += item.job.payload.len();
            request.jobs.push(item.job);
            request.items.push(item.answer);
            request.permits.push(item._permit);
            let full = request.jobs.len() == REQUEST_JOBS_MAX.min(limits::JOBS_PER_ENQUEUE_MAX)
                || bytes >= REQUEST_BYTES;
            next = if full {
                None
            } else {
                self.from.try_recv().ok()
            };
        }
        self.last += 1;
        self.requests.insert(self.last, request);
    }

    /// Sends what is not with the carrier, in order.
    async fn send_all(&mut self) {
        if self.resend_at.is_some() {
            return;
        }
        let stream = match self.stream().await {
            Ok(stream) => stream,
            Err(error) => return self.later(&error),
        };
        let done_below = self.requests.keys().next().copied().unwrap_or(self.last);
        let mut broken = None;
        let mut lost = Vec::new();
        for (number, request) in &mut self.requests {
            if request.sent {
                continue;
            }
            if request.unknown.is_some() && request.stream != Some(stream) {
                // Under another stream it would be executed again.
                lost.push(*number);
                continue;
            }
            request.stream = Some(stream);
            let sent = Sent {
                number: *number,
                stream,
                done_below,
                queue: self.queue.clone(),
                jobs: request.jobs.clone(),
            };
            match self.carrier.send(sent).await {
                Ok(()) => request.sent = true,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        for number in lost {
            self.fail(number, &gone());
        }
        if let Some(error) = broken {
            self.broken(&error);
        }
    }

    async fn stream(&mut self) -> Result<u64, Error> {
        if let Some(stream) = self.stream {
            return Ok(stream);
        }
        let stream = match self.service.open_stream(&Caller::default()).await {
            Err(error) if error.code == Code::Unimplemented => 0,
            result => result?,
        };
        self.stream = Some(stream);
        Ok(stream)
    }

    async fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Acks(acks) => {
                for (number, result) in acks {
                    self.acked(number, result);
                }
            }
            Heard::Broken(error) => self.broken(&error),
        }
        self.send_all().await;
    }

    fn acked(&mut self, number: u64, result: Result<Reply, Error>) {
        let Some(request) = self.requests.get_mut(&number) else {
            return;
        };
        let error = match result {
            Ok(Reply::Enqueued(ids)) => {
                self.backoff.reset();
                let answers = ids.into_iter().map(|id| Ok(Enqueued::from(id)));
                return self.finish(
                    number,
                    answers.chain(std::iter::repeat_with(|| Err(misfit()))),
                );
            }
            Ok(_) => misfit(),
            Err(error) => error,
        };
        request.sent = false;
        if error.code == Code::SessionExpired && request.unknown.is_none() {
            // The client stream is over, and this try was not executed: on under another.
            if self.stream == request.stream {
                self.stream = None;
            }
            return;
        }
        let kind = error.code.kind();
        let told = error.clone().after(&mut request.unknown);
        let safe = kind == Kind::Retryable || (kind == Kind::Unknown && self.stream != Some(0));
        if safe && Instant::now() < request.give_up {
            self.later(&error);
        } else {
            self.fail(number, &told);
        }
    }

    fn broken(&mut self, error: &Error) {
        let numbered = self.stream != Some(0);
        let mut lost = Vec::new();
        for (number, request) in &mut self.requests {
            if request.sent {
                request.sent = false;
                request.unknown = Some(Error {
                    code: Code::OutcomeUnknown,
                    ..error.clone()
                });
                if !numbered {
                    lost.push(*number);
                }
            }
        }
        for number in lost {
            self.fail(number, error);
        }
        self.later(error);
    }

    /// Sends again after a pause.
    fn later(&mut self, error: &Error) {
        if self.resend_at.is_none() {
            let delay = self.backoff.next(error.retry_after_ms);
            tracing::debug!(%error, ?delay, "jobs are sent again");
            self.resend_at = Some(Instant::now() + delay);
        }
    }

    /// Fails what was tried for too long.
    fn give_up(&mut self) {
        let now = Instant::now();
        let late = |request: &Request| !request.sent && now >= request.give_up;
        let late: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, request)| late(request))
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            let text = format!("the queue did not take the job within {TRY_MAX:?}");
            self.fail(number, &Error::new(Code::NoQuorum, text));
        }
    }

    fn fail(&mut self, number: u64, error: &Error) {
        if let Some(request) = self.requests.get_mut(&number) {
            let error = error.clone().after(&mut request.unknown);
            self.finish(number, std::iter::repeat_with(|| Err(error.clone())));
        }
    }

    fn finish(&mut self, number: u64, answers: impl Iterator<Item = Result<Enqueued, Error>>) {
        if let Some(request) = self.requests.remove(&number) {
            answer(request, answers);
        }
    }
}

fn answer(request: Request, answers: impl Iterator<Item = Result<Enqueued, Error>>) {
    for (item, result) in request.items.into_iter().zip(answers) {
        // Nobody may care for this receipt.
        let _ = item.send(result);
    }
    drop(request.permits);
}

async fn until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at.into()).await;
    }
}
