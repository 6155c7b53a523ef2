//! `search WORDS…`: starts leaves and a root over this machine's documents and asks them.

use search::corpus;
use search::fleet::Fleet;
use std::io::Write as _;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    anyhow::ensure!(!words.is_empty(), "usage: search WORDS…");
    let documents = corpus::load();
    let fleet = Fleet::start(&documents, "deadline".into()).await?;
    let (found, answer) = fleet.search(&words.join(" ")).await?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{} of {} documents, {}; {}",
        found.total,
        documents.len(),
        if answer.complete { "complete" } else { "partial" },
        answer.shards_header()
    )?;
    for hit in &found.hits {
        writeln!(out, "{:8.4}  {}", hit.score, hit.id)?;
    }
    writeln!(out, "by licence: {:?}", found.facets)?;
    Ok(())
}
