//! A job's life: order, settlements, what late and repeated ones get, charges, cancels.

use super::*;

#[test]
fn first_delivery_is_by_priority_then_in_the_order_of_enqueueing() {
    let mut rig = Rig::new();
    let mut urgent = job("urgent");
    urgent.priority = 0;
    let ids = rig.enqueue(vec![job("a"), urgent, job("b")]);
    let leases = rig.lease(None, 10).1;
    let order: Vec<_> = leases.iter().map(|lease| lease.job).collect();
    assert_eq!(order, [ids[1], ids[0], ids[2]]);
    let tokens: Vec<_> = leases.iter().map(|lease| lease.id.token()).collect();
    assert!(tokens.is_sorted() && tokens[0] < tokens[2]);
}

#[test]
fn a_repeated_settlement_gets_the_first_answer_and_another_one_is_refused() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a"), job("b")]);
    let leases = rig.lease(None, 2).1;
    assert_eq!(rig.settle(leases[0].id, complete("x")), Ok(()));
    assert_eq!(rig.settle(leases[0].id, complete("x")), Ok(()));
    assert_eq!(
        code(rig.settle(leases[0].id, complete("y"))),
        Code::AlreadySettled
    );
    assert_eq!(
        code(rig.settle(leases[0].id, fail("z"))),
        Code::AlreadySettled
    );
    assert_eq!(rig.settle(leases[1].id, fail("z")), Ok(()));
    assert_eq!(rig.settle(leases[1].id, fail("z")), Ok(()));
    assert_eq!(
        code(rig.settle(leases[1].id, fail("other"))),
        Code::AlreadySettled
    );
    assert_eq!(
        code(rig.settle(leases[1].id, complete("x"))),
        Code::AlreadySettled
    );
    assert_eq!(rig.view(leases[1].job).failures, 1, "charged once");
    assert_eq!(code(rig.settle(LeaseId(5), complete("x"))), Code::NotFound);
}

#[test]
fn a_lease_that_expired_is_gone_and_one_that_was_superseded_is_stale() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let first = rig.lease_one();
    assert_eq!(rig.expire(first.id, ExpireCause::Silent), 1);
    assert_eq!(rig.expire(first.id, ExpireCause::Silent), 0);
    assert_eq!(
        code(rig.settle(first.id, complete("x"))),
        Code::LeaseExpired
    );
    let second = rig.lease_one();
    assert!(second.id > first.id && second.attempt == 2);
    assert_eq!(
        code(rig.settle(first.id, complete("x"))),
        Code::StaleFencingToken
    );
    let extend = Command::Extend {
        lease: first.id,
        session: None,
        lease_ms: 1000,
    };
    assert_eq!(code(rig.run(extend)), Code::StaleFencingToken);
    let checkpoint = Command::Checkpoint {
        lease: first.id,
        session: None,
        data: Bytes::new(),
    };
    assert_eq!(code(rig.run(checkpoint)), Code::StaleFencingToken);
    assert_eq!(rig.settle(second.id, complete("x")), Ok(()));
    let view = rig.view(first.job);
    assert_eq!(
        (view.state, view.losses, view.failures),
        (State::Completed, 1, 0)
    );
}

#[test]
fn another_session_may_not_settle_and_an_unknown_session_is_refused() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let lease = rig.lease_one();
    let settle = vec![Settle {
        lease: lease.id,
        session: Some(SessionId(1)),
        settlement: complete("x"),
    }];
    let reply = rig.run(Command::Settle { settle, then: None });
    assert!(matches!(reply, Ok(Reply::Settled { outcomes, .. })
        if outcomes[0].as_ref().is_err_and(|e| e.code == Code::Forbidden)));
    let refused = rig.run(Command::Lease(request(Some(SessionId(1)), 1)));
    assert_eq!(code(refused), Code::SessionExpired);
    assert_eq!(rig.view(lease.job).state, State::Leased);
}

#[test]
fn a_request_for_work_that_will_be_refused_settles_nothing_first() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let lease = rig.lease_one();
    let settle = vec![Settle {
        lease: lease.id,
        session: None,
        settlement: complete("x"),
    }];
    let then = Some(request(Some(SessionId(1)), 1));
    assert_eq!(
        code(rig.run(Command::Settle { settle, then })),
        Code::SessionExpired
    );
    assert_eq!(rig.view(lease.job).state, State::Leased);
}

