//! The step of the lease rule's proof that chance seldom tries: a renewal is answered by a quorum round that
//! began after it arrived, never by one that was under way (C1 in `docs/leases.md`).

use super::counter::Counter;
use crate::replica::input::RequestId;
use crate::replica::reads::{Read, Reads};
use crate::types::{FencingToken, Mono, NodeId};

fn renewal(id: u64) -> Read<Counter> {
    Read::Renew {
        id: RequestId(id),
        renewal: FencingToken(1),
        receipt: Mono(id),
    }
}

/// How many are answered when a quorum has confirmed the round of this context.
fn confirm(reads: &mut Reads<Counter>, context: &[u8]) -> usize {
    reads.confirm(context, 5);
    reads.take_answerable(5).map_or(0, |reads| reads.len())
}

/// How many renewals the first round and the second one answer, if one renewal came before the first began
/// and one while it was under way.
fn answered() -> [usize; 2] {
    let mut reads = Reads::new(NodeId(1), 7);
    reads.push(renewal(1));
    let first = reads.begin(0).expect("a renewal waits");
    reads.push(renewal(2));
    let by_first = confirm(&mut reads, &first);
    let second = reads.begin(0);
    // The answers to the first round, once more, are none to the second.
    assert_eq!(confirm(&mut reads, &first), 0);
    let by_second = second.map_or(0, |second| confirm(&mut reads, &second));
    [by_first, by_second]
}

#[test]
fn a_renewal_waits_for_a_round_that_begins_after_it() {
    assert_eq!(answered(), [1, 1]);
}

#[cfg(feature = "planted-bugs")]
#[test]
fn this_sees_a_renewal_that_joins_the_round_under_way() {
    use crate::planted::{Bug, plant};
    plant(Some(Bug::AckByOlderRound));
    let joined = answered();
    plant(None);
    assert_eq!(joined, [2, 0]);
}
