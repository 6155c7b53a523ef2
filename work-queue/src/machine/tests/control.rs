//! Enqueueing at the bounds, and what operators do to a queue.

use super::*;

fn enqueue(rig: &mut Rig, jobs: Vec<NewJob>) -> Result<Reply, Error> {
    rig.run(Command::Enqueue {
        queue: name("q"),
        jobs,
    })
}

#[test]
fn what_is_over_a_bound_is_refused_and_nothing_of_the_request_is_kept() {
    let payload = |len| NewJob {
        payload: Bytes::from(vec![0; len]),
        ..NewJob::default()
    };
    let label = |key: &str| (text(key), text("v"));
    let cases: Vec<(Code, Vec<NewJob>)> = vec![
        (Code::InvalidArgument, vec![]),
        (
            Code::InvalidArgument,
            vec![job("x"); limits::JOBS_PER_ENQUEUE_MAX + 1],
        ),
        (
            Code::TooLarge,
            vec![job("x"), payload(limits::PAYLOAD_BYTES_MAX + 1)],
        ),
        (Code::TooLarge, vec![payload(limits::PAYLOAD_BYTES_MAX); 65]),
        (
            Code::InvalidArgument,
            vec![
                job("x"),
                NewJob {
                    priority: 16,
                    ..job("x")
                },
            ],
        ),
        (
            Code::InvalidArgument,
            vec![NewJob {
                max_attempts: Some(0),
                ..job("x")
            }],
        ),
        (
            Code::InvalidArgument,
            vec![NewJob {
                dedupe_key: Some(text("")),
                ..job("x")
            }],
        ),
        (
            Code::InvalidArgument,
            vec![NewJob {
                labels: vec![label("b"), label("a")],
                ..job("x")
            }],
        ),
        (
            Code::InvalidArgument,
            vec![NewJob {
                labels: vec![label("a"), label("a")],
                ..job("x")
            }],
        ),
        (
            Code::NotFound,
            vec![
                job("x"),
                NewJob {
                    batch: Some((BatchId(3), 0)),
                    ..job("x")
                },
            ],
        ),
        (
            Code::InvalidArgument,
            vec![NewJob {
                inputs: vec![Blob {
                    uri: text("file:///a"),
                    sha256: text("ABC"),
                    size: 1,
                }],
                ..job("x")
            }],
        ),
    ];
    let mut rig = Rig::new();
    for (expected, jobs) in cases {
        assert_eq!(code(enqueue(&mut rig, jobs)), expected);
    }
    assert_eq!(
        code(rig.ask(Query::Queue { queue: name("q") })),
        Code::NotFound
    );
    assert_eq!(rig.token, FencingToken(100), "not even an id was given");
    enqueue(&mut rig, vec![payload(limits::PAYLOAD_BYTES_MAX); 64]).unwrap();
}

#[test]
fn a_full_queue_refuses_with_a_hint_and_duplicates_still_find_their_job() {
    let mut rig = Rig::new();
    let settings = Settings {
        max_jobs: 2,
        max_bytes: 10,
        ..Settings::default()
    };
    rig.run(Command::Configure {
        queue: name("q"),
        settings,
    })
    .unwrap();
    let keyed = NewJob {
        dedupe_key: Some(text("k")),
        ..job("a")
    };
    let id = rig.enqueue(vec![keyed.clone()])[0];
    let refused = enqueue(&mut rig, vec![job("b"), job("c")]).unwrap_err();
    assert_eq!(
        (refused.code, refused.retry_after_ms),
        (Code::OverQuota, Some(1_000))
    );
    assert_eq!(
        code(enqueue(&mut rig, vec![job("123456789")])),
        Code::OverQuota
    );
    rig.enqueue(vec![job("b")]);
    let again = enqueue(&mut rig, vec![keyed.clone()]);
    assert_eq!(again, Ok(Reply::Enqueued(vec![(id, true)])));
    let lease = rig.lease_one();
    rig.settle(lease.id, complete("x")).unwrap();
    rig.enqueue(vec![job("c")]);
    let again = enqueue(&mut rig, vec![keyed]);
    assert_eq!(
        again,
        Ok(Reply::Enqueued(vec![(id, true)])),
        "as long as the job is kept"
    );
}

#[test]
fn a_dedupe_key_is_free_again_when_its_job_is_gone() {
    let mut rig = Rig::new();
    let keyed = NewJob {
        dedupe_key: Some(text("k")),
        ..job("a")
    };
    let id = rig.enqueue(vec![keyed.clone()])[0];
    let lease = rig.lease_one();
    rig.settle(lease.id, complete("x")).unwrap();
    rig.pass(Settings::default().retention_ms);
    assert_ne!(rig.enqueue(vec![keyed])[0], id);
}

#[test]
fn a_purge_of_any_size_takes_effect_at_once_and_spares_what_comes_after() {
    let mut rig = Rig::new();
    rig.machine.bounds.steps = 2;
    let mut later = job("later");
    later.not_before = Some(rig.now.plus_ms(5));
    let mut jobs = vec![job("a"); 10];
    jobs.push(later);
    let ids = rig.enqueue(jobs);
    let out = rig.lease_one();
    assert_eq!(
        rig.run(Command::Purge { queue: name("q") }),
        Ok(Reply::Count(10))
    );
    assert_eq!(
        code(rig.run(Command::Purge { queue: name("q") })),
        Code::OverQuota
    );
    rig.settle(out.id, Settlement::Release).unwrap();
    let after = rig.enqueue(vec![job("new")])[0];
    rig.now = rig.now.plus_ms(5);
    let handed: Vec<_> = rig
        .lease(None, 10)
        .1
        .iter()
        .map(|lease| lease.job)
        .collect();
    assert_eq!(
        handed,
        [ids[0], after],
        "what was out or came later, and nothing that waited"
    );
    rig.drain();
    assert_eq!(rig.queue().counts.cancelled, 10);
    assert_eq!(
        rig.run(Command::Purge { queue: name("q") }),
        Ok(Reply::Count(0))
    );
}

