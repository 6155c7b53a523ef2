//! Enqueue a job, do it, read its result.

use quorate_work_queue::queue::Queue;
use quorate_work_queue::worker::{Context, Job, JobError, Worker};

/// Gives what the worker made of `name`.
pub async fn hello(queue: &Queue, name: &str) -> anyhow::Result<String> {
    let id = queue.enqueue("hello", name).await?;

    let worker = Worker::new(queue, "hello").slots(4);
    let worker = worker.spawn(|job: Job<String>, _: Context| async move {
        Ok::<_, JobError>(format!("hello {}", job.payload))
    });

    let done = queue.wait(id).await?;
    worker.stop().await?;
    Ok(serde_json::from_slice(&done.result.unwrap_or_default())?)
}
