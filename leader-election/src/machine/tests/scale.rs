//! What a large cluster costs. Prints its figures; the bounds are far off, so that only a change of
//! order breaks them.

use super::*;
use std::time::{Duration, Instant};

const ELECTIONS: usize = 10_000;

#[test]
fn ten_thousand_elections_of_a_dead_session_are_reassigned_in_one_entry() {
    let mut rig = Rig::new();
    let dead = rig.open(2_000);
    let heirs: Vec<_> = (0..2).map(|_| rig.open(2_000)).collect();
    for election in 0..ELECTIONS {
        let election = format!("shard-{election}");
        rig.campaign(&election, "dead", dead, 0);
        for (number, heir) in heirs.iter().enumerate() {
            rig.campaign(&election, &format!("heir-{number}"), *heir, 0);
        }
    }
    rig.events.clear();
    let begun = Instant::now();
    rig.expire(&[dead]);
    let took = begun.elapsed();
    println!("{ELECTIONS} elections of a dead session reassigned in {took:?}");
    let elected = rig
        .changes()
        .iter()
        .filter(|change| change.what == What::Elected)
        .count();
    assert_eq!(elected, ELECTIONS);
    assert_eq!(rig.leads("shard-77").unwrap().0, "heir-0");
    assert!(took < Duration::from_secs(5), "{took:?}");
}
