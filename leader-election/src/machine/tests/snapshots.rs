//! A snapshot restores what was there when it began, in slices of any size, while the state goes on.

use super::*;

fn filled() -> Rig {
    let mut rig = Rig::new();
    rig.configure(
        "locked",
        Settings {
            lock_delay_ms: 9_000,
            ..Settings::default()
        },
    );
    let gone = rig.stand("locked", "x", 0);
    rig.stand("locked", "y", 0);
    rig.expire(&[gone]);
    let a = rig.open(2_000);
    for election in ["e1", "e2", "e3"] {
        rig.campaign(election, "a", a, 3);
        rig.stand(election, "b", 9);
    }
    rig.transfer("e1", "b", 4_000);
    rig.transfer("e2", "b", 0);
    let token = rig.token_of("e3");
    rig.resign("e3", a, token);
    rig
}

#[test]
fn a_restored_machine_equals_the_one_that_was_kept() {
    for bytes_max in [1, 100, 1 << 20] {
        let mut rig = filled();
        let copy = restored(&mut rig.machine, bytes_max);
        assert_eq!(copy.fold(), rig.machine.fold());
        for election in ["locked", "e1", "e2", "e3"] {
            assert_eq!(
                copy.view(&name(election), rig.now),
                Some(rig.view(election))
            );
        }
        assert_eq!(copy.order, rig.machine.order);
        assert_eq!(copy.stands, rig.machine.stands);
        assert_eq!(copy.revoking, rig.machine.revoking);
        assert_eq!(copy.timers, rig.machine.timers);
        assert_eq!(copy.timer_of, rig.machine.timer_of);
        assert!(copy.history.iter().eq(rig.machine.history.iter()));
        assert!(copy.sessions.iter().eq(rig.machine.sessions.iter()));
    }
}

#[test]
fn changes_while_it_is_taken_do_not_show() {
    let mut rig = filled();
    let before = rig.machine.fold();
    rig.machine.snapshot_begin();
    let mut copy = ElectionMachine::new();
    let mut session = 0;
    while let Some(slice) = rig.machine.snapshot_slice(64) {
        copy.restore_slice(&slice).unwrap();
        session += 1;
        rig.stand("e1", &format!("n{session}"), 0);
        if session == 3 {
            let all: Vec<_> = rig.machine.sessions.iter().map(|(id, _)| *id).collect();
            rig.expire(&all);
        }
    }
    copy.restore_end().unwrap();
    assert_eq!(copy.fold(), before);
}

#[test]
fn a_snapshot_that_does_not_fit_together_is_refused() {
    let mut rig = filled();
    rig.machine.snapshot_begin();
    let mut slices = Vec::new();
    while let Some(slice) = rig.machine.snapshot_slice(1) {
        slices.push(slice);
    }
    for missing in 0..slices.len() {
        let mut copy = ElectionMachine::new();
        let restored = slices
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .try_for_each(|(_, slice)| copy.restore_slice(slice))
            .and_then(|()| copy.restore_end());
        assert!(restored.is_err(), "without slice {missing}");
    }
    let mut copy = ElectionMachine::new();
    copy.restore_slice(&slices[1]).unwrap();
    assert!(copy.restore_slice(&slices[1]).is_err(), "a row twice");
}
