//! Ordered hand-over, revocation, preferred candidates.

use super::*;

fn revoking(rig: &Rig) -> bool {
    matches!(rig.leader("e").unwrap().phase, Phase::Revoking { .. })
}

#[test]
fn a_leader_that_drains_and_confirms_is_followed_at_once_by_whom_it_was_told() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("e", "b", 9);
    rig.stand("e", "c", 0);
    let token = rig.token_of("e");
    let asked = rig.transfer("e", "c", 3_000);
    assert_eq!((asked.token, asked.done), (token, false));
    assert!(matches!(
        rig.leader("e").unwrap().phase,
        Phase::Draining { .. }
    ));
    assert!(rig.machine.sessions.get(&a).unwrap().draining > 0);
    assert!(rig.drained("e", a, token));
    assert_eq!(rig.leads("e").unwrap().0, "c", "not b, though it is better");
    assert!(!rig.view("e").candidates.iter().any(|c| c.passed_over));
}

#[test]
fn who_does_not_drain_in_time_is_revoked_and_ends_only_by_its_word_or_a_whole_count() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    rig.transfer("e", "b", 3_000);
    rig.pass(2_999);
    assert!(!revoking(&rig));
    rig.pass(1);
    assert!(revoking(&rig));
    assert_eq!(
        rig.machine.next_deadline(),
        None,
        "no log time ends a lease"
    );
    rig.pass(1_000_000);
    assert_eq!(rig.token_of("e"), token);
    assert!(rig.machine.sessions.get(&a).unwrap().lost > 0);
    rig.end_revoked("e", FencingToken(token.0 - 1));
    assert_eq!(rig.token_of("e"), token, "another token's end is void");
    rig.end_revoked("e", token);
    assert_eq!(rig.leads("e").unwrap().0, "b");
}

#[test]
fn an_end_that_nobody_revoked_is_void() {
    let mut rig = Rig::new();
    rig.stand("e", "a", 0);
    let token = rig.token_of("e");
    rig.end_revoked("e", token);
    assert_eq!(rig.token_of("e"), token);
}

#[test]
fn a_hand_over_is_called_off_while_draining_and_only_then() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let b = rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    rig.transfer("e", "b", 3_000);
    rig.expire(&[b]);
    let leader = rig.leader("e").unwrap();
    assert_eq!((leader.token, leader.phase), (token, Phase::Leading));
    // A confirmation that was under way ends it all the same: the holder believes no more.
    assert!(rig.drained("e", a, token));
    let (leader, next) = rig.leads("e").unwrap();
    assert_eq!(leader, "a", "alone, under a new token");
    assert!(next > token.0);
    // By an order to the leader itself.
    rig.stand("e", "c", 0);
    rig.transfer("e", "c", 3_000);
    assert!(rig.transfer("e", "a", 3_000).done);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    // Not when it is revoked already.
    rig.transfer("e", "c", 0);
    assert!(revoking(&rig));
    assert!(rig.transfer("e", "a", 3_000).done);
    assert!(revoking(&rig));
}

#[test]
fn a_second_order_replaces_the_target_and_lengthens_nothing() {
    let mut rig = Rig::new();
    rig.stand("e", "a", 0);
    rig.stand("e", "b", 0);
    rig.stand("e", "c", 0);
    rig.transfer("e", "b", 3_000);
    let until = rig.now.plus_ms(3_000);
    rig.transfer("e", "c", 60_000);
    let phase = Phase::Draining {
        to: name("c"),
        until,
    };
    assert_eq!(rig.leader("e").unwrap().phase, phase);
    rig.transfer("e", "c", 0);
    assert!(revoking(&rig));
    rig.transfer("e", "b", 60_000);
    let token = rig.token_of("e");
    rig.end_revoked("e", token);
    assert_eq!(rig.leads("e").unwrap().0, "b");
}

