//! Three shards with two leaves each, and a root over them.

use crate::corpus::{Document, split};
use crate::index::{Found, Searchable};
use crate::leaf::Leaf;
use anyhow::Result;
use quorate_scatter_gather::Scatter;
use quorate_scatter_gather::definition::PolicySpec;
use quorate_scatter_gather::merge::MergeSpec;
use quorate_scatter_gather::scatter::Answer;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Shards of the fleet.
pub const SHARDS: usize = 3;
/// Leaves of a shard.
pub const REPLICAS: usize = 2;
/// Hits of an answer.
pub const K: usize = 10;

/// The leaves and the root.
pub struct Fleet {
    /// By shard and replica; `None` after a kill.
    pub leaves: Vec<Vec<Option<Leaf>>>,
    root: Scatter,
}

impl Fleet {
    /// Starts everything, with a root in this process. `foreign` are shards of other makes.
    ///
    /// # Errors
    /// No index, no port, or a fan-out that could not work.
    pub async fn start(
        documents: &[Document],
        policy: PolicySpec,
        foreign: &[String],
    ) -> Result<Self> {
        let mut leaves = Vec::new();
        for part in split(documents, SHARDS) {
            let index = Arc::new(Searchable::build(&part)?);
            let mut replicas = Vec::new();
            for _ in 0..REPLICAS {
                let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                replicas.push(Some(Leaf::start(Arc::clone(&index), any).await?));
            }
            leaves.push(replicas);
        }
        let mut root = Scatter::builder()
            .policy(policy)
            .timeout(Duration::from_secs(10))
            .hedge(hedge())
            .merge(merge()?)
            .edit(|spec| spec.request.method = Some("GET".to_owned()));
        for (shard, replicas) in leaves.iter().enumerate() {
            let url = |leaf: &Leaf| format!("http://{}/search", leaf.address);
            let urls: Vec<String> = replicas.iter().flatten().map(url).collect();
            root = root.shard(shard.to_string(), urls);
        }
        for (number, url) in foreign.iter().enumerate() {
            root = root.shard(format!("foreign-{number}"), [url.clone()]);
        }
        Ok(Self {
            leaves,
            root: root.build()?,
        })
    }

    /// Asks all shards.
    ///
    /// # Errors
    /// Too few shards for the policy, or an answer that is none.
    pub async fn search(&self, words: &str) -> Result<(Found, Answer)> {
        let mut question = quorate_scatter_gather::scatter::Question::query("".into());
        question.query = query(words);
        let answer = self.root.ask(question).await?;
        Ok((serde_json::from_slice(&answer.merged.body)?, answer))
    }

    /// Ends a leaf as `kill -9` does.
    pub fn kill(&mut self, shard: usize, replica: usize) {
        self.leaves[shard][replica] = None;
    }
}

/// A leaf that is slower than this, far more than a healthy one takes, is raced by its twin. Half the calls may
/// be hedged: with one leaf of six slow, the usual twentieth would soon be spent. And of three shards it says
/// nothing that two are late together.
fn hedge() -> quorate_scatter_gather::definition::HedgeSpec {
    quorate_scatter_gather::definition::HedgeSpec {
        budget: 0.5,
        late_together_max: 1.0,
        ..quorate_scatter_gather::definition::HedgeSpec::delay_ms(200)
    }
}

/// The best hits of all shards, and beside them how many there are, in all and by licence.
fn merge() -> Result<MergeSpec> {
    Ok(serde_json::from_value(json!({"each": [
        {"top_k": {"pointer": "/hits", "score": "/score", "key": "/id", "k": K}},
        {"group_by": {"pointer": "/facets"}},
        {"sum": {"pointer": "/total"}},
    ]}))?)
}

fn query(words: &str) -> String {
    let escaped: String = words
        .bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("q={escaped}&k={K}")
}
