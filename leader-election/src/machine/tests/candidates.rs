//! Who is elected: candidacies, priorities, resignations, leaving.

use super::*;

#[test]
fn the_first_candidate_leads_and_the_next_follows_by_priority_and_then_by_arrival() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("e", "b", 0);
    rig.stand("e", "c", 5);
    rig.stand("e", "d", 5);
    let (leader, first) = rig.leads("e").unwrap();
    assert_eq!(leader, "a", "who comes later takes nothing over");
    assert!(rig.resign("e", a, FencingToken(first)));
    let (leader, second) = rig.leads("e").unwrap();
    assert_eq!(leader, "c", "highest priority, came before d");
    assert!(second > first, "tokens grow");
    let order: Vec<_> = rig
        .view("e")
        .candidates
        .into_iter()
        .map(|c| c.candidate.to_string())
        .collect();
    assert_eq!(order, ["c", "d", "a", "b"]);
}

#[test]
fn a_resignation_under_a_stale_token_is_a_no_op_and_one_of_another_session_is_refused() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let b = rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    assert!(!rig.resign("e", a, FencingToken(token.0 - 1)));
    assert!(!rig.resign("e", b, FencingToken(token.0 + 1)));
    let refused = rig.run(Command::Resign {
        election: name("e"),
        session: b,
        token,
    });
    assert_eq!(code(refused), Code::Forbidden);
    assert_eq!(rig.leads("e").unwrap().0, "a");
    assert!(rig.resign("e", a, token));
    assert!(!rig.resign("e", a, token), "the same again is a no-op");
    assert_eq!(rig.leads("e").unwrap().0, "b");
    assert!(
        !rig.resign("x", b, token),
        "so it is when its election is gone"
    );
}

#[test]
fn who_resigned_is_passed_over_until_somebody_else_led_or_it_campaigns_again() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 9);
    let token = rig.token_of("e");
    assert!(rig.resign("e", a, token));
    assert_eq!(
        rig.leads("e"),
        None,
        "alone, it is not elected against its word"
    );
    assert!(rig.view("e").candidates[0].passed_over);
    rig.campaign("e", "a", a, 9);
    assert_eq!(rig.leads("e").unwrap().0, "a");
    let b = rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    assert!(rig.resign("e", a, token));
    assert_eq!(rig.leads("e").unwrap().0, "b");
    let token = rig.token_of("e");
    assert!(rig.resign("e", b, token));
    assert_eq!(rig.leads("e").unwrap().0, "a", "b has led since");
}

#[test]
fn a_candidate_id_belongs_to_one_live_session() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let other = rig.open(2_000);
    assert_eq!(
        code(rig.run(campaign("e", "a", other, 0))),
        Code::CandidateTaken
    );
    let with_ttl = Command::Campaign(Campaign {
        election: name("e"),
        candidate: name("a"),
        liveness: Liveness::Ttl(2_000),
        priority: 0,
        metadata: text(""),
    });
    let sessions = rig.machine.sessions.len();
    assert_eq!(code(rig.run(with_ttl.clone())), Code::CandidateTaken);
    assert_eq!(
        rig.machine.sessions.len(),
        sessions,
        "what is refused opens no session"
    );
    let leave = |session| Command::Leave {
        election: name("e"),
        candidate: name("a"),
        session,
    };
    assert_eq!(code(rig.run(leave(other))), Code::CandidateTaken);
    rig.expire(&[a]);
    match rig.run(with_ttl).unwrap() {
        Reply::Campaigned(campaigned) => {
            assert!(campaigned.opened && campaigned.token.is_some());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn leaving_passes_leadership_on_and_the_last_one_takes_the_election_with_it() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let b = rig.stand("e", "b", 0);
    let leave = |candidate: &str, session| Command::Leave {
        election: name("e"),
        candidate: name(candidate),
        session,
    };
    assert!(ended(rig.run(leave("a", a))));
    assert_eq!(rig.leads("e").unwrap().0, "b");
    assert_eq!(code(rig.run(leave("a", a))), Code::NotFound);
    assert!(ended(rig.run(leave("b", b))));
    assert!(rig.machine.view(&name("e"), rig.now).is_none());
    assert_eq!(rig.changes().last().unwrap().what, What::Removed);
    assert!(rig.machine.timers.is_empty() && rig.machine.stands.is_empty());
    // A configured one stays.
    rig.configure("f", Settings::default());
    let c = rig.stand("f", "c", 0);
    rig.run(Command::CloseSession { session: c }).unwrap();
    assert!(rig.view("f").candidates.is_empty());
    rig.run(Command::Configure {
        election: name("f"),
        settings: None,
    })
    .unwrap();
    assert!(rig.machine.view(&name("f"), rig.now).is_none());
    let gone = rig.run(Command::Configure {
        election: name("f"),
        settings: None,
    });
    assert_eq!(code(gone), Code::NotFound);
}

#[test]
fn a_campaign_again_changes_what_is_said_and_the_leader_shows_it() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    let token = rig.token_of("e");
    rig.changes();
    rig.campaign("e", "a", a, 0);
    assert!(rig.changes().is_empty(), "the same again is no change");
    rig.run(Command::Campaign(Campaign {
        election: name("e"),
        candidate: name("a"),
        liveness: Liveness::Session(a),
        priority: 3,
        metadata: text("10.0.0.1:80"),
    }))
    .unwrap();
    let leader = rig.leader("e").unwrap();
    assert_eq!(
        (leader.token, &*leader.metadata, leader.priority),
        (token, "10.0.0.1:80", 3)
    );
    assert_eq!(rig.changes().len(), 1);
}

#[test]
fn an_operators_force_ends_at_once_and_its_name_and_reason_are_kept() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 9);
    rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    let force = |token| Command::ForceRelease {
        election: name("e"),
        token,
        reason: text("hung"),
    };
    assert_eq!(
        code(rig.run(force(Some(FencingToken(1))))),
        Code::StaleFencingToken
    );
    assert!(ended(rig.run(force(Some(token)))));
    let (leader, next) = rig.leads("e").unwrap();
    assert_eq!(leader, "b", "the one that was forced out is passed over");
    assert!(next > token.0);
    let told = rig.changes().into_iter().any(|change| {
        matches!(&change.what, What::Ended { cause: EndCause::Forced { by, reason }, .. }
            if &**by == "ann" && &**reason == "hung")
    });
    assert!(told);
    assert!(
        rig.machine.sessions.get(&a).unwrap().lost > 0,
        "its session is told of the loss"
    );
}