#[test]
fn failures_back_off_and_end_dead_with_the_reason() {
    let mut rig = Rig::new();
    let mut twice = job("a");
    twice.max_attempts = Some(2);
    let id = rig.enqueue(vec![twice])[0];
    let failure = || Settlement::Fail {
        error: text("no such codec"),
        retry: true,
        delay_ms: None,
        exit_code: Some(1),
        signal: None,
        log_tail: text(""),
    };
    let lease = rig.lease_one();
    rig.settle(lease.id, failure()).unwrap();
    let view = rig.view(id);
    assert_eq!(view.state, State::Delayed);
    let delay = view.ready_at.unwrap().since_ms(rig.now);
    assert!((900..=1100).contains(&delay), "{delay}");
    assert_eq!(rig.machine.next_deadline(), view.ready_at);
    rig.pass(delay);
    assert_eq!(rig.view(id).state, State::Ready);
    let lease = rig.lease_one();
    rig.settle(lease.id, failure()).unwrap();
    let view = rig.view(id);
    assert_eq!(view.state, State::Dead);
    assert_eq!(
        &*view.dead_reason,
        "failed 2 times, the last time with: no such codec"
    );
    assert_eq!(view.attempts.len(), 2);
}

#[test]
fn lost_leases_are_counted_apart_and_bounded_and_releases_are_not_charged() {
    let mut rig = Rig::new();
    let mut poison = job("a");
    poison.max_attempts = Some(3);
    let id = rig.enqueue(vec![poison])[0];
    for _ in 0..10 {
        let lease = rig.lease_one();
        rig.settle(lease.id, Settlement::Release).unwrap();
        let lease = rig.lease_one();
        rig.expire(lease.id, ExpireCause::Unlisted);
    }
    assert_eq!(rig.view(id).state, State::Ready);
    for _ in 0..3 {
        rig.pass(3_000);
        let lease = rig.lease_one();
        rig.expire(lease.id, ExpireCause::Silent);
    }
    let view = rig.view(id);
    assert_eq!(
        (view.state, view.failures, view.losses, view.releases),
        (State::Dead, 0, 3, 20)
    );
    assert_eq!(&*view.dead_reason, "lost its worker 3 times");
    assert_eq!(view.attempts.len(), limits::ATTEMPTS_KEPT_MAX);
    assert_eq!(view.attempts.last().unwrap().number, 23);
}

#[test]
fn a_job_that_every_worker_gives_back_ends_dead() {
    let mut rig = Rig::new();
    let id = rig.enqueue(vec![job("a")])[0];
    for _ in 0..limits::RELEASES_MAX {
        let lease = rig.lease_one();
        rig.settle(lease.id, Settlement::Release).unwrap();
    }
    assert_eq!(&*rig.view(id).dead_reason, "given back 1000 times");
}

#[test]
fn once_a_cancel_is_acknowledged_the_job_ends_cancelled_whatever_its_holder_says() {
    for settlement in [complete("x"), fail("x"), Settlement::Release] {
        let mut rig = Rig::new();
        let id = rig.enqueue(vec![job("a")])[0];
        let lease = rig.lease_one();
        assert_eq!(rig.run(Command::CancelJob { job: id }), Ok(Reply::Done));
        assert!(rig.events.contains(&Event::Revoking {
            lease: lease.id,
            cause: RevokeCause::Cancelled
        }));
        assert!(rig.view(id).cancel_requested);
        let is_complete = matches!(settlement, Settlement::Complete { .. });
        let first = rig.settle(lease.id, settlement.clone());
        assert_eq!(first.is_err(), is_complete, "{first:?}");
        assert_eq!(rig.view(id).state, State::Cancelled);
        let again = rig.settle(lease.id, settlement);
        assert_eq!(
            first.map_err(|e| e.code),
            again.map_err(|e| e.code),
            "the first answer"
        );
        assert_eq!(rig.view(id).result, None);
    }
}

#[test]
fn a_revoked_lease_ends_when_its_time_is_over_and_not_before() {
    let mut rig = Rig::new();
    let id = rig.enqueue(vec![job("a")])[0];
    let lease = rig.lease_one();
    assert_eq!(
        rig.expire(lease.id, ExpireCause::Revoked),
        0,
        "it is not being revoked"
    );
    rig.run(Command::CancelJob { job: id }).unwrap();
    assert_eq!(
        rig.lease(None, 1).1.len(),
        0,
        "not handed out before its lease has ended"
    );
    assert_eq!(rig.expire(lease.id, ExpireCause::Revoked), 1);
    assert_eq!(rig.view(id).state, State::Cancelled);
}

#[test]
fn a_stalled_lease_may_still_be_settled_and_is_charged_as_a_failure_otherwise() {
    let mut rig = Rig::new();
    let ids = rig.enqueue(vec![job("a"), job("b")]);
    let leases = rig.lease(None, 2).1;
    let revoke = Command::RevokeLeases {
        leases: leases.iter().map(|lease| lease.id).collect(),
        cause: RevokeCause::Stalled,
    };
    assert_eq!(rig.run(revoke), Ok(Reply::Count(2)));
    let extend = Command::Extend {
        lease: leases[0].id,
        session: None,
        lease_ms: 60_000,
    };
    assert_eq!(code(rig.run(extend)), Code::LeaseExpired);
    rig.settle(leases[0].id, complete("x")).unwrap();
    rig.expire(leases[1].id, ExpireCause::Revoked);
    assert_eq!(rig.view(ids[0]).state, State::Completed);
    let view = rig.view(ids[1]);
    assert_eq!(
        (view.state, view.failures, view.losses),
        (State::Delayed, 1, 0)
    );
    assert_eq!(view.attempts[0].outcome, Some(AttemptOutcome::Stalled));
    assert_eq!(
        code(rig.settle(leases[1].id, complete("x"))),
        Code::LeaseExpired
    );
}

