//! The leader's counts: the lease rule, as the machine keeps it.

use super::*;
use std::time::Duration;

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

/// A machine with its leader's duties; events are applied to them as they come.
struct Office {
    rig: Rig,
    duties: ElectionDuties,
}

impl Office {
    fn new() -> Self {
        let rig = Rig::new();
        let duties = ElectionDuties::new(&rig.machine, at(0));
        Self { rig, duties }
    }

    fn apply(&mut self, now_ms: u64, run: impl FnOnce(&mut Rig)) {
        run(&mut self.rig);
        for event in std::mem::take(&mut self.rig.events) {
            self.duties.applied(&self.rig.machine, &event, at(now_ms));
        }
    }

    fn due(&mut self, now_ms: u64) -> Vec<Command> {
        let mut out = Vec::new();
        self.duties.due(&self.rig.machine, at(now_ms), &mut out);
        out
    }

    fn arrived(&mut self, session: SessionId, now_ms: u64) {
        self.duties
            .arrived(&self.rig.machine, &renewal(session), at(now_ms));
    }

    fn confirmed(&mut self, session: SessionId, receipt_ms: u64) -> Option<Kept> {
        let renewed = self
            .duties
            .confirmed(&self.rig.machine, renewal(session), at(receipt_ms))
            .unwrap();
        assert_eq!(renewed.live.len() + renewed.ended.len(), 1);
        renewed.live.first().copied()
    }
}

fn renewal(session: SessionId) -> Renewal {
    Renewal {
        sessions: vec![session, session],
        elections: vec![name("e"), name("none")],
    }
}

#[test]
fn a_session_ends_d_times_one_plus_rho_after_the_receipt_of_the_last_renewal() {
    let mut office = Office::new();
    let mut a = SessionId(0);
    office.apply(100, |rig| a = rig.stand("e", "a", 0));
    assert!(office.due(2_119).is_empty());
    office.arrived(a, 2_000);
    assert!(
        office.due(9_000).is_empty(),
        "one that waits for its round defers the end"
    );
    assert!(office.confirmed(a, 2_000).is_some());
    assert!(office.due(4_019).is_empty());
    assert_eq!(office.due(4_020), [Command::Expire { sessions: vec![a] }]);
    assert!(office.due(9_000).is_empty(), "proposed once");
    office.arrived(a, 4_021);
    assert_eq!(
        office.confirmed(a, 4_021),
        None,
        "nothing is acknowledged once the end is proposed"
    );
    office.apply(4_030, |rig| rig.expire(&[a]));
    assert_eq!(office.confirmed(a, 4_031), None);
    assert_eq!(office.duties.next_due(), None);
}

#[test]
fn a_new_leader_starts_every_count_and_a_stall_is_added() {
    let mut rig = Rig::new();
    let a = rig.stand("e", "a", 0);
    rig.stand("e", "b", 0);
    rig.transfer("e", "b", 0);
    let token = rig.token_of("e");
    let mut duties = ElectionDuties::new(&rig.machine, at(50_000));
    duties.stalled(Duration::from_millis(300));
    let mut out = Vec::new();
    duties.due(&rig.machine, at(52_319), &mut out);
    assert!(out.is_empty());
    duties.due(&rig.machine, at(52_320), &mut out);
    let Command::Expire { sessions } = &out[0] else {
        panic!("{out:?}")
    };
    assert!(sessions.contains(&a) && sessions.len() == 2);
    assert_eq!(
        out[1],
        Command::EndRevoked {
            ends: vec![(name("e"), token)]
        }
    );
}

#[test]
fn no_renewal_touches_the_count_of_a_revoked_leadership_and_its_session_lives_on() {
    let mut office = Office::new();
    let mut a = SessionId(0);
    office.apply(0, |rig| {
        a = rig.stand("e", "a", 0);
        rig.stand("e", "b", 0);
    });
    let whole = office.confirmed(a, 500).unwrap();
    assert_eq!((whole.lost, whole.draining), (0, 0));
    office.apply(1_000, |rig| {
        rig.transfer("e", "b", 700);
    });
    let asked = office.confirmed(a, 1_100).unwrap();
    assert!(asked.lost == 0 && asked.draining > 0);
    office.apply(1_700, |rig| rig.pass(700));
    for receipt_ms in [1_800, 2_500, 3_200] {
        let kept = office.confirmed(a, receipt_ms).unwrap();
        assert!(kept.lost > kept.draining, "the holder is told of the loss");
    }
    let token = office.rig.token_of("e");
    let ends = |due: Vec<Command>| {
        due.into_iter()
            .any(|command| matches!(command, Command::EndRevoked { .. }))
    };
    assert!(!ends(office.due(3_719)));
    assert!(ends(office.due(3_720)));
    office.apply(3_721, |rig| rig.end_revoked("e", token));
    assert_eq!(office.rig.leads("e").unwrap().0, "b");
    // The loss stays told, for a holder that heard nothing meanwhile.
    let kept = office.confirmed(a, 3_800).unwrap();
    assert!(kept.lost > 0);
}

#[test]
fn an_acknowledgement_shows_the_elections_asked_for_as_of_the_same_instant() {
    let mut office = Office::new();
    let mut a = SessionId(0);
    office.apply(0, |rig| a = rig.stand("e", "a", 0));
    let renewed = office
        .duties
        .confirmed(&office.rig.machine, renewal(a), at(5))
        .unwrap();
    assert_eq!(
        renewed.elections.len(),
        1,
        "one that does not exist is missing"
    );
    assert_eq!(renewed.elections[0].leader, office.rig.view("e").leader);
    let many = Renewal {
        sessions: vec![a; 1_001],
        elections: Vec::new(),
    };
    let refused = office.duties.confirmed(&office.rig.machine, many, at(6));
    assert_eq!(refused.unwrap_err().code, Code::InvalidArgument);
}

#[test]
fn one_proposal_ends_a_bounded_number_of_candidacies_and_the_rest_follow() {
    let mut office = Office::new();
    let mut sessions = Vec::new();
    office.apply(0, |rig| {
        for session in 0..4 {
            let id = rig.open(2_000);
            for election in 0..6_000 {
                rig.campaign(&format!("e{election}"), &format!("c{session}"), id, 0);
            }
            sessions.push(id);
        }
    });
    let due = office.due(3_000);
    assert_eq!(
        due,
        [Command::Expire {
            sessions: sessions[..2].to_vec()
        }]
    );
    let due = office.due(3_000);
    assert_eq!(
        due,
        [Command::Expire {
            sessions: sessions[2..].to_vec()
        }]
    );
}