#[test]
fn a_queue_is_deleted_only_when_idle_and_its_name_is_free_at_once() {
    let mut rig = Rig::new();
    rig.machine.bounds.steps = 1;
    let ids = rig.enqueue(vec![job("a"), job("b"), job("c")]);
    let delete = || Command::DeleteQueue { queue: name("q") };
    assert_eq!(code(rig.run(delete())), Code::InvalidArgument);
    for id in &ids {
        rig.run(Command::CancelJob { job: *id }).unwrap();
    }
    rig.run(delete()).unwrap();
    assert_eq!(code(rig.ask(Query::Job { job: ids[2] })), Code::NotFound);
    let fresh = rig.enqueue(vec![job("d")])[0];
    rig.drain();
    assert_eq!(
        rig.queue().counts,
        Counts {
            ready: 1,
            ..Counts::default()
        }
    );
    assert_eq!(rig.view(fresh).state, State::Ready);
    assert_eq!(rig.machine.queues.len(), 1);
}

#[test]
fn a_paused_queue_hands_out_nothing_and_says_so_when_it_is_resumed() {
    let mut rig = Rig::new();
    rig.enqueue(vec![job("a")]);
    let pause = |paused| Command::Pause {
        queue: name("q"),
        paused,
    };
    rig.run(pause(true)).unwrap();
    assert!(rig.lease(None, 1).1.is_empty());
    rig.events.clear();
    rig.run(pause(false)).unwrap();
    assert!(rig.events.contains(&Event::Ready { queue: name("q") }));
    rig.lease_one();
}

#[test]
fn completed_jobs_beyond_the_bound_go_oldest_first_and_dead_ones_stay() {
    let mut rig = Rig::new();
    rig.machine.bounds.kept_jobs = 2;
    let ids = rig.enqueue(vec![job("a"), job("b"), job("c"), job("d")]);
    let leases = rig.lease(None, 4).1;
    let dead = Settlement::Fail {
        error: text("no"),
        retry: false,
        delay_ms: None,
        exit_code: None,
        signal: None,
        log_tail: text(""),
    };
    rig.settle(leases[0].id, dead).unwrap();
    for lease in &leases[1..] {
        rig.pass(1);
        rig.settle(lease.id, complete("x")).unwrap();
    }
    assert_eq!(rig.view(ids[0]).state, State::Dead);
    assert_eq!(code(rig.ask(Query::Job { job: ids[1] })), Code::NotFound);
    assert_eq!(rig.view(ids[2]).state, State::Completed);
    assert_eq!(
        code(rig.settle(leases[1].id, complete("x"))),
        Code::NotFound
    );
    assert_eq!(
        rig.run(Command::Redrive {
            queue: name("q"),
            max: 9
        }),
        Ok(Reply::Count(1))
    );
    assert_eq!(rig.lease_one().job, ids[0]);
}

#[test]
fn pages_of_jobs_are_filtered_bounded_and_name_the_next_one() {
    let mut rig = Rig::new();
    let film = (text("film"), text("x"));
    let jobs = (0..7)
        .map(|n| NewJob {
            labels: if n % 2 == 0 {
                vec![film.clone()]
            } else {
                Vec::new()
            },
            priority: n % 3,
            ..job("a")
        })
        .collect();
    let ids = rig.enqueue(jobs);
    let page = |label: Option<(Arc<str>, Arc<str>)>, after, limit| {
        let query = Query::Jobs {
            queue: name("q"),
            state: Some(State::Ready),
            label,
            after,
            limit,
        };
        match rig.ask(query) {
            Ok(Answer::Jobs(jobs, next)) => {
                (jobs.iter().map(|job| job.id).collect::<Vec<_>>(), next)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(page(None, None, 3), (ids[..3].to_vec(), Some(ids[2])));
    assert_eq!(page(None, Some(ids[2]), 4), (ids[3..].to_vec(), None));
    assert_eq!(
        page(Some(film.clone()), None, 3),
        (vec![ids[0], ids[2], ids[4]], Some(ids[4]))
    );
    assert_eq!(page(Some(film), Some(ids[4]), 3), (vec![ids[6]], None));
    assert_eq!(page(None, Some(JobId(u64::MAX)), 3), (vec![], None));
    let queues = rig.ask(Query::Queues {
        after: None,
        limit: 1,
    });
    assert!(matches!(queues, Ok(Answer::Queues(page, None)) if page.len() == 1));
}

#[test]
fn queues_at_their_bound_are_refused() {
    let mut rig = Rig::new();
    rig.machine.bounds.queues = 1;
    rig.enqueue(vec![job("a")]);
    let other = Command::Enqueue {
        queue: name("other"),
        jobs: vec![job("a")],
    };
    assert_eq!(code(rig.run(other)), Code::OverQuota);
}

#[test]
fn settings_out_of_range_are_refused() {
    let mut rig = Rig::new();
    let good = Settings::default;
    for settings in [
        Settings {
            lease_ms: 499,
            ..good()
        },
        Settings {
            max_attempts: 0,
            ..good()
        },
        Settings {
            backoff_initial_ms: 10,
            backoff_max_ms: 9,
            ..good()
        },
        Settings {
            retention_ms: limits::DELAY_MS_MAX + 1,
            ..good()
        },
        Settings {
            stall_ms: u64::MAX,
            ..good()
        },
    ] {
        let refused = rig.run(Command::Configure {
            queue: name("q"),
            settings,
        });
        assert_eq!(code(refused), Code::InvalidArgument);
    }
}
