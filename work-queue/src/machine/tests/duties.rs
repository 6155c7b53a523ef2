//! The leader's duties on a virtual clock: the lease rule, stalls, unlisted leases, silent sessions.

use super::*;

const D: u64 = 10_000;
/// d(1+ρ).
const PATIENCE: u64 = D * 101 / 100;

/// A machine and its leader.
struct Office {
    rig: Rig,
    duties: QueueDuties,
    ms: u64,
}

fn at(ms: u64) -> Mono {
    Mono(ms * 1_000_000)
}

impl Office {
    /// With one job out, granted at 0.
    fn with_lease(stall_ms: u64) -> (Self, SessionId, LeaseId) {
        let mut rig = Rig::new();
        let settings = Settings {
            lease_ms: D,
            stall_ms,
            ..Settings::default()
        };
        rig.run(Command::Configure {
            queue: name("q"),
            settings,
        })
        .unwrap();
        rig.enqueue(vec![job("a")]);
        let duties = QueueDuties::new(&rig.machine, at(0));
        let mut office = Self { rig, duties, ms: 0 };
        let (session, lease) = office.grant(0);
        (office, session, lease)
    }

    fn grant(&mut self, heartbeat: u64) -> (SessionId, LeaseId) {
        let request = LeaseRequest {
            heartbeat,
            ..request(None, 1)
        };
        match self.run(Command::Lease(request)) {
            Reply::Leased { session, leases } => (session, leases[0].id),
            other => panic!("{other:?}"),
        }
    }

    fn run(&mut self, command: Command) -> Reply {
        self.rig.events.clear();
        let reply = self.rig.run(command).unwrap();
        for event in &self.rig.events {
            self.duties.applied(&self.rig.machine, event, at(self.ms));
        }
        reply
    }

    fn due_at(&mut self, ms: u64) -> Vec<Command> {
        assert!(ms >= self.ms);
        self.ms = ms;
        let mut out = Vec::new();
        self.duties.due(&self.rig.machine, at(ms), &mut out);
        out
    }

    fn renew(&mut self, renewal: Renewal) -> Renewed {
        self.duties
            .arrived(&self.rig.machine, &renewal, at(self.ms));
        self.duties
            .confirmed(&self.rig.machine, renewal, at(self.ms))
            .unwrap()
    }
}

fn beat(session: SessionId, number: u64, leases: &[LeaseId]) -> Renewal {
    Renewal {
        session,
        number,
        leases: leases.to_vec(),
        progress: Vec::new(),
        complete: true,
    }
}

fn silent(lease: LeaseId) -> Vec<Command> {
    vec![Command::ExpireLeases {
        leases: vec![(lease, 0)],
        cause: ExpireCause::Silent,
    }]
}

#[test]
fn a_silent_lease_is_ended_after_d_one_plus_rho_from_the_last_acknowledged_receipt() {
    let (mut office, session, lease) = Office::with_lease(0);
    assert_eq!(office.duties.next_due(), Some(at(PATIENCE)));
    office.ms = 4_000;
    assert_eq!(office.renew(beat(session, 1, &[lease])).live, [lease]);
    assert_eq!(office.due_at(4_000 + PATIENCE - 1), []);
    assert_eq!(office.due_at(4_000 + PATIENCE), silent(lease));
    assert_eq!(office.due_at(99_000), [], "once");
    let late = office.renew(beat(session, 2, &[lease]));
    assert_eq!(
        (late.live.len(), late.ended),
        (0, vec![lease]),
        "its end is proposed"
    );
}

#[test]
fn a_renewal_that_waits_for_its_round_defers_the_end_and_an_abandoned_one_does_not() {
    let (mut office, session, lease) = Office::with_lease(0);
    let renewal = beat(session, 1, &[lease]);
    office
        .duties
        .arrived(&office.rig.machine, &renewal, at(9_000));
    assert_eq!(office.due_at(50_000), []);
    office.duties.abandoned(&office.rig.machine, &renewal);
    assert_eq!(office.due_at(50_000), silent(lease));
}

#[test]
fn a_renewal_of_another_session_defers_and_renews_nothing() {
    let (mut office, _, lease) = Office::with_lease(0);
    let Reply::Session(other) = office.run(Command::OpenSession {
        worker: text("other"),
    }) else {
        panic!()
    };
    let renewal = beat(other, 1, &[lease]);
    office
        .duties
        .arrived(&office.rig.machine, &renewal, at(9_000));
    assert_eq!(office.due_at(PATIENCE), silent(lease));
    let renewed = office
        .duties
        .confirmed(&office.rig.machine, renewal, at(9_000))
        .unwrap();
    assert_eq!((renewed.live.len(), renewed.ended), (0, vec![lease]));
    let unknown = office
        .duties
        .confirmed(&office.rig.machine, beat(SessionId(1), 1, &[]), at(0));
    assert_eq!(code(unknown), Code::SessionExpired);
}

