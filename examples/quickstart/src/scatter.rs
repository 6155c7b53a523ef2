//! One request to every shard, one truthful answer in time.

use quorate_scatter_gather::Scatter;
use quorate_scatter_gather::definition::{HedgeSpec, PolicySpec};
use quorate_scatter_gather::merge::MergeSpec;

/// The sum of what the shards say, and whether all of them are in it. Each shard has two replicas.
pub async fn scatter(east: [&str; 2], west: [&str; 2]) -> anyhow::Result<(String, bool)> {
    let scatter = Scatter::builder()
        .shard("east", east)
        .shard("west", west)
        .policy(PolicySpec::Deadline)
        .hedge(HedgeSpec::quantile(0.95))
        .merge(MergeSpec::sum("/value")?)
        .build()?;
    let answer = scatter.query(r#"{"q":"needle"}"#).await?;
    for shard in &answer.shards {
        eprintln!("{}: {} by {:?}", shard.shard, shard.outcome, shard.replica);
    }
    let body = String::from_utf8(answer.merged.body.to_vec())?;
    Ok((body, answer.complete))
}
