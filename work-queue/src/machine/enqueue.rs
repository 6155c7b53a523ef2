//! `Enqueue`: all jobs of a request, or none.

use super::check;
use super::planted::{self, Bug};
use super::rows::{Extra, Job, Marks, QueueId};
use super::store::{Ctx, QueueMachine};
use super::types::{BatchId, BatchState, JobId, NewJob, Reply, State, limits};
use quorate_core::error::{Code, Error};
use quorate_core::types::Name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// When a full queue is worth another try.
const FULL_RETRY_AFTER_MS: u64 = 1_000;

/// What a job of the request turns out to be.
enum Found {
    /// The same as one that is kept.
    Kept(JobId),
    /// The same as an earlier one of the request.
    Earlier(usize),
    /// New.
    New,
}

/// Names by which jobs of one request are found again.
#[derive(Default)]
struct Seen<'a> {
    keys: BTreeMap<&'a str, usize>,
    places: BTreeMap<(BatchId, u32), usize>,
}

impl QueueMachine {
    pub(super) fn enqueue(
        &mut self,
        ctx: &mut Ctx<'_>,
        name: &Name,
        mut jobs: Vec<NewJob>,
    ) -> Result<Reply, Error> {
        if jobs.is_empty() || jobs.len() > limits::JOBS_PER_ENQUEUE_MAX {
            return Err(Error::invalid(format!(
                "{} jobs in one request: send 1 to {}",
                jobs.len(),
                limits::JOBS_PER_ENQUEUE_MAX
            )));
        }
        for job in &jobs {
            check::new_job(job)?;
        }
        let total = jobs.iter().map(|job| job.payload.len()).sum::<usize>();
        if total > limits::REQUEST_BYTES_MAX {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "{total} bytes of payloads in one request; send at most {} at once",
                    limits::REQUEST_BYTES_MAX
                ),
            ));
        }
        let found = self.find(name, &jobs)?;
        self.check_quota(name, &jobs, &found)?;
        let queue = self.queue_or_new(name)?;

        let mut answer: Vec<(JobId, bool)> = Vec::with_capacity(jobs.len());
        let last = jobs.len() - 1;
        let mut any_ready = false;
        for (place, (job, found)) in jobs.drain(..).zip(found).enumerate() {
            answer.push(match found {
                Found::Kept(id) => (id, true),
                Found::Earlier(place) => (answer[place].0, true),
                Found::New => {
                    let id = JobId(ctx.next_token().0);
                    let row = new_row(queue, job, ctx, None);
                    any_ready |= row.state == State::Ready;
                    if !(planted::on(Bug::LastJobDropped) && last > 0 && place == last) {
                        self.add(ctx, id, row);
                    }
                    (id, false)
                }
            });
        }
        if any_ready {
            self.say_ready(ctx, queue);
        }
        Ok(Reply::Enqueued(answer))
    }

    /// Tells new jobs from those that are known by their dedupe key or place in a batch.
    fn find(&self, name: &Name, jobs: &[NewJob]) -> Result<Vec<Found>, Error> {
        let dedupe = self.names.get(name).map(|id| &self.index(*id).dedupe);
        let mut seen = Seen::default();
        jobs.iter()
            .enumerate()
            .map(|(n, job)| {
                if let Some(place) = job.batch {
                    return self.find_child(place, n, &mut seen);
                }
                let Some(key) = &job.dedupe_key else {
                    return Ok(Found::New);
                };
                if let Some(id) = dedupe.and_then(|dedupe| dedupe.get(key)) {
                    return Ok(Found::Kept(*id));
                }
                Ok(earlier(&mut seen.keys, key, n))
            })
            .collect()
    }

    fn find_child(
        &self,
        place: (BatchId, u32),
        n: usize,
        seen: &mut Seen<'_>,
    ) -> Result<Found, Error> {
        let (id, index) = place;
        if let Some(child) = self.children.get(&place) {
            return Ok(Found::Kept(*child));
        }
        let batch = self
            .batches
            .get(&id)
            .ok_or_else(|| Error::not_found(format!("there is no batch {id}; create it first")))?;
        if index >= limits::BATCH_JOBS_MAX {
            return Err(Error::invalid(format!(
                "index {index}: a batch has at most {} jobs, at 0, 1, 2, …",
                limits::BATCH_JOBS_MAX
            )));
        }
        if batch.state != BatchState::Open {
            let why = if batch.expected.is_some() {
                "is sealed"
            } else {
                "was cancelled"
            };
            return Err(Error::new(
                Code::BatchSealed,
                format!("batch {id} {why} and takes no job at index {index}; create another batch"),
            ));
        }
        Ok(earlier(&mut seen.places, place, n))
    }

    fn check_quota(&self, name: &Name, jobs: &[NewJob], found: &[Found]) -> Result<(), Error> {
        let Some(queue) = self.names.get(name) else {
            return Ok(());
        };
        let (settings, index) = (&self.queue(*queue).settings, self.index(*queue));
        let mut held_jobs = index.held_jobs;
        let mut held_bytes = index.held_bytes;
        for (job, found) in jobs.iter().zip(found) {
            if matches!(found, Found::New) {
                held_jobs += 1;
                held_bytes += weight(job);
            }
        }
        let full = |what: &str, needed: u64, max: u64| {
            Error::new(
                Code::OverQuota,
                format!(
                    "queue {name} would hold {needed} {what} of at most {max}; wait until workers have caught up, or raise max_{what}"
                ),
            )
            .retry_after_ms(FULL_RETRY_AFTER_MS)
        };
        if held_jobs > index.held_jobs && held_jobs > settings.max_jobs {
            return Err(full("jobs", held_jobs, settings.max_jobs));
        }
        if held_jobs > index.held_jobs && held_bytes > settings.max_bytes {
            return Err(full("bytes", held_bytes, settings.max_bytes));
        }
        Ok(())
    }
}

fn earlier<K: Ord>(seen: &mut BTreeMap<K, usize>, key: K, n: usize) -> Found {
    match seen.get(&key) {
        Some(place) => Found::Earlier(*place),
        None => {
            seen.insert(key, n);
            Found::New
        }
    }
}

/// What the quota counts for a job that is not enqueued yet.
pub(super) fn weight(job: &NewJob) -> u64 {
    let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let bytes = job.payload.len()
        + job
            .inputs
            .iter()
            .map(|blob| blob.uri.len() + blob.sha256.len())
            .sum::<usize>()
        + job
            .labels
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
        + text(&job.dedupe_key)
        + text(&job.traceparent);
    bytes as u64
}

/// The row of a new job.
pub(super) fn new_row(queue: QueueId, job: NewJob, ctx: &Ctx<'_>, joins: Option<BatchId>) -> Job {
    let (state, at) = match job.not_before {
        Some(at) if at > ctx.time => (State::Delayed, at),
        _ => (State::Ready, ctx.time),
    };
    let mut marks = Marks::default();
    marks.set(Marks::JSON, job.payload_is_json);
    let extra = Extra {
        inputs: job.inputs,
        labels: job.labels,
        dedupe_key: job.dedupe_key,
        traceparent: job.traceparent,
        max_attempts: job.max_attempts,
        not_before: job.not_before,
        batch: job.batch,
        joins,
    };
    let plain = extra == Extra::default();
    Job {
        payload: job.payload,
        enqueued: ctx.time,
        at,
        extra: (!plain).then(|| Box::new(extra)),
        run: None,
        queue,
        state,
        priority: job.priority,
        marks,
    }
}
