//! Batches: unique places, seal, hold, skip, join once, cancel, retention (P8).

use super::*;

fn child(batch: BatchId, index: u32) -> NewJob {
    NewJob {
        batch: Some((batch, index)),
        ..job("child")
    }
}

fn create(rig: &mut Rig, on_dead: OnDead) -> BatchId {
    let created = rig.run(Command::CreateBatch {
        queue: name("q"),
        join: Some((name("joins"), job("join"))),
        on_dead,
        key: Some(text("film")),
    });
    match created {
        Ok(Reply::Batch(id, false)) => id,
        other => panic!("{other:?}"),
    }
}

fn seal(rig: &mut Rig, batch: BatchId, expected: u32) -> Result<Reply, Error> {
    rig.run(Command::SealBatch { batch, expected })
}

/// Joins that are ready, delayed, out or final.
fn joins(rig: &Rig) -> Vec<JobView> {
    let query = Query::Jobs {
        queue: name("joins"),
        state: None,
        label: None,
        after: None,
        limit: 10,
    };
    match rig.ask(query) {
        Ok(Answer::Jobs(jobs, None)) => jobs,
        other => panic!("{other:?}"),
    }
}

fn lease_join(rig: &mut Rig) -> Lease {
    let mut request = request(None, 1);
    request.queue = name("joins");
    match rig.run(Command::Lease(request)) {
        Ok(Reply::Leased { mut leases, .. }) => leases.remove(0),
        other => panic!("{other:?}"),
    }
}

fn dead(rig: &mut Rig) -> JobId {
    let lease = rig.lease_one();
    let no_retry = Settlement::Fail {
        error: text("no"),
        retry: false,
        delay_ms: None,
        exit_code: Some(65),
        signal: None,
        log_tail: text(""),
    };
    rig.settle(lease.id, no_retry).unwrap();
    lease.job
}

#[test]
fn a_place_holds_one_job_and_a_sealed_batch_takes_no_other() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    let ids = rig.enqueue(vec![child(batch, 0), child(batch, 1), child(batch, 0)]);
    assert_eq!(ids[0], ids[2]);
    assert_eq!(rig.enqueue(vec![child(batch, 1)]), [ids[1]]);
    seal(&mut rig, batch, 2).unwrap();
    assert_eq!(
        rig.enqueue(vec![child(batch, 1)]),
        [ids[1]],
        "still the first one"
    );
    let jobs = vec![job("x"), child(batch, 2)];
    let refused = rig.run(Command::Enqueue {
        queue: name("q"),
        jobs,
    });
    assert_eq!(code(refused), Code::BatchSealed);
    assert_eq!(rig.queue().counts.ready, 2, "all or none");
}

#[test]
fn a_seal_refuses_gaps_and_names_them_and_may_be_repeated() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    rig.enqueue(vec![child(batch, 1), child(batch, 4)]);
    let refused = seal(&mut rig, batch, 6).unwrap_err();
    assert!(refused.detail.ends_with("at 0, 2, 3, 5"), "{refused}");
    let refused = seal(&mut rig, batch, 4).unwrap_err();
    assert!(refused.detail.contains("index 4"), "{refused}");
    let refused = seal(&mut rig, batch, 100).unwrap_err();
    assert!(refused.detail.ends_with("11, …"), "{refused}");
    rig.enqueue(vec![child(batch, 0), child(batch, 2), child(batch, 3)]);
    assert_eq!(seal(&mut rig, batch, 5), Ok(Reply::Done));
    assert_eq!(seal(&mut rig, batch, 5), Ok(Reply::Done));
    assert_eq!(code(seal(&mut rig, batch, 4)), Code::BatchSealed);
}

