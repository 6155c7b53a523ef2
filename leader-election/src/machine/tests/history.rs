//! Revisions and what observers are told: without a gap, bounded, and whole after a reset.

use super::*;

fn past(rig: &Rig, election: Option<&str>, after: u64, max: u32) -> History {
    let query = Query::History {
        election: election.map(name),
        after,
        max,
    };
    match rig.machine.answer(rig.now, query) {
        Ok(Answer::History(history)) => history,
        other => panic!("{other:?}"),
    }
}

#[test]
fn revisions_have_no_gap_and_each_change_names_the_one_before_it_in_its_election() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("f", "b", 0);
    rig.campaign("f", "a", a, 0);
    rig.transfer("f", "a", 1_000);
    rig.run(Command::CloseSession { session: a }).unwrap();
    let changes = rig.changes();
    assert!(
        changes[0].revision > 100,
        "revisions start from the tokens, above those of an older cluster"
    );
    for pair in changes.windows(2) {
        assert_eq!(pair[0].revision + 1, pair[1].revision);
    }
    for election in ["e", "f"] {
        let mut previous = 0;
        for change in changes
            .iter()
            .filter(|change| change.election == name(election))
        {
            assert_eq!(change.previous, previous);
            previous = change.revision;
        }
    }
    assert_eq!(
        past(&rig, None, 0, 99),
        past(&rig, None, changes[0].revision - 1, 99),
        "revision 0 is before the first, wherever that is"
    );
    assert_eq!(
        past(&rig, None, changes[0].revision - 1, 99),
        History::Changes {
            through: changes.last().unwrap().revision,
            last: changes.last().unwrap().revision,
            changes,
        }
    );
}

#[test]
fn the_past_comes_in_pages_and_what_is_older_than_the_history_is_told_as_a_state() {
    let mut rig = Rig::new();
    rig.machine.bounds.history = 10;
    let quiet = rig.stand("quiet", "q", 0);
    let seen = rig.view("quiet").changed;
    let a = rig.stand("e", "a", 0);
    let early = rig.view("e").changed;
    for metadata in 0..20 {
        rig.run(Command::Campaign(Campaign {
            election: name("e"),
            candidate: name("a"),
            liveness: Liveness::Session(a),
            priority: 0,
            metadata: text(&metadata.to_string()),
        }))
        .unwrap();
    }
    let last = rig.view("e").changed;
    assert_eq!(rig.machine.history.len(), 10);
    match past(&rig, Some("e"), early, 99) {
        History::Reset { state, revision } => {
            assert_eq!((state, revision), (Some(rig.view("e")), last));
        }
        other => panic!("{other:?}"),
    }
    // Nothing happened in the other one since, so nothing is missing.
    let nothing = History::Changes {
        changes: Vec::new(),
        through: last,
        last,
    };
    assert_eq!(past(&rig, Some("quiet"), seen, 99), nothing);
    // A page ends at what it holds.
    match past(&rig, Some("e"), last - 10, 4) {
        History::Changes {
            changes,
            through,
            last: end,
        } => {
            assert_eq!((changes.len(), through, end), (4, last - 6, last));
        }
        other => panic!("{other:?}"),
    }
    // From the future, which is another cluster's.
    assert!(matches!(
        past(&rig, Some("e"), last + 1, 9),
        History::Reset { state: Some(_), .. }
    ));
    // One that does not exist.
    assert!(matches!(
        past(&rig, Some("none"), 0, 9),
        History::Reset { state: None, .. }
    ));
    assert_eq!(past(&rig, Some("none"), last, 9), nothing);
    rig.run(Command::CloseSession { session: quiet }).unwrap();
    match past(&rig, Some("quiet"), last, 9) {
        History::Changes { changes, .. } => assert_eq!(changes.last().unwrap().what, What::Removed),
        other => panic!("{other:?}"),
    }
}

#[test]
fn lists_come_by_name_in_pages_and_by_prefix() {
    let mut rig = Rig::new();
    let a = rig.open(2_000);
    for election in ["a1", "b1", "b2", "b3", "c1"] {
        rig.campaign(election, "x", a, 0);
    }
    let list = |after: Option<&str>, prefix: &str, max| {
        let query = Query::Elections {
            after: after.map(name),
            prefix: text(prefix),
            max,
        };
        match rig.machine.answer(rig.now, query) {
            Ok(Answer::Elections { items, more, .. }) => {
                let names: Vec<String> =
                    items.iter().map(|item| item.election.to_string()).collect();
                (names.join(" "), more)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(list(None, "", 2), ("a1 b1".to_owned(), true));
    assert_eq!(list(Some("b1"), "", 99), ("b2 b3 c1".to_owned(), false));
    assert_eq!(list(None, "b", 2), ("b1 b2".to_owned(), true));
    assert_eq!(list(Some("b2"), "b", 2), ("b3".to_owned(), false));
    assert_eq!(list(Some("a1"), "b", 9), ("b1 b2 b3".to_owned(), false));
    assert_eq!(list(None, "zz", 9), (String::new(), false));
}

#[test]
fn a_session_shows_what_it_stands_for_and_what_it_leads() {
    let mut rig = Rig::new();
    let a = rig.open(2_000);
    let b = rig.open(2_000);
    for election in ["e1", "e2", "e3"] {
        rig.campaign(election, "a", a, 0);
    }
    rig.campaign("e2", "a2", a, 0);
    rig.campaign("e4", "b", b, 0);
    let query = |session, after: Option<&str>, max| {
        let query = Query::Session {
            session,
            after: after.map(name),
            max,
        };
        rig.machine.answer(rig.now, query)
    };
    let Ok(Answer::Session(view)) = query(a, None, 2) else {
        panic!()
    };
    let shown: Vec<_> = view
        .items
        .iter()
        .map(|(election, candidate, leader)| {
            (election.as_str(), candidate.as_str(), leader.is_some())
        })
        .collect();
    assert_eq!(
        shown,
        [("e1", "a", true), ("e2", "a", true), ("e2", "a2", false)],
        "a page never splits an election"
    );
    assert!(view.more && view.candidacies == 4);
    let Ok(Answer::Session(view)) = query(a, Some("e2"), 2) else {
        panic!()
    };
    assert!(view.items.len() == 1 && !view.more);
    let unknown = query(SessionId(7), None, 9).unwrap_err();
    assert_eq!(unknown.code, Code::SessionExpired);
}

#[test]
fn a_check_knows_the_current_token_and_no_other() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("e", "b", 0);
    let token = rig.token_of("e");
    let check = |rig: &Rig, token| {
        let query = Query::Check {
            election: name("e"),
            token,
        };
        matches!(
            rig.machine.answer(rig.now, query),
            Ok(Answer::Current { current: true, .. })
        )
    };
    assert!(check(&rig, token));
    rig.transfer("e", "b", 0);
    assert!(check(&rig, token), "until it has ended");
    assert!(rig.drained("e", a, token));
    assert!(!check(&rig, token));
    let gone = Query::Check {
        election: name("x"),
        token,
    };
    assert!(
        matches!(
            rig.machine.answer(rig.now, gone),
            Ok(Answer::Current { current: false, .. })
        ),
        "an election that vanished has no current token"
    );
}