#[test]
fn a_new_leader_starts_every_count_when_it_takes_office() {
    let (mut office, session, lease) = Office::with_lease(0);
    office.duties = QueueDuties::new(&office.rig.machine, at(70_000));
    office.ms = 70_000;
    assert_eq!(office.due_at(70_000 + PATIENCE - 1), []);
    assert_eq!(office.due_at(70_000 + PATIENCE), silent(lease));
    office
        .rig
        .run(Command::CancelJob {
            job: office.rig.machine.leases[&lease],
        })
        .unwrap();
    office.duties = QueueDuties::new(&office.rig.machine, at(90_000));
    office.ms = 90_000;
    let renewed = office.renew(beat(session, 1, &[lease]));
    assert_eq!(
        (renewed.live.len(), renewed.cancelled),
        (0, vec![lease]),
        "still revoking"
    );
    assert_eq!(office.due_at(90_000 + PATIENCE - 1), []);
    assert_eq!(
        office.due_at(90_000 + PATIENCE),
        [Command::ExpireLeases {
            leases: vec![(lease, 0)],
            cause: ExpireCause::Revoked,
        }]
    );
}

#[test]
fn a_stall_of_the_loop_is_added_to_every_count() {
    let (mut office, _, lease) = Office::with_lease(0);
    office
        .duties
        .stalled(std::time::Duration::from_millis(3_000));
    assert_eq!(office.due_at(3_000 + PATIENCE - 1), []);
    assert_eq!(office.due_at(3_000 + PATIENCE), silent(lease));
}

#[test]
fn a_cancelled_lease_is_acknowledged_no_more_and_ends_a_whole_count_later() {
    let (mut office, session, lease) = Office::with_lease(0);
    office.ms = 5_000;
    let job = office.rig.machine.leases[&lease];
    office.run(Command::CancelJob { job });
    let renewed = office.renew(beat(session, 1, &[lease]));
    assert_eq!(
        (renewed.ended, renewed.cancelled),
        (vec![lease], vec![lease])
    );
    assert_eq!(office.due_at(5_000 + PATIENCE - 1), []);
    let due = office.due_at(5_000 + PATIENCE);
    assert_eq!(due.len(), 1);
    office.run(due[0].clone());
    assert_eq!(office.rig.view(job).state, State::Cancelled);
    let renewed = office.renew(beat(session, 2, &[lease]));
    assert_eq!(renewed.cancelled, [lease], "also after its end");
}

#[test]
fn an_extension_counts_anew_also_when_an_expiry_is_on_its_way() {
    let (mut office, session, lease) = Office::with_lease(0);
    let due = office.due_at(PATIENCE);
    office.run(Command::Extend {
        lease,
        session: None,
        lease_ms: 2 * D,
    });
    assert_eq!(office.run(due[0].clone()), Reply::Count(0), "void");
    assert_eq!(office.renew(beat(session, 1, &[lease])).live, [lease]);
    let end = PATIENCE + 2 * PATIENCE;
    assert_eq!(office.due_at(end - 1), []);
    assert_eq!(
        office.due_at(end),
        [Command::ExpireLeases {
            leases: vec![(lease, 1)],
            cause: ExpireCause::Silent,
        }]
    );
}

#[test]
fn two_numbered_heartbeats_in_a_row_without_a_lease_release_it_uncharged() {
    let (mut office, session, lease) = Office::with_lease(0);
    office.ms = 100;
    office.renew(beat(session, 1, &[]));
    office.renew(beat(session, 2, &[lease]));
    office.renew(beat(session, 3, &[]));
    office.renew(beat(session, 3, &[]));
    office.renew(beat(session, 2, &[]));
    let report = Renewal {
        complete: false,
        ..beat(session, 4, &[])
    };
    office.renew(report);
    assert_eq!(
        office.due_at(200),
        [],
        "repeated, late and incomplete ones tell nothing"
    );
    office.renew(beat(session, 5, &[]));
    let due = office.due_at(200);
    assert_eq!(
        due,
        [Command::ExpireLeases {
            leases: vec![(lease, 0)],
            cause: ExpireCause::Unlisted,
        }]
    );
    assert_eq!(
        office.renew(beat(session, 6, &[lease])).ended,
        [lease],
        "its end is proposed"
    );
    let job = office.rig.machine.leases[&lease];
    office.run(due[0].clone());
    let view = office.rig.view(job);
    assert_eq!(
        (view.state, view.losses, view.failures),
        (State::Ready, 0, 0)
    );
    assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Unclaimed));
}

#[test]
fn heartbeats_that_were_sent_before_the_request_do_not_count() {
    let (mut office, _, _) = Office::with_lease(0);
    office.rig.enqueue(vec![job("b")]);
    let (session, lease) = office.grant(7);
    office.renew(beat(session, 6, &[]));
    office.renew(beat(session, 7, &[]));
    office.renew(beat(session, 8, &[]));
    assert_eq!(office.due_at(0), []);
    office.renew(beat(session, 9, &[]));
    assert_eq!(
        office.due_at(0),
        [Command::ExpireLeases {
            leases: vec![(lease, 0)],
            cause: ExpireCause::Unlisted,
        }]
    );
}

