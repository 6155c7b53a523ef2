//! Proofs about a shard's replicas without sockets: choosing, ejecting, coming back.

use super::*;
use crate::gather::{Kind, Replica, ReplicaSet, Share};
use quorate_core::types::Mono;
use std::sync::Arc;

fn replicas(count: u16) -> Replicas {
    let hosts = Hosts::new(Admission::new(AdmissionCaps::default()));
    let targets = (0..count).map(|i| {
        let url = LeafUrl::parse(&format!("http://127.0.0.1:{}", 9_000 + i)).unwrap();
        let host = hosts.host(&url, Protocol::Auto);
        Arc::new(Target::new(url, host))
    });
    Replicas::new(targets.collect(), 1)
}

fn fail(target: &Target) {
    for _ in 0..5 {
        target.disappointed();
    }
}

fn at(seconds: u64) -> Mono {
    Mono(quorate_core::clock::monotonic().0 + seconds * 1_000_000_000)
}

const LATE: Share = Share::ppm(950_000);

/// A replica that was tried is not offered again, and all are offered some time.
#[test]
fn choices_are_spread() {
    let shard = replicas(3);
    let mut seen = [0; 3];
    for _ in 0..300 {
        let chosen = shard
            .choose(ReplicaSet::EMPTY, Kind::Primary, at(0))
            .unwrap();
        seen[usize::from(chosen.replica.0)] += 1;
    }
    assert!(seen.iter().all(|count| *count > 30), "{seen:?}");
    let two = ReplicaSet::EMPTY.with(Replica(0)).with(Replica(2));
    assert_eq!(
        shard.choose(two, Kind::Retry, at(0)).unwrap().replica,
        Replica(1)
    );
    assert!(
        shard
            .choose(two.with(Replica(1)), Kind::Retry, at(0))
            .is_none()
    );
}

/// Failures keep calls away at once, and an ejected replica gets none while there is another one.
#[test]
fn failing_replicas_are_left_alone() {
    let shard = replicas(2);
    fail(&shard.targets()[0]);
    for _ in 0..50 {
        assert_eq!(
            shard
                .choose(ReplicaSet::EMPTY, Kind::Primary, at(0))
                .unwrap()
                .replica,
            Replica(1)
        );
    }
    shard.upkeep_at(LATE, true, at(0));
    assert_eq!(shard.targets()[0].condition(), Condition::Ejected);
    let other = ReplicaSet::EMPTY.with(Replica(1));
    assert!(
        shard.choose(other, Kind::Hedge, at(0)).is_none(),
        "a hedge is no emergency"
    );
    assert_eq!(
        shard.choose(other, Kind::Retry, at(0)).unwrap().replica,
        Replica(0)
    );
}

/// The last replica of a shard is never ejected, whatever it does.
#[test]
fn the_last_one_stays() {
    let shard = replicas(2);
    fail(&shard.targets()[0]);
    shard.upkeep_at(LATE, true, at(0));
    fail(&shard.targets()[1]);
    shard.upkeep_at(LATE, true, at(1));
    assert_eq!(shard.targets()[1].condition(), Condition::Healthy);
    let alone = replicas(1);
    fail(&alone.targets()[0]);
    alone.upkeep_at(LATE, true, at(0));
    assert_eq!(alone.targets()[0].condition(), Condition::Healthy);
    assert!(
        alone
            .choose(ReplicaSet::EMPTY, Kind::Primary, at(0))
            .is_some()
    );
}

/// Without calls that may be copied, an ejection ends by itself, one failure from the next.
#[test]
fn without_shadows_time_readmits() {
    let shard = replicas(2);
    fail(&shard.targets()[0]);
    shard.upkeep_at(LATE, false, at(0));
    assert_eq!(shard.targets()[0].condition(), Condition::Ejected);
    shard.upkeep_at(LATE, false, at(6));
    assert_eq!(shard.targets()[0].condition(), Condition::Healthy);
    shard.targets()[0].disappointed();
    shard.upkeep_at(LATE, false, at(7));
    assert_eq!(shard.targets()[0].condition(), Condition::Ejected);
}

/// Thousands of calls lie in memory at once: their futures hold what they need and no second copy of it.
#[test]
fn a_call_takes_little_room() {
    let shard = replicas(1);
    let target = &shard.targets()[0];
    let call = Call::new(http::Method::GET, target.path().clone(), 1);
    let plain = size_of_val(&target.host().call(&call));
    let counted = size_of_val(&target.call(&call, Mono(0)));
    println!("plain {plain}, counted {counted}");
    // Without the making of connections, that is, which would be five times as much.
    assert!(plain <= 2_048, "{plain}");
    assert!(counted <= plain + 128, "{counted}, plain {plain}");
}
