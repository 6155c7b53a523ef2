//! Batches: a fan-out whose children have places, and a join that runs once when all are final.
//!
//! Every step may be repeated: a create under the same key, a job at the same place and the same seal
//! find what is there. So a program that died half-way runs again from the start.

use super::{Enqueued, Queue, jobs, misfit};
use crate::machine::{
    Answer, BatchId, BatchState, BatchView, ChildView, Command, NewJob, OnDead, Query, Reply,
    limits,
};
use quorate_core::error::Error;
use quorate_core::types::Name;
use serde::Serialize;
use std::sync::Arc;

/// A batch and its options; comes into being with [`BatchBuilder::create`].
#[derive(Clone, Debug)]
#[must_use = "the batch exists only after create()"]
pub struct BatchBuilder {
    queue: Queue,
    name: String,
    key: Option<String>,
    join: Option<(String, Result<NewJob, Error>)>,
    on_dead: OnDead,
}

impl BatchBuilder {
    pub(super) fn new(queue: Queue, name: &str) -> Self {
        Self {
            queue,
            name: name.to_owned(),
            key: None,
            join: None,
            on_dead: OnDead::default(),
        }
    }

    /// A second create under this key finds the first batch.
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// The job to run, in this queue, once all children are final.
    pub fn join<T: Serialize + ?Sized>(mut self, queue: &str, payload: &T) -> Self {
        self.join = Some((queue.to_owned(), jobs::encode(payload)));
        self
    }

    /// As [`BatchBuilder::join`], with a job as it is.
    pub fn join_job(mut self, queue: &str, job: NewJob) -> Self {
        self.join = Some((queue.to_owned(), Ok(job)));
        self
    }

    /// What a dead child does: hold the join (the default), count as final, or cancel the batch.
    pub fn on_dead(mut self, on_dead: OnDead) -> Self {
        self.on_dead = on_dead;
        self
    }

    /// Creates the batch, or finds the one with the same key.
    pub async fn create(self) -> Result<Batch, Error> {
        let join = match self.join {
            None => None,
            Some((queue, job)) => Some((Name::new(&queue)?, job?)),
        };
        let command = Command::CreateBatch {
            queue: Name::new(&self.name)?,
            join,
            on_dead: self.on_dead,
            key: self.key.map(Arc::from),
        };
        match self.queue.execute(command).await? {
            Reply::Batch(id, existing) => Ok(Batch {
                existing,
                name: Some(self.name),
                ..Batch::new(self.queue, id)
            }),
            _ => Err(misfit()),
        }
    }
}

/// A batch.
#[derive(Clone, Debug)]
pub struct Batch {
    queue: Queue,
    id: BatchId,
    existing: bool,
    /// The children's queue, when this handle created the batch.
    name: Option<String>,
}

impl Batch {
    pub(super) fn new(queue: Queue, id: BatchId) -> Self {
        Self {
            queue,
            id,
            existing: true,
            name: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> BatchId {
        self.id
    }

    /// It was there before this handle: a create with the same key.
    pub fn is_existing(&self) -> bool {
        self.existing
    }

    /// Adds a child at a place. A second one at the same place is the first one.
    pub async fn add<T: Serialize + ?Sized>(
        &self,
        index: u32,
        payload: &T,
    ) -> Result<Enqueued, Error> {
        let added = self.add_jobs(index, vec![jobs::encode(payload)?]).await?;
        added.first().copied().ok_or_else(misfit)
    }

    /// Adds children at `first`, `first + 1`, …, in steps of up to 1,000 of which each is atomic.
    pub async fn add_many<T: Serialize>(
        &self,
        first: u32,
        payloads: impl IntoIterator<Item = T>,
    ) -> Result<Vec<Enqueued>, Error> {
        let jobs = payloads.into_iter().map(|payload| jobs::encode(&payload));
        self.add_jobs(first, jobs.collect::<Result<_, _>>()?).await
    }

    /// As [`Batch::add_many`], with jobs as they are.
    pub async fn add_jobs(&self, first: u32, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
        let queue = match &self.name {
            Some(name) => Name::new(name)?,
            None => self.view().await?.queue,
        };
        let mut added = Vec::with_capacity(jobs.len());
        let mut index = first;
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for mut job in jobs {
            if chunk.len() == limits::JOBS_PER_ENQUEUE_MAX || bytes > CHUNK_BYTES {
                added.extend(
                    self.queue
                        .add(queue.clone(), std::mem::take(&mut chunk))
                        .await?,
                );
                bytes = 0;
            }
            job.batch = Some((self.id, index));
            bytes += job.payload.len();
            chunk.push(job);
            index = index.saturating_add(1);
        }
        if !chunk.is_empty() {
            added.extend(self.queue.add(queue, chunk).await?);
        }
        Ok(added)
    }

    /// No more children: `expected` are there, at 0 to `expected - 1`.
    pub async fn seal(&self, expected: u32) -> Result<(), Error> {
        let batch = self.id;
        self.queue
            .done(Command::SealBatch { batch, expected })
            .await
    }

    /// Cancels the batch and its jobs.
    pub async fn cancel(&self) -> Result<(), Error> {
        self.queue
            .done(Command::CancelBatch { batch: self.id })
            .await
    }

    /// Where it stands.
    pub async fn view(&self) -> Result<BatchView, Error> {
        self.queue.view_of(self.id).await
    }

    /// Waits until it is completed, dead or cancelled. A batch that is held by a dead child goes on
    /// waiting: retry the child or skip it.
    pub async fn wait(&self) -> Result<BatchView, Error> {
        self.watch(|_| {}).await
    }

    /// As [`Batch::wait`], showing every look at it.
    pub async fn watch(&self, mut seen: impl FnMut(&BatchView)) -> Result<BatchView, Error> {
        let is_final = |view: &BatchView| {
            seen(view);
            matches!(
                view.state,
                BatchState::Completed | BatchState::Dead | BatchState::Cancelled
            )
        };
        self.queue.look(|| self.view(), is_final).await
    }

    /// All children by index, with their results.
    pub async fn results(&self) -> Result<Vec<ChildView>, Error> {
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(next) = from {
            let query = Query::BatchResults {
                batch: self.id,
                from: next,
                limit: limits::PAGE_MAX,
            };
            match self.queue.query(query).await? {
                Answer::BatchResults(children, next) => {
                    all.extend(children);
                    from = next;
                }
                _ => return Err(misfit()),
            }
        }
        Ok(all)
    }
}

/// Payload bytes after which a step is full: one entry of the log stays small.
const CHUNK_BYTES: usize = 1024 * 1024;
