//! Snapshots: what comes out of one equals what went in, and what is damaged is refused.

use super::*;

fn lived_in() -> Rig {
    let mut rig = Rig::new();
    let mut keyed = job("keyed");
    keyed.dedupe_key = Some(text("k"));
    keyed.labels = vec![(text("a"), text("b"))];
    rig.enqueue(vec![job("a"), job("b"), keyed, job("c"), job("d")]);
    let leases = rig.lease(None, 4).1;
    rig.settle(leases[0].id, complete("done")).unwrap();
    rig.settle(leases[1].id, fail("no")).unwrap();
    rig.expire(leases[2].id, ExpireCause::Silent);
    rig
}

#[test]
fn a_restored_machine_has_the_same_digest_and_deadline_in_slices_of_any_size() {
    let mut rig = lived_in();
    for bytes in [1, 100, 1 << 20] {
        let copy = rig.restored(bytes);
        assert_eq!(copy.digest(), rig.machine.digest());
        assert_eq!(copy.next_deadline(), rig.machine.next_deadline());
        assert_eq!(copy.index, rig.machine.index);
        assert_eq!(copy.leases, rig.machine.leases);
        assert_eq!(copy.holds, rig.machine.holds);
        assert_eq!(copy.idle, rig.machine.idle);
        assert_eq!(copy.timers, rig.machine.timers);
    }
}

#[test]
fn changes_after_the_beginning_do_not_show() {
    let mut rig = lived_in();
    let digest = rig.machine.digest();
    rig.machine.snapshot_begin();
    let mut slices = vec![rig.machine.snapshot_slice(1).unwrap()];
    rig.enqueue(vec![job("later")]);
    rig.lease(None, 10);
    rig.pass(1_000_000_000);
    rig.drain();
    while let Some(slice) = rig.machine.snapshot_slice(1) {
        slices.push(slice);
    }
    assert_ne!(rig.machine.digest(), digest);
    assert_eq!(from_slices(&slices, rig.machine.bounds).digest(), digest);
}

#[test]
fn a_snapshot_that_is_cut_doubled_or_out_of_order_is_refused() {
    let mut rig = lived_in();
    rig.machine.snapshot_begin();
    let mut slices = Vec::new();
    while let Some(slice) = rig.machine.snapshot_slice(1) {
        slices.push(slice);
    }
    let restore = |slices: &[Vec<u8>]| {
        let mut machine = QueueMachine::new();
        for slice in slices {
            machine.restore_slice(slice)?;
        }
        machine.restore_end()
    };
    assert!(restore(&slices).is_ok());
    for gone in 1..slices.len() {
        let mut cut = slices.clone();
        cut.remove(gone);
        assert!(restore(&cut).is_err(), "without slice {gone}");
        let mut double = slices.clone();
        double.insert(gone, slices[gone].clone());
        assert!(restore(&double).is_err(), "slice {gone} twice");
        let mut short = slices.clone();
        short[gone].pop();
        assert!(restore(&short).is_err(), "slice {gone} cut");
    }
}
