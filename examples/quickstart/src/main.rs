//! `cargo run -p quickstart` in memory, `… -- DIR` with a replica in this process, `… -- HOST:PORT`
//! against a running queue.
#![allow(clippy::print_stdout, reason = "it is for people")]

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let queue = quickstart::open(std::env::args().nth(1)).await?;
    println!("{}", quickstart::hello(&queue, "world").await?);
    let (sum, attempts) = quickstart::careful(&queue, 100).await?;
    println!("the sum of 1 to 100 is {sum}, in {attempts} attempts");
    let lines = ["to be or not to be", "that is the question"];
    let words = quickstart::batch(&queue, "hamlet", &lines).await?;
    println!("{words} words, one job a line");
    println!("{} jobs wait", quickstart::many(&queue, 1_000).await?);
    queue.shutdown().await;
    Ok(())
}
