//! A job that reports progress, survives being interrupted, and says how it failed.

use quorate_work_queue::queue::Queue;
use quorate_work_queue::worker::{Context, Dead, Job, JobError, Retry, Worker};
use std::time::Duration;

/// Adds up 1 to the payload; the first attempt stops half-way.
async fn sum(job: Job<u64>, context: Context) -> Result<u64, JobError> {
    let (mut next, mut sum) = match &job.checkpoint {
        Some(saved) => serde_json::from_slice(saved)?,
        None if job.payload > 1_000_000 => return Err(Dead::new("too much for me").into()),
        None => (1, 0),
    };
    while next <= job.payload && !context.is_cancelled() {
        (next, sum) = (next + 1, sum + next);
        context.progress(next as f64, job.payload as f64, "numbers", "");
        if next == job.payload / 2 {
            let saved = serde_json::to_vec(&(next, sum))?;
            context.checkpoint(saved).await?;
            return Err(Retry::after(Duration::ZERO, "half is enough for once").into());
        }
    }
    Ok(sum)
}

/// Gives the sum, and how many attempts it took.
pub async fn careful(queue: &Queue, up_to: u64) -> anyhow::Result<(u64, usize)> {
    let worker = Worker::new(queue, "sums").spawn(sum);
    let job = queue.job("sums", &up_to).priority(0).label("kind", "sum");
    let id = job.enqueue().await?.id;
    let done = queue.wait(id).await?;
    worker.stop().await?;
    let sum = serde_json::from_slice(&done.result.unwrap_or_default())?;
    Ok((sum, done.attempts.len()))
}
