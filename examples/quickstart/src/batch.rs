//! Fan out, then join: the join runs once, when every child is final.

use quorate_work_queue::queue::Queue;
use quorate_work_queue::worker::{Context, Job, JobError, Worker};

/// Counts the words of all lines: one job a line, and one that adds up.
pub async fn batch(queue: &Queue, name: &str, lines: &[&str]) -> anyhow::Result<usize> {
    let batch = queue.batch("count").key(name).join("add", name);
    let batch = batch.create().await?;
    batch.add_many(0, lines).await?;
    batch.seal(u32::try_from(lines.len())?).await?;

    let count = Worker::new(queue, "count").slots(8);
    let count = count.spawn(|job: Job<String>, _: Context| async move {
        Ok::<_, JobError>(job.payload.split_whitespace().count())
    });
    let all = queue.clone();
    let add = Worker::new(queue, "add").spawn(move |job, _: Context| sum(all.clone(), job));

    let done = batch.wait().await?;
    count.stop().await?;
    add.stop().await?;
    let join = queue.get(done.join.unwrap_or_default()).await?;
    Ok(serde_json::from_slice(&join.result.unwrap_or_default())?)
}

async fn sum(queue: Queue, join: Job<String>) -> Result<usize, JobError> {
    let batch = queue.open_batch(join.joins.unwrap_or_default());
    let mut sum = 0;
    for child in batch.results().await? {
        sum += serde_json::from_slice::<usize>(&child.result.unwrap_or_default())?;
    }
    Ok(sum)
}