#[test]
fn the_join_fires_once_after_the_seal_and_the_last_child_and_completes_the_batch() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    rig.enqueue(vec![child(batch, 0), child(batch, 1)]);
    let leases = rig.lease(None, 2).1;
    rig.settle(leases[0].id, complete("0")).unwrap();
    rig.settle(leases[1].id, complete("1")).unwrap();
    assert!(joins(&rig).is_empty(), "not sealed");
    seal(&mut rig, batch, 2).unwrap();
    assert_eq!(joins(&rig).len(), 1);
    assert_eq!(rig.batch(batch).state, BatchState::Joining);
    seal(&mut rig, batch, 2).unwrap();
    let lease = lease_join(&mut rig);
    assert_eq!(lease.joins, Some(batch));
    let manifest = rig.ask(Query::BatchResults {
        batch,
        from: 0,
        limit: 10,
    });
    let Ok(Answer::BatchResults(children, None)) = manifest else {
        panic!("{manifest:?}")
    };
    let results: Vec<_> = children
        .iter()
        .map(|c| (c.index, c.result.clone()))
        .collect();
    assert_eq!(results, [(0, Some("0".into())), (1, Some("1".into()))]);
    rig.settle(lease.id, complete("film")).unwrap();
    rig.drain();
    assert_eq!(rig.batch(batch).state, BatchState::Completed);
    assert_eq!(joins(&rig).len(), 1);
}

#[test]
fn a_dead_child_holds_the_join_until_it_is_retried_or_skipped() {
    for retry in [true, false] {
        let mut rig = Rig::new();
        let batch = create(&mut rig, OnDead::Hold);
        rig.enqueue(vec![child(batch, 0)]);
        seal(&mut rig, batch, 1).unwrap();
        let job = dead(&mut rig);
        assert_eq!(rig.batch(batch).state, BatchState::Held);
        assert_eq!(
            rig.view(job).waiting,
            "dead, and its batch waits until it is retried or skipped"
        );
        rig.pass(10 * Settings::default().retention_ms);
        assert_eq!(
            rig.view(job).state,
            State::Dead,
            "kept while the batch needs it"
        );
        if retry {
            rig.run(Command::RetryJob { job }).unwrap();
            assert_eq!(rig.batch(batch).state, BatchState::Running);
            let lease = rig.lease_one();
            rig.settle(lease.id, complete("x")).unwrap();
        } else {
            rig.run(Command::SkipChild { job }).unwrap();
            rig.run(Command::SkipChild { job }).unwrap();
            assert_eq!(code(rig.run(Command::RetryJob { job })), Code::BatchSealed);
        }
        assert_eq!(joins(&rig).len(), 1);
        assert_eq!(rig.batch(batch).skipped, u64::from(!retry));
    }
}

#[test]
fn on_dead_join_counts_a_dead_child_as_final_and_on_dead_cancel_ends_the_batch() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Join);
    rig.enqueue(vec![child(batch, 0)]);
    seal(&mut rig, batch, 1).unwrap();
    dead(&mut rig);
    assert_eq!(joins(&rig).len(), 1);

    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Cancel);
    let ids = rig.enqueue(vec![child(batch, 0), child(batch, 1), child(batch, 2)]);
    seal(&mut rig, batch, 3).unwrap();
    dead(&mut rig);
    assert_eq!(rig.batch(batch).state, BatchState::Cancelled);
    assert!(
        rig.lease(None, 5).1.is_empty(),
        "no child is handed out any more"
    );
    rig.drain();
    assert_eq!(rig.view(ids[2]).state, State::Cancelled);
    assert!(joins(&rig).is_empty());
}

#[test]
fn a_cancelled_batch_revokes_what_is_out_and_gives_up_its_key() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    let ids = rig.enqueue(vec![child(batch, 0), child(batch, 1)]);
    let lease = rig.lease_one();
    assert_eq!(
        rig.run(Command::CreateBatch {
            queue: name("q"),
            join: None,
            on_dead: OnDead::Hold,
            key: Some(text("film"))
        }),
        Ok(Reply::Batch(batch, true))
    );
    rig.run(Command::CancelBatch { batch }).unwrap();
    rig.run(Command::CancelBatch { batch }).unwrap();
    rig.drain();
    assert!(rig.view(ids[0]).cancel_requested);
    rig.settle(lease.id, fail("stopped")).unwrap();
    assert_eq!(rig.view(ids[0]).state, State::Cancelled);
    assert_eq!(code(seal(&mut rig, batch, 2)), Code::BatchSealed);
    assert_ne!(create(&mut rig, OnDead::Hold), batch);
}