#[test]
fn a_hand_over_to_nobody_or_from_nobody_is_refused() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    assert_eq!(code(rig.run(transfer("x", "a", 0))), Code::NotFound);
    assert_eq!(code(rig.run(transfer("e", "x", 0))), Code::NotACandidate);
    let stale = Command::Transfer {
        election: name("e"),
        to: name("a"),
        drain_ms: 0,
        token: Some(FencingToken(1)),
    };
    assert_eq!(code(rig.run(stale)), Code::StaleFencingToken);
    let token = rig.token_of("e");
    assert!(rig.resign("e", a, token));
    assert_eq!(code(rig.run(transfer("e", "a", 0))), Code::NotFound);
}

#[test]
fn a_revocation_that_somebody_asked_for_passes_the_candidate_over() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 9);
    rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    let revoke = |token| Command::Revoke {
        election: name("e"),
        token,
        reason: text("no health"),
    };
    assert_eq!(
        code(rig.run(revoke(Some(FencingToken(1))))),
        Code::StaleFencingToken
    );
    rig.run(revoke(Some(token))).unwrap();
    rig.changes();
    rig.run(revoke(None)).unwrap();
    assert!(rig.changes().is_empty(), "the first reason stays");
    let campaigned = rig.campaign("e", "a", a, 9);
    assert_eq!(
        campaigned.token, None,
        "a leadership that is being revoked is not one to trust"
    );
    assert!(rig.drained("e", a, token));
    assert_eq!(rig.leads("e").unwrap().0, "b");
}

#[test]
fn lock_delay_follows_a_revocation_that_was_not_confirmed_and_the_successor_is_remembered() {
    let mut rig = Rig::new();
    rig.configure(
        "e",
        Settings {
            lock_delay_ms: 5_000,
            ..Settings::default()
        },
    );
    rig.stand("e", "a", 0);
    rig.stand("e", "b", 9);
    rig.stand("e", "c", 0);
    rig.transfer("e", "c", 0);
    let token = rig.token_of("e");
    rig.end_revoked("e", token);
    assert_eq!(rig.leads("e"), None);
    rig.pass(5_000);
    assert_eq!(rig.leads("e").unwrap().0, "c");
}

#[test]
fn the_preferred_candidate_takes_over_when_both_were_stable_and_leads_at_once_when_vacant() {
    let mut rig = Rig::new();
    let settings = Settings {
        preferred: Some(name("p")),
        stable_ms: 10_000,
        drain_ms: 1_000,
        ..Settings::default()
    };
    rig.configure("e", settings);
    let a = rig.stand("e", "a", 999);
    rig.pass(60_000);
    let p = rig.stand("e", "p", 0);
    rig.pass(9_999);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    // It goes and comes: its time starts again.
    rig.expire(&[p]);
    let p = rig.stand("e", "p", 0);
    rig.pass(9_999);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    rig.pass(1);
    assert!(matches!(
        rig.leader("e").unwrap().phase,
        Phase::Draining { .. }
    ));
    let token = rig.token_of("e");
    assert!(rig.drained("e", a, token));
    assert_eq!(rig.leads("e").unwrap().0, "p");
    assert_eq!(rig.machine.next_deadline(), None);
    // After it died, the other one leads, and it comes back: the leader must have led a while too.
    rig.expire(&[p]);
    assert_eq!(rig.leads("e").unwrap().0, "a");
    rig.stand("e", "p", 0);
    rig.pass(9_999);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    rig.pass(1);
    rig.pass(1_000);
    assert!(revoking(&rig), "its drain time is over as well");
}

#[test]
fn higher_priority_takes_over_only_where_that_is_wanted() {
    let mut rig = Rig::new();
    rig.stand("e", "a", 0);
    rig.stand("e", "b", 5);
    rig.pass(100_000);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    rig.configure(
        "e",
        Settings {
            preempt: true,
            stable_ms: 200_000,
            ..Settings::default()
        },
    );
    rig.pass(99_999);
    assert_eq!(rig.leader("e").unwrap().phase, Phase::Leading);
    rig.pass(1);
    assert!(
        matches!(rig.leader("e").unwrap().phase, Phase::Draining { ref to, .. } if *to == name("b"))
    );
}
