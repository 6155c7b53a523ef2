//! Sessions: one entry ends everything that hangs off one; lock-delay after silence.

use super::*;

#[test]
fn one_entry_ends_a_session_and_passes_all_its_elections_on() {
    let mut rig = Rig::new();
    let (a, b) = (rig.open(2_000), rig.open(2_000));
    for election in ["e1", "e2", "e3"] {
        rig.campaign(election, "a", a, 0);
        rig.campaign(election, "b", b, 0);
    }
    rig.changes();
    rig.expire(&[a]);
    for election in ["e1", "e2", "e3"] {
        assert_eq!(rig.leads(election).unwrap().0, "b");
        assert_eq!(rig.view(election).candidates.len(), 1);
    }
    let whats: Vec<_> = rig
        .changes()
        .into_iter()
        .filter(|change| change.election == name("e2"))
        .map(|change| change.what.clone())
        .collect();
    assert!(
        matches!(
            whats.as_slice(),
            [
                What::Ended {
                    cause: EndCause::Expired,
                    ..
                },
                What::Left {
                    cause: LeaveCause::Expired,
                    ..
                },
                What::Elected
            ]
        ),
        "{whats:?}"
    );
    assert_eq!(
        code(rig.run(campaign("e1", "a", a, 0))),
        Code::SessionExpired
    );
    assert_eq!(
        code(rig.run(Command::CloseSession { session: a })),
        Code::SessionExpired
    );
}

#[test]
fn sessions_that_end_together_pass_nothing_on_to_each_other() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let b = rig.stand("e", "b", 5);
    rig.stand("e", "c", 0);
    rig.changes();
    rig.expire(&[a, b, SessionId(1)]);
    assert_eq!(rig.leads("e").unwrap().0, "c");
    let elected = rig
        .changes()
        .iter()
        .filter(|change| change.what == What::Elected)
        .count();
    assert_eq!(elected, 1);
}

#[test]
fn lock_delay_follows_silence_and_not_the_holders_word() {
    let mut rig = Rig::new();
    rig.configure(
        "e",
        Settings {
            lock_delay_ms: 5_000,
            ..Settings::default()
        },
    );
    let a = rig.stand("e", "a", 0);
    let b = rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    assert!(rig.resign("e", a, token));
    assert_eq!(
        rig.leads("e").unwrap().0,
        "b",
        "no delay after a resignation"
    );
    rig.expire(&[b]);
    assert_eq!(rig.leads("e"), None);
    assert_eq!(rig.view("e").locked_until, Some(rig.now.plus_ms(5_000)));
    assert_eq!(rig.machine.next_deadline(), Some(rig.now.plus_ms(5_000)));
    rig.stand("e", "c", 99);
    rig.pass(4_999);
    assert_eq!(rig.leads("e"), None, "who comes meanwhile waits too");
    rig.pass(1);
    assert_eq!(rig.leads("e").unwrap().0, "c");
    assert_eq!(rig.machine.next_deadline(), None);
}

#[test]
fn settings_may_shorten_a_lock_that_runs_and_never_lengthen_it() {
    let mut rig = Rig::new();
    rig.configure(
        "e",
        Settings {
            lock_delay_ms: 5_000,
            ..Settings::default()
        },
    );
    let a = rig.stand("e", "a", 0);
    rig.expire(&[a]);
    let until = rig.view("e").locked_until;
    rig.configure(
        "e",
        Settings {
            lock_delay_ms: 60_000,
            ..Settings::default()
        },
    );
    assert_eq!(rig.view("e").locked_until, until);
    rig.stand("e", "b", 0);
    rig.configure("e", Settings::default());
    assert_eq!(rig.leads("e").unwrap().0, "b");
}

#[test]
fn a_closed_session_takes_its_candidacies_along() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.campaign("e", "a2", a, 0);
    let b = rig.stand("e", "b", 0);
    rig.run(Command::CloseSession { session: a }).unwrap();
    assert_eq!(rig.leads("e").unwrap().0, "b");
    assert_eq!(rig.machine.candidates.len(), 1);
    assert_eq!(rig.machine.candidacies(b), 1);
}
