//! Three shards with two leaves each, and a root over them.

use crate::corpus::{Document, split};
use crate::index::{Found, Searchable};
use crate::leaf::Leaf;
use anyhow::Result;
use quorate_core::types::Name;
use quorate_scatter_gather::definition::FanoutSpec;
use quorate_scatter_gather::pool::AdmissionCaps;
use quorate_scatter_gather::root::{Answer, Fanout, Origin, Question, Root};
use serde_json::{Value, json};
use std::sync::Arc;

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
    root: Arc<Root>,
    fanout: Arc<Fanout>,
}

impl Fleet {
    /// Starts everything. The root is in this process; `definition` is what `PUT /v1/fanouts/search`
    /// takes from any other.
    pub async fn start(documents: &[Document], policy: Value) -> Result<Self> {
        let mut leaves = Vec::new();
        for part in split(documents, SHARDS) {
            let index = Arc::new(Searchable::build(&part)?);
            let mut replicas = Vec::new();
            for _ in 0..REPLICAS {
                replicas.push(Some(Leaf::start(Arc::clone(&index)).await?));
            }
            leaves.push(replicas);
        }
        let definition = definition(&leaves, policy);
        let spec: FanoutSpec = serde_json::from_value(definition)?;
        let root = Root::new(AdmissionCaps::default());
        let fanout = root.put(&Name::new("search")?, spec, Origin::Api)?;
        Ok(Self {
            leaves,
            root,
            fanout,
        })
    }

    /// Asks all shards.
    pub async fn search(&self, words: &str) -> Result<(Found, Answer)> {
        let body = json!({"q": words, "k": K}).to_string();
        let answer = self.root.ask(&self.fanout, Question::query(body.into())).await?;
        Ok((serde_json::from_slice(&answer.merged.body)?, answer))
    }

    /// Ends a leaf as `kill -9` does.
    pub fn kill(&mut self, shard: usize, replica: usize) {
        self.leaves[shard][replica] = None;
    }
}

/// How the fleet is asked and merged.
pub fn definition(leaves: &[Vec<Option<Leaf>>], policy: Value) -> Value {
    let url = |leaf: &Leaf| format!("http://{}/search", leaf.address);
    let shards = leaves.iter().enumerate().map(|(id, replicas)| {
        let replicas: Vec<String> = replicas.iter().flatten().map(url).collect();
        json!({"id": id.to_string(), "replicas": replicas})
    });
    json!({
        "shards": shards.collect::<Vec<_>>(),
        "policy": policy,
        "timeout_ms": 10_000,
        "hedge": {"delay_ms": 50, "budget": 0.5, "late_together_max": 0.5},
        "merge": {"each": [
            {"top_k": {"pointer": "/hits", "score": "/score", "key": "/id", "k": K}},
            {"group_by": {"pointer": "/facets"}},
            {"sum": {"pointer": "/total"}},
        ]},
    })
}
