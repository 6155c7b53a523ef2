//! The library with leaves in this process. What is the driver's or the engine's is tested there.

use super::*;
use crate::definition::{HedgeSpec, PolicyOptions, PolicySpec};
use crate::merge::{Bounds, MergeFailure, MergeSpec, Merged, Merging, Piece, Refusal};
use futures::future::BoxFuture;
use quorate_core::error::Code;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Enough for a machine that is busy with other things; no test waits for it.
const LONG: Duration = Duration::from_secs(60);

fn value(value: u64) -> Arc<dyn Leaf> {
    leaf_fn(move |_| async move { Ok(LeafAnswer::json(format!("{{\"value\":{value}}}"))) })
}

fn fails() -> Arc<dyn Leaf> {
    leaf_fn(|_| async { Err(LeafError::Failed("on purpose".to_owned())) })
}

fn panics() -> Arc<dyn Leaf> {
    leaf_fn(|_| async { panic!("a leaf panics, on purpose") })
}

fn hangs() -> Arc<dyn Leaf> {
    leaf_fn(|_| std::future::pending())
}

fn sum(builder: Builder) -> Scatter {
    builder
        .merge(MergeSpec::sum("/value").unwrap())
        .build()
        .unwrap()
}

fn quorum(quorum: u32) -> PolicySpec {
    PolicySpec::Options(PolicyOptions {
        quorum: Some(quorum),
        ..PolicyOptions::default()
    })
}

fn fates(answer: &Answer) -> Vec<&str> {
    answer.shards.iter().map(|line| &*line.outcome).collect()
}

/// Leaves of this process are summed, and the request reaches each as it was sent.
#[tokio::test]
async fn leaves_in_process_are_summed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut builder = Scatter::builder().timeout(LONG);
    for shard in 0..20 {
        let asked = Arc::clone(&asked);
        let leaf = leaf_fn(move |request: LeafRequest| {
            asked.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(request.body, "how much?");
                assert!(request.remaining.is_some_and(|r| r > Duration::ZERO));
                Ok(LeafAnswer::json(format!("{{\"value\":{shard}}}")))
            }
        });
        builder = builder.shard_of(shard.to_string(), [leaf]);
    }
    let answer = sum(builder).query("how much?").await.unwrap();
    assert!(answer.complete);
    assert_eq!(answer.merged.body, r#"{"value":190}"#);
    assert_eq!(asked.load(Ordering::SeqCst), 20);
}