#[test]
fn a_lease_that_unnumbered_heartbeats_do_not_list_keeps_its_count_and_is_not_charged() {
    let (mut office, session, lease) = Office::with_lease(0);
    for _ in 0..5 {
        office.renew(beat(session, 0, &[]));
    }
    assert_eq!(office.due_at(PATIENCE - 1), []);
    assert_eq!(
        office.due_at(PATIENCE),
        [Command::ExpireLeases {
            leases: vec![(lease, 0)],
            cause: ExpireCause::Unlisted,
        }]
    );
}

#[test]
fn progress_that_does_not_change_is_a_stall_and_progress_that_does_is_not() {
    let (mut office, session, lease) = Office::with_lease(3_000);
    let report = |done: f64| Renewal {
        progress: vec![(
            lease,
            Progress {
                done,
                ..Progress::default()
            },
        )],
        ..beat(session, 0, &[lease])
    };
    for (ms, done) in [(1_000, 1.0), (3_500, 2.0), (6_000, 2.0)] {
        assert_eq!(office.due_at(ms), []);
        office.renew(report(done));
    }
    let job = office.rig.machine.leases[&lease];
    let view = office
        .rig
        .machine
        .query(&office.duties, office.rig.now, Query::Job { job });
    assert!(
        matches!(view, Ok(Answer::Job(view)) if view.progress.as_ref().is_some_and(|p| p.done == 2.0))
    );
    assert_eq!(office.due_at(6_499), []);
    let due = office.due_at(6_500);
    assert_eq!(
        due,
        [Command::RevokeLeases {
            leases: vec![lease],
            cause: RevokeCause::Stalled
        }]
    );
    assert_eq!(office.due_at(6_600), [], "once");
    office.run(due[0].clone());
    assert_eq!(office.due_at(6_600 + PATIENCE - 1), []);
    let due = office.due_at(6_600 + PATIENCE);
    office.run(due[0].clone());
    assert_eq!(
        office.rig.view(job).attempts[0].outcome,
        Some(AttemptOutcome::Stalled)
    );
}

/// Over REST a report names its lease only; a heartbeat without a session is refused all the same.
#[test]
fn a_report_of_progress_may_leave_its_session_out() {
    let (mut office, _, lease) = Office::with_lease(0);
    let report = Renewal {
        progress: vec![(
            lease,
            Progress {
                done: 1.0,
                ..Progress::default()
            },
        )],
        complete: false,
        ..beat(SessionId::NONE, 0, &[lease])
    };
    let renewed = office.renew(report.clone());
    assert_eq!(renewed.live, [lease], "it renews the lease");
    assert!(
        office
            .duties
            .progress(lease)
            .is_some_and(|progress| progress.done == 1.0)
    );
    assert_eq!(office.due_at(PATIENCE - 1), []);

    let job = office.rig.machine.leases[&lease];
    office.run(Command::CancelJob { job });
    assert_eq!(office.renew(report).cancelled, [lease]);
}

#[test]
fn texts_of_progress_are_cut() {
    let (mut office, session, lease) = Office::with_lease(0);
    let long = text(&"ü".repeat(1_000));
    office.renew(Renewal {
        progress: vec![(
            lease,
            Progress {
                unit: long.clone(),
                message: long,
                ..Progress::default()
            },
        )],
        ..beat(session, 0, &[lease])
    });
    let progress = office.duties.progress(lease).unwrap();
    assert_eq!((progress.unit.len(), progress.message.len()), (32, 256));
}

#[test]
fn a_session_is_forgotten_after_its_silence_unless_it_holds_something() {
    let (mut office, session, lease) = Office::with_lease(0);
    let idle = u64::try_from(SESSION_IDLE.as_millis()).unwrap();
    let forget = |office: &mut Office, ms| {
        let due = office.due_at(ms);
        due.into_iter()
            .find(|command| matches!(command, Command::ForgetSessions { .. }))
    };
    assert_eq!(forget(&mut office, idle), None, "it holds a lease");
    office.rig.settle(lease, complete("x")).unwrap();
    office
        .duties
        .applied(&office.rig.machine, &Event::Ended { lease }, at(idle));
    office.ms = idle + 1_000;
    office.renew(beat(session, 1, &[]));
    assert_eq!(forget(&mut office, 2 * idle + 999), None);
    let due = forget(&mut office, 2 * idle + 1_000);
    assert_eq!(
        due,
        Some(Command::ForgetSessions {
            sessions: vec![session]
        })
    );
    assert_eq!(office.run(due.unwrap()), Reply::Count(1));
    assert_eq!(office.duties.next_due(), None);
}
