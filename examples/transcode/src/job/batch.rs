//! Submits a prepared film: a job a chunk, one for the sound, and a join when all are done.
//!
//! Every step may be repeated, by this process after a lost answer or by another one that was started
//! for the same film: the batch is named by the film's key and a job by its place in the batch.

use super::prepared::Prepared;
use super::remote::{Remote, misfit};
use crate::film::encode::Picture;
use crate::item::Item;
use bytes::Bytes;
use quorate_core::error::Error;
use quorate_core::types::Name;
use quorate_work_queue::machine::{
    Answer, BatchId, BatchState, BatchView, Blob, ChildView, Command, NewJob, OnDead, Query, Reply,
    State, limits,
};
use std::sync::Arc;

/// The label that all jobs of a film carry; its value is the film's key.
pub const LABEL: &str = "film";
/// The sound is one long job, so it starts first.
const AUDIO_PRIORITY: u8 = 4;

/// A batch, and what was found of it.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The batch.
    pub id: BatchId,
    /// Jobs in it, the join aside.
    pub jobs: u32,
    /// It was there before: how many of its jobs were done already.
    pub attached: Option<u64>,
    /// Dead jobs that were made ready again.
    pub retried: u32,
}

/// Submits the film, or attaches to its batch if it was submitted before. Jobs that died are tried
/// again: whoever starts a film a second time has mended what was wrong, or wants to know.
pub async fn submit(
    remote: &Remote,
    queue: &Name,
    prepared: &Prepared,
) -> Result<Submitted, Error> {
    let jobs = jobs(prepared)?;
    let count = u32::try_from(jobs.len()).map_err(|_| Error::invalid("too many chunks"))?;
    let create = Command::CreateBatch {
        queue: queue.clone(),
        join: Some((queue.clone(), join_job(prepared)?)),
        on_dead: OnDead::Hold,
        key: Some(Arc::from(format!("film-{}", prepared.key))),
    };
    let Reply::Batch(id, existed) = remote.tell(create).await? else {
        return Err(misfit());
    };
    let view = view(remote, id).await?;
    if view.state == BatchState::Open {
        enqueue(remote, queue, id, jobs).await?;
        remote
            .tell(Command::SealBatch {
                batch: id,
                expected: count,
            })
            .await?;
    }
    let retried = match view.state {
        BatchState::Held => retry_dead(remote, id).await?,
        BatchState::Dead => match view.join {
            Some(job) => remote.tell(Command::RetryJob { job }).await.map(|_| 1)?,
            None => 0,
        },
        _ => 0,
    };
    Ok(Submitted {
        id,
        jobs: count,
        attached: existed.then_some(view.counts.completed),
        retried,
    })
}

/// The batch as it stands.
pub async fn view(remote: &Remote, batch: BatchId) -> Result<BatchView, Error> {
    match remote.ask(Query::Batch { batch }).await? {
        Answer::Batch(view) => Ok(*view),
        _ => Err(misfit()),
    }
}

/// All children of a batch, by index.
pub async fn children(remote: &Remote, batch: BatchId) -> Result<Vec<ChildView>, Error> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let page = Query::BatchResults {
            batch,
            from: at,
            limit: limits::PAGE_MAX,
        };
        match remote.ask(page).await? {
            Answer::BatchResults(children, next) => {
                all.extend(children);
                from = next;
            }
            _ => return Err(misfit()),
        }
    }
    Ok(all)
}

async fn enqueue(
    remote: &Remote,
    queue: &Name,
    batch: BatchId,
    jobs: Vec<NewJob>,
) -> Result<(), Error> {
    let mut index = 0;
    for page in jobs.chunks(limits::JOBS_PER_ENQUEUE_MAX) {
        let placed = page
            .iter()
            .map(|job| {
                let place = (batch, index);
                index += 1;
                NewJob {
                    batch: Some(place),
                    ..job.clone()
                }
            })
            .collect();
        let enqueue = Command::Enqueue {
            queue: queue.clone(),
            jobs: placed,
        };
        let Reply::Enqueued(_) = remote.tell(enqueue).await? else {
            return Err(misfit());
        };
    }
    Ok(())
}

async fn retry_dead(remote: &Remote, batch: BatchId) -> Result<u32, Error> {
    let mut retried = 0;
    for child in children(remote, batch).await? {
        if child.state == State::Dead {
            remote.tell(Command::RetryJob { job: child.job }).await?;
            retried += 1;
        }
    }
    Ok(retried)
}

fn jobs(prepared: &Prepared) -> Result<Vec<NewJob>, Error> {
    let plan = &prepared.plan;
    let picture = Picture::new(plan, &prepared.settings);
    let chunks = plan
        .chunks
        .iter()
        .zip(&prepared.chunks)
        .map(|(chunk, blob)| {
            let item = Item::Chunk {
                frames: chunk.frames,
                input: file_name(blob),
                chunk: chunk.clone(),
                picture: Box::new(picture.clone()),
            };
            job(prepared, &item, blob, NewJob::PRIORITY_DEFAULT)
        });
    let audio = prepared.audio.iter().map(|blob| {
        let item = Item::Audio {
            frames: plan.frames,
            input: file_name(blob),
            origin_us: plan.origin_us,
            settings: prepared.settings.clone(),
        };
        job(prepared, &item, blob, AUDIO_PRIORITY)
    });
    chunks.chain(audio).collect()
}

fn join_job(prepared: &Prepared) -> Result<NewJob, Error> {
    let first = NewJob::PRIORITY_DEFAULT;
    job(prepared, &Item::Join, &prepared.plan_file, first)
}

fn job(prepared: &Prepared, item: &Item, input: &Blob, priority: u8) -> Result<NewJob, Error> {
    let payload = serde_json::to_vec(item).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(NewJob {
        payload: Bytes::from(payload),
        payload_is_json: true,
        inputs: vec![input.clone()],
        priority,
        labels: vec![(Arc::from(LABEL), Arc::from(prepared.key.as_str()))],
        ..NewJob::default()
    })
}

/// The name that the worker agent gives an input: the last segment of its address.
fn file_name(blob: &Blob) -> String {
    let name = blob.uri.rsplit('/').next().unwrap_or_default();
    name.to_owned()
}
