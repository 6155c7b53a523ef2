//! Many jobs a second: send without waiting, then wait for all.

use quorate_work_queue::queue::Queue;

/// Adds the numbers below `count` and gives how many jobs wait in the queue then.
pub async fn many(queue: &Queue, count: u32) -> anyhow::Result<u64> {
    let producer = queue.producer("numbers")?;
    let mut receipts = Vec::new();
    for number in 0..count {
        receipts.push(producer.send(&number).await?);
    }
    for receipt in receipts {
        receipt.await?;
    }
    Ok(queue.inspect("numbers").await?.counts.ready)
}
