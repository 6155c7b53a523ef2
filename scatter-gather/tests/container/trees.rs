//! A tree of three levels over sockets: what fails at one level is told at the top, and only that is missing.

use crate::support::{Container, Leaf, Manner, answer, json, ok};
use quorate_scatter_gather::server;
use serde_json::{Value, json as value};
use std::sync::Arc;

/// A container a level, with the nodes of that level as fan-outs, and eight leaves.
struct Tree {
    levels: [Container; 3],
    leaves: Vec<Leaf>,
}

impl Tree {
    /// Leaf n has the value 2^n.
    async fn start() -> Self {
        let levels = [
            Container::root().await,
            Container::root().await,
            Container::root().await,
        ];
        let mut leaves = Vec::new();
        for number in 0..8 {
            leaves.push(Leaf::start(json(&value!({"value": 1 << number}))).await);
        }
        Self { levels, leaves }
    }

    /// Defines the tree with something else in the place of the first node of a level, the leaves being level
    /// 0, and asks it.
    async fn ask(&self, name: &str, level: usize, instead: String) -> Value {
        let sum = value!({"sum": {"pointer": "/value"}});
        let mut below: Vec<String> = self.leaves.iter().map(Leaf::url).collect();
        for (above, container) in self.levels.iter().enumerate() {
            if above == level {
                below[0].clone_from(&instead);
            }
            let mut urls = Vec::new();
            for (number, pair) in below.chunks(2).enumerate() {
                let shard =
                    |place: usize| value!({"id": place.to_string(), "replicas": [pair[place]]});
                let node = format!("{name}-{above}-{number}");
                let definition = value!({
                    "shards": [shard(0), shard(1)],
                    "leaves": if above == 0 { "http" } else { "nodes" },
                    "merge": sum, "policy": "deadline", "retry": {"attempts_max": 1},
                    // Enough between the levels for a machine that is busy or stands still for a while.
                    "timeout_ms": 10_000, "reserve_ms": 2_500,
                });
                container.define(&node, &definition).await;
                urls.push(container.url(&format!("/v1/fanouts/{node}/query")));
            }
            below = urls;
        }
        self.levels[2].account(&format!("{name}-2-0")).await
    }
}

/// Proves for failures of many kinds at each level that the answer at the top is the sum of what is not below
/// the failure, that it is not called complete, and that the leaves are counted.
#[tokio::test(flavor = "multi_thread")]
async fn failures_at_each_level_are_told_at_the_top() {
    let tree = Arc::new(Tree::start().await);
    let cut = b"HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n{\"value\":7}";
    let manners = [
        ("close", Manner::Close),
        ("cut", Manner::Bytes(cut.to_vec())),
        ("noise", Manner::Bytes(b"\0\0\0".to_vec())),
        ("busy", answer(503, &[], "{\"value\":7}")),
        ("broken", answer(500, &[], "{\"value\":7}")),
        ("page", ok("text/html", "<p>")),
        ("nonsense", ok("application/json", "{\"result\":")),
        ("hang", Manner::Hang),
        ("drip", Manner::Drip),
    ];
    let mut asked = Vec::new();
    for (name, manner) in manners {
        for level in 0..3 {
            let (tree, manner) = (Arc::clone(&tree), manner.clone());
            asked.push(tokio::spawn(async move {
                let instead = Leaf::start(manner).await;
                let name = format!("{name}-{level}");
                let mut url = instead.url();
                let mut gate = None;
                if level > 0 {
                    // Nodes speak HTTP/2, which these leaves do not.
                    let variables = [("QUORATE_UPSTREAM", url.as_str())];
                    let before = Container::run("sidecar", &variables, server::gate).await;
                    url = before.url("");
                    gate = Some(before);
                }
                let account = tree.ask(&name, level, url).await;
                drop((instead, gate));
                (name, level, account)
            }));
        }
    }
    for asked in asked {
        let (name, level, account) = asked.await.unwrap();
        // The leaves below the first node of that level.
        let lost = 1_u64 << level;
        let missing = (1_u64 << lost) - 1;
        assert_eq!(
            account["result"],
            value!({"value": 255 - missing}),
            "{name}: {account}"
        );
        assert_eq!(account["complete"], false, "{name}: {account}");
        // Nobody knows what is below a node that does not say: it counts as one.
        let counts = &account["leaves"];
        assert_eq!(counts["merged"], 8 - lost, "{name}: {account}");
        assert_eq!(counts["planned"], 8 - lost + 1, "{name}: {account}");
        // A gate's time may be over a moment before the node's, which then has its refusal.
        let late = name.starts_with("hang") || name.starts_with("drip");
        let timed_out = counts["timed_out"].as_u64().unwrap();
        assert_eq!(
            counts["failed"].as_u64().unwrap() + timed_out,
            1,
            "{name}: {account}"
        );
        assert!(timed_out == 0 || late, "{name}: {account}");
        assert!(timed_out == 1 || !late || level > 0, "{name}: {account}");
    }
}
