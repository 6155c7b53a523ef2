//! `search WORDS…` starts leaves and a root over this machine's documents, asks them, and asks again while
//! leaves are slow and dead. `search --leaf 0.0.0.0:8080 --shard 0` is one leaf, for containers.

use anyhow::Result;
use clap::Parser;
use quorate_scatter_gather::definition::PolicySpec;
use search::corpus;
use search::fleet::{Fleet, SHARDS};
use search::index::Searchable;
use search::leaf::Leaf;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Full-text search over three shards with two replicas each
#[derive(Debug, Parser)]
struct Arguments {
    /// What to search for
    #[arg(required_unless_present = "leaf")]
    words: Vec<String>,
    /// Be one leaf, at this address
    #[arg(long, value_name = "HOST:PORT", requires = "shard")]
    leaf: Option<SocketAddr>,
    /// The shard of the leaf, from 0
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..SHARDS as i64))]
    shard: Option<u8>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let documents = corpus::load();
    match (arguments.leaf, arguments.shard) {
        (Some(address), Some(shard)) => {
            let parts = corpus::split(&documents, SHARDS);
            let index = Arc::new(Searchable::build(&parts[usize::from(shard)])?);
            let leaf = Leaf::start(index, address).await?;
            let mut terminate =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                ended = leaf.run() => ended,
                _ = terminate.recv() => Ok(()),
                interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
            }
        }
        _ => demo(&documents, &arguments.words.join(" ")).await,
    }
}

async fn demo(documents: &[corpus::Document], words: &str) -> Result<()> {
    let mut fleet = Fleet::start(documents, PolicySpec::Deadline, &[]).await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} documents in {SHARDS} shards", documents.len())?;
    ask(&fleet, words, "all leaves well", &mut out).await?;
    if let Some(leaf) = &fleet.leaves[0][0] {
        leaf.slow_down(Duration::from_secs(5));
    }
    ask(&fleet, words, "a leaf of shard 0 takes 5 s", &mut out).await?;
    fleet.kill(1, 0);
    ask(&fleet, words, "and one of shard 1 is dead", &mut out).await?;
    fleet.kill(2, 0);
    fleet.kill(2, 1);
    ask(&fleet, words, "and all of shard 2", &mut out).await?;
    let (found, _) = fleet.search(words).await?;
    writeln!(out, "\nThe best of what is left, and all of it by licence:")?;
    for hit in &found.hits {
        writeln!(out, "{:8.4}  {}", hit.score, hit.id)?;
    }
    writeln!(out, "{:?}", found.facets)?;
    Ok(())
}

async fn ask(fleet: &Fleet, words: &str, state: &str, out: &mut impl std::io::Write) -> Result<()> {
    let begin = Instant::now();
    let (found, answer) = fleet.search(words).await?;
    let how = if answer.complete {
        "complete"
    } else {
        "partial"
    };
    writeln!(
        out,
        "{state:<28} {:>5} found, {how}, {:>5.1} ms, {} hedges; {}",
        found.total,
        begin.elapsed().as_secs_f64() * 1e3,
        answer.hedges,
        answer.shards_header()
    )?;
    Ok(())
}