#[test]
fn an_extension_voids_an_expiry_that_was_proposed_before_and_never_shortens() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let lease = rig.lease_one();
    let extend = |lease_ms| Command::Extend {
        lease: lease.id,
        session: None,
        lease_ms,
    };
    assert_eq!(
        rig.run(extend(60_000)),
        Ok(Reply::Kept {
            cancel_requested: false
        })
    );
    assert_eq!(rig.expire(lease.id, ExpireCause::Silent), 0);
    rig.run(extend(1_000)).unwrap();
    assert!(matches!(
        rig.events.last(),
        Some(Event::Granted {
            lease_ms: 60_000,
            extensions: 2,
            ..
        })
    ));
}

#[test]
fn a_checkpoint_is_handed_to_the_next_attempt() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let lease = rig.lease_one();
    let data = Bytes::from_static(b"half");
    rig.run(Command::Checkpoint {
        lease: lease.id,
        session: None,
        data: data.clone(),
    })
    .unwrap();
    rig.expire(lease.id, ExpireCause::Silent);
    assert_eq!(rig.lease_one().checkpoint, Some(data));
}

#[test]
fn closing_a_session_releases_what_it_holds() {
    let mut rig = Rig::new();
    let id = rig.enqueue(vec![job("a")])[0];
    let (session, leases) = rig.lease(None, 1);
    rig.run(Command::CloseSession { session }).unwrap();
    assert_eq!(rig.view(id).state, State::Ready);
    assert!(rig.events.contains(&Event::Ended {
        lease: leases[0].id
    }));
    assert_eq!(
        code(rig.run(Command::CloseSession { session })),
        Code::SessionExpired
    );
}

#[test]
fn when_sessions_are_at_their_bound_the_least_used_one_that_holds_nothing_makes_room() {
    let mut rig = Rig::new();
    rig.machine.bounds.sessions = 2;
    rig.enqueue(vec![job("a"), job("b")]);
    let (holder, _) = rig.lease(None, 1);
    rig.pass(1);
    let (idle, _) = rig.lease(None, 0);
    rig.pass(1);
    let (third, leases) = rig.lease(None, 1);
    assert_eq!(leases.len(), 1);
    assert_eq!(
        code(rig.run(Command::Lease(request(Some(idle), 0)))),
        Code::SessionExpired
    );
    rig.lease(Some(holder), 0);
    rig.lease(Some(third), 0);
    assert_eq!(
        code(rig.run(Command::OpenSession { worker: text("w") })),
        Code::OverQuota
    );
}

#[test]
fn a_job_says_why_it_waits() {
    let mut rig = Rig::new();
    let mut later = job("b");
    later.not_before = Some(rig.now.plus_ms(90_000));
    let ids = rig.enqueue(vec![job("a"), later]);
    rig.pass(3_400);
    assert_eq!(
        rig.view(ids[0]).waiting,
        "ready for 3s: no worker has ever asked for work from queue q"
    );
    assert_eq!(
        rig.view(ids[1]).waiting,
        "not to be run before its time, in 1m 26s"
    );
    rig.run(Command::Pause {
        queue: name("q"),
        paused: true,
    })
    .unwrap();
    assert_eq!(rig.view(ids[0]).waiting, "queue q is paused; resume it");
}

#[test]
fn only_a_request_for_work_that_would_find_nothing_is_parked() {
    let mut rig = Rig::new();
    let lease = Command::Lease(request(None, 1));
    assert_eq!(rig.machine.parks(&lease), Some(name("q")));
    let then = Command::Settle {
        settle: Vec::new(),
        then: Some(request(None, 1)),
    };
    assert_eq!(rig.machine.parks(&then), Some(name("q")));
    assert_eq!(
        rig.machine
            .parks(&Command::Lease(request(Some(SessionId(9)), 1))),
        None
    );
    assert_eq!(rig.machine.parks(&Command::Lease(request(None, 0))), None);
    rig.enqueue(vec![job("a")]);
    assert!(
        rig.events
            .iter()
            .any(|event| QueueMachine::wakes(event) == Some(name("q")))
    );
    assert_eq!(rig.machine.parks(&lease), None);
    rig.run(Command::Pause {
        queue: name("q"),
        paused: true,
    })
    .unwrap();
    assert_eq!(rig.machine.parks(&lease), Some(name("q")));
    assert_eq!(
        QueueMachine::parked_reply(&lease),
        Reply::Leased {
            session: SessionId::NONE,
            leases: Vec::new()
        }
    );
    let none = rig.run(Command::Lease(request(Some(SessionId::NONE), 1)));
    assert!(matches!(none, Ok(Reply::Leased { session, .. }) if session != SessionId::NONE));
}