/// A replica that fails or panics is replaced by another; a shard without one makes the answer partial.
#[tokio::test]
async fn failures_are_replaced_or_told() {
    let scatter = sum(Scatter::builder()
        .shard_of("a", [fails(), value(1), value(1)])
        .shard_of("b", [panics(), value(2), value(2)])
        .shard_of("c", [fails(), panics()])
        .shard_of("d", [value(8)])
        .timeout(LONG)
        .policy(quorum(3)));
    let answer = scatter.query("").await.unwrap();
    assert!(!answer.complete);
    // Done at the third; the dead shard may not even have been given up by then.
    assert_eq!(answer.counts.merged, 3);
    assert_eq!(answer.merged.body, r#"{"value":11}"#);
    let all = sum(Scatter::builder()
        .shard_of("a", [fails(), panics()])
        .shard_of("b", [value(1)])
        .timeout(LONG));
    let error = all.query("").await.unwrap_err();
    assert_eq!(error.code, Code::InsufficientShards);
}

/// A replica that hangs is hedged, and its call ends.
#[tokio::test]
async fn a_hung_replica_is_hedged() {
    let scatter = sum(Scatter::builder()
        .shard_of("a", [hangs(), value(1)])
        .shard_of("b", [value(2)])
        .timeout(Duration::from_secs(60))
        .hedge(HedgeSpec::delay_ms(2)));
    let mut hedges = 0;
    for _ in 0..10 {
        let answer = scatter.query("").await.unwrap();
        assert_eq!(answer.merged.body, r#"{"value":3}"#);
        hedges += answer.hedges;
    }
    assert!(hedges >= 1);
    let targets = scatter.targets();
    assert!(
        targets
            .shards
            .iter()
            .all(|s| s.replicas.iter().all(|r| r.in_flight == 0))
    );
    assert_eq!(targets.calls_in_flight, 0);
}

/// The time is kept although nobody answers, and what is out is said to have timed out.
#[tokio::test]
async fn the_deadline_is_kept() {
    let scatter = sum(Scatter::builder()
        .shard_of("a", [value(1)])
        .shard_of("b", [hangs()])
        .policy(PolicySpec::Deadline)
        .timeout(Duration::from_secs(1)));
    let answer = scatter.query("").await.unwrap();
    assert_eq!(fates(&answer), ["merged", "timed_out"]);
    assert_eq!(answer.merged.body, r#"{"value":1}"#);
    let nobody = sum(Scatter::builder()
        .shard_of("a", [hangs()])
        .timeout(Duration::from_millis(50)));
    assert_eq!(
        nobody.query("").await.unwrap_err().code,
        Code::DeadlineExceeded
    );
}

/// A merger of one's own: the longest body.
#[derive(Debug)]
struct Longest;

struct Best(bytes::Bytes);

impl crate::merge::Merger for Longest {
    fn init(&self, _: Bounds) -> Box<dyn Merging> {
        Box::new(Best(bytes::Bytes::new()))
    }
}

impl Merging for Best {
    fn push(&mut self, piece: Piece) -> Result<(), Refusal> {
        if piece.body.is_empty() {
            return Err(Refusal::nonsense("an empty answer"));
        }
        if piece.body.len() > self.0.len() {
            self.0 = piece.body;
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn partial(self: Box<Self>) -> Result<Merged, MergeFailure> {
        Ok(Merged::json(self.0))
    }

    fn finish(self: Box<Self>, _: Duration) -> BoxFuture<'static, Result<Merged, MergeFailure>> {
        Box::pin(async move { Ok(Merged::json(self.0)) })
    }
}

/// A merger in Rust is used, and what it refuses is failed with its reason.
#[tokio::test]
async fn a_merger_of_ones_own() {
    let text = |text: &'static str| leaf_fn(move |_| async move { Ok(LeafAnswer::json(text)) });
    let scatter = Scatter::builder()
        .shard_of("a", [text("long")])
        .shard_of("b", [text("longest")])
        .shard_of("c", [text("")])
        .policy(PolicySpec::Deadline)
        .timeout(Duration::from_secs(30))
        .merger(Longest)
        .build()
        .unwrap();
    let answer = scatter.query("").await.unwrap();
    assert_eq!(answer.merged.body, "longest");
    assert_eq!(fates(&answer), ["merged", "merged", "failed"]);
    assert_eq!(answer.shards[2].reason.as_deref(), Some("nonsense"));
}

/// Definitions that could not work are refused with their field, before anything runs.
#[tokio::test]
async fn bad_definitions_are_refused() {
    let none: [&str; 0] = [];
    for (builder, field) in [
        (Scatter::builder(), "shards"),
        (Scatter::builder().shard("a", none), "replicas"),
        (
            Scatter::builder()
                .shard("a", ["http://x"])
                .shard("a", ["http://y"]),
            "shards",
        ),
        (
            Scatter::builder().shard("a", ["http://169.254.169.254/"]),
            "link-local",
        ),
        (
            Scatter::builder()
                .shard_of("a", [value(1)])
                .timeout(Duration::ZERO),
            "timeout_ms",
        ),
        (
            Scatter::builder()
                .shard_of("a", [value(1)])
                .policy(quorum(2)),
            "quorum",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument);
        assert!(error.detail.contains(field), "{field}: {error}");
    }
}

/// A request that a leaf refuses is not held against the replica: nothing is wrong with it.
#[tokio::test]
async fn a_refused_request_ejects_nobody() {
    let refuses = || leaf_fn(|_| async { Err(LeafError::Refused("no such field".to_owned())) });
    let scatter = sum(Scatter::builder()
        .timeout(LONG)
        .shard_of("0", [refuses(), refuses()]));
    for _ in 0..10 {
        let error = scatter.query("").await.unwrap_err();
        assert_eq!(error.code, Code::InsufficientShards);
        assert!(error.detail.contains("no such field"), "{error}");
    }
    for replica in &scatter.targets().shards[0].replicas {
        assert_eq!(replica.failures_in_a_row, 0, "{replica:?}");
    }
}

/// What stands before services stands before a scatter.
#[tokio::test]
async fn a_scatter_is_a_service() {
    use tower::ServiceExt as _;
    let scatter = sum(Scatter::builder().timeout(LONG).shard_of("0", [value(7)]));
    let limited = tower::limit::ConcurrencyLimit::new(scatter, 1);
    let answer = limited
        .oneshot(Question::query(Bytes::new()))
        .await
        .unwrap();
    assert_eq!(answer.merged.body, r#"{"value":7}"#);
}