#[test]
fn children_go_by_their_retention_only_after_the_join_is_final_and_the_batch_with_them() {
    let mut rig = Rig::new();
    let retention = Settings::default().retention_ms;
    let batch = create(&mut rig, OnDead::Hold);
    let id = rig.enqueue(vec![child(batch, 0)])[0];
    seal(&mut rig, batch, 1).unwrap();
    let lease = rig.lease_one();
    rig.settle(lease.id, complete("x")).unwrap();
    rig.pass(3 * retention);
    rig.drain();
    assert_eq!(rig.view(id).state, State::Completed);
    let lease = lease_join(&mut rig);
    rig.settle(lease.id, complete("film")).unwrap();
    rig.drain();
    rig.pass(retention - 1);
    rig.drain();
    assert_eq!(rig.view(id).state, State::Completed);
    rig.pass(1);
    rig.drain();
    assert_eq!(code(rig.ask(Query::Job { job: id })), Code::NotFound);
    assert_eq!(code(rig.ask(Query::Batch { batch })), Code::NotFound);
    assert!(rig.machine.batch_keys.is_empty() && rig.machine.batch_due.is_empty());
    assert!(rig.machine.children.is_empty() && rig.machine.leases.is_empty());
}

#[test]
fn a_dead_join_can_be_retried_and_ends_the_batch_when_nobody_does() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    seal(&mut rig, batch, 0).unwrap();
    let kill = |rig: &mut Rig| {
        let lease = lease_join(rig);
        let settlement = Settlement::Fail {
            error: text("no"),
            retry: false,
            delay_ms: None,
            exit_code: None,
            signal: None,
            log_tail: text(""),
        };
        rig.settle(lease.id, settlement).unwrap();
        lease.job
    };
    let join = kill(&mut rig);
    assert_eq!(rig.batch(batch).state, BatchState::Dead);
    rig.run(Command::RetryJob { job: join }).unwrap();
    assert_eq!(rig.batch(batch).state, BatchState::Joining);
    assert_eq!(kill(&mut rig), join);
    rig.pass(Settings::default().retention_ms);
    rig.drain();
    assert_eq!(code(rig.ask(Query::Job { job: join })), Code::NotFound);
    assert_eq!(rig.batch(batch).state, BatchState::Dead);
    assert_eq!(
        code(rig.run(Command::CancelBatch { batch })),
        Code::AlreadySettled
    );
    rig.pass(Settings::default().retention_ms);
    rig.drain();
    assert_eq!(code(rig.ask(Query::Batch { batch })), Code::NotFound);
}

#[test]
fn the_time_left_follows_from_the_rate_so_far() {
    let mut rig = Rig::new();
    let batch = create(&mut rig, OnDead::Hold);
    rig.enqueue((0..4).map(|index| child(batch, index)).collect());
    rig.pass(1_000);
    assert_eq!(rig.batch(batch).eta_ms, None);
    let lease = rig.lease_one();
    rig.settle(lease.id, complete("x")).unwrap();
    assert_eq!(rig.batch(batch).eta_ms, Some(3_000));
}

#[test]
fn a_sweep_of_many_children_goes_on_in_bounded_steps() {
    let mut rig = Rig::new();
    rig.machine.bounds.steps = 3;
    let batch = create(&mut rig, OnDead::Hold);
    let ids = rig.enqueue((0..10).map(|index| child(batch, index)).collect());
    rig.run(Command::CancelBatch { batch }).unwrap();
    assert_eq!(rig.machine.next_deadline(), Some(LogTime(0)), "due at once");
    rig.pass(0);
    let cancelled = || rig.batch(batch).counts.cancelled;
    assert_eq!(cancelled(), 3);
    rig.drain();
    assert_eq!(rig.batch(batch).counts.cancelled, 10);
    assert_eq!(rig.view(ids[9]).state, State::Cancelled);
}
