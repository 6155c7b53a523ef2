//! The bytes of everything that outlives a process: commands in the log, replies in the window of
//! answers, rows in snapshots. A version that writes or reads them differently fails here, and must get
//! a new variant or record instead.
//!
//! The fixture is written anew by running the test with `BLESS=1`; a diff of it in a review is a change
//! of format.

use super::*;
use serde::Serialize;
use std::fmt::Write as _;

const FIXTURE: &str = include_str!("golden.txt");

fn line<T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
    out: &mut String,
    title: &str,
    value: &T,
) {
    let bytes = quorate_core::codec::encode(value);
    let back: T = quorate_core::codec::decode(&bytes).unwrap();
    assert_eq!(&back, value, "{title} decodes to what was encoded");
    hex(out, title, &bytes);
}

fn hex(out: &mut String, title: &str, bytes: &[u8]) {
    write!(out, "{title} ").unwrap();
    for byte in bytes {
        write!(out, "{byte:02x}").unwrap();
    }
    out.push('\n');
}

fn new_job() -> NewJob {
    NewJob {
        payload: Bytes::from_static(b"{}"),
        payload_is_json: true,
        inputs: vec![blob()],
        priority: 3,
        not_before: Some(LogTime(9)),
        dedupe_key: Some(text("k")),
        max_attempts: Some(2),
        batch: Some((BatchId(7), 1)),
        labels: vec![(text("a"), text("b"))],
        traceparent: Some(text("t")),
    }
}

fn blob() -> Blob {
    Blob {
        uri: text("u"),
        sha256: text(""),
        size: 300,
    }
}

fn full_request() -> LeaseRequest {
    LeaseRequest {
        lease_ms: Some(1_000),
        heartbeat: 4,
        ..request(Some(SessionId(5)), 2)
    }
}

fn commands() -> Vec<(&'static str, Command)> {
    let (queue, lease, session) = (name("q"), LeaseId(300), Some(SessionId(5)));
    let settle = |settlement| Settle {
        lease,
        session,
        settlement,
    };
    let failed = Settlement::Fail {
        error: text("e"),
        retry: true,
        delay_ms: Some(7),
        exit_code: Some(-1),
        signal: Some(9),
        log_tail: text("l"),
    };
    let completed = Settlement::Complete {
        result: Bytes::from_static(b"r"),
        result_is_json: false,
        outputs: vec![blob()],
    };
    vec![
        (
            "configure",
            Command::Configure {
                queue: queue.clone(),
                settings: Settings::default(),
            },
        ),
        (
            "delete_queue",
            Command::DeleteQueue {
                queue: queue.clone(),
            },
        ),
        (
            "pause",
            Command::Pause {
                queue: queue.clone(),
                paused: true,
            },
        ),
        (
            "purge",
            Command::Purge {
                queue: queue.clone(),
            },
        ),
        (
            "redrive",
            Command::Redrive {
                queue: queue.clone(),
                max: 3,
            },
        ),
        (
            "enqueue",
            Command::Enqueue {
                queue: queue.clone(),
                jobs: vec![new_job(), NewJob::default()],
            },
        ),
        ("lease", Command::Lease(full_request())),
        (
            "settle",
            Command::Settle {
                settle: vec![
                    settle(completed),
                    settle(failed),
                    settle(Settlement::Release),
                ],
                then: Some(full_request()),
            },
        ),
        (
            "extend",
            Command::Extend {
                lease,
                session,
                lease_ms: 1_000,
            },
        ),
        (
            "checkpoint",
            Command::Checkpoint {
                lease,
                session,
                data: Bytes::from_static(b"c"),
            },
        ),
        ("open_session", Command::OpenSession { worker: text("w") }),
        (
            "close_session",
            Command::CloseSession {
                session: SessionId(5),
            },
        ),
        ("cancel_job", Command::CancelJob { job: JobId(6) }),
        ("retry_job", Command::RetryJob { job: JobId(6) }),
        (
            "create_batch",
            Command::CreateBatch {
                queue,
                join: Some((name("j"), new_job())),
                on_dead: OnDead::Cancel,
                key: Some(text("k")),
            },
        ),
        (
            "seal_batch",
            Command::SealBatch {
                batch: BatchId(7),
                expected: 2,
            },
        ),
        ("cancel_batch", Command::CancelBatch { batch: BatchId(7) }),
        ("skip_child", Command::SkipChild { job: JobId(6) }),
        (
            "expire_silent",
            Command::ExpireLeases {
                leases: vec![(lease, 1)],
                cause: ExpireCause::Silent,
            },
        ),
        (
            "expire_unlisted",
            Command::ExpireLeases {
                leases: vec![(lease, 1)],
                cause: ExpireCause::Unlisted,
            },
        ),
        (
            "expire_revoked",
            Command::ExpireLeases {
                leases: vec![(lease, 1)],
                cause: ExpireCause::Revoked,
            },
        ),
        (
            "revoke_stalled",
            Command::RevokeLeases {
                leases: vec![lease],
                cause: RevokeCause::Stalled,
            },
        ),
        (
            "revoke_cancelled",
            Command::RevokeLeases {
                leases: vec![lease],
                cause: RevokeCause::Cancelled,
            },
        ),
        (
            "forget_sessions",
            Command::ForgetSessions {
                sessions: vec![SessionId(5)],
            },
        ),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let lease = Lease {
        id: LeaseId(300),
        job: JobId(6),
        queue: name("q"),
        attempt: 1,
        lease_ms: 1_000,
        payload: Bytes::from_static(b"{}"),
        payload_is_json: true,
        inputs: vec![blob()],
        labels: vec![(text("a"), text("b"))],
        checkpoint: Some(Bytes::from_static(b"c")),
        traceparent: Some(text("t")),
        joins: Some(BatchId(7)),
        batch: Some((BatchId(7), 1)),
    };
    vec![
        ("done", Reply::Done),
        (
            "enqueued",
            Reply::Enqueued(vec![(JobId(6), false), (JobId(6), true)]),
        ),
        (
            "leased",
            Reply::Leased {
                session: SessionId(5),
                leases: vec![lease.clone()],
            },
        ),
        (
            "settled",
            Reply::Settled {
                outcomes: vec![
                    Ok(()),
                    Err(Error::new(Code::AlreadySettled, "d").retry_after_ms(8)),
                ],
                leased: Some((SessionId(5), vec![lease])),
            },
        ),
        ("session", Reply::Session(SessionId(5))),
        ("batch", Reply::Batch(BatchId(7), true)),
        ("count", Reply::Count(300)),
        (
            "kept",
            Reply::Kept {
                cancel_requested: true,
            },
        ),
    ]
}

/// A machine with a row of each kind, and a job in each state.
fn inhabited() -> Rig {
    let mut rig = Rig::new();
    let created = rig.run(Command::CreateBatch {
        queue: name("q"),
        join: Some((name("joins"), job("join"))),
        on_dead: OnDead::Hold,
        key: Some(text("film")),
    });
    let Ok(Reply::Batch(batch, false)) = created else {
        panic!("{created:?}")
    };
    let child = |index| NewJob {
        batch: Some((batch, index)),
        ..job("child")
    };
    let later = NewJob {
        not_before: Some(rig.now.plus_ms(9)),
        dedupe_key: None,
        batch: None,
        ..new_job()
    };
    rig.enqueue(vec![
        child(0),
        child(1),
        job("a"),
        job("b"),
        job("c"),
        later,
    ]);
    let leases = rig.lease(None, 4).1;
    rig.settle(leases[0].id, complete("done")).unwrap();
    let dead = Settlement::Fail {
        error: text("never"),
        retry: false,
        delay_ms: None,
        exit_code: Some(65),
        signal: None,
        log_tail: text("tail"),
    };
    rig.settle(leases[1].id, dead).unwrap();
    rig.run(Command::CancelJob { job: leases[2].job }).unwrap();
    rig.run(Command::SealBatch { batch, expected: 2 }).unwrap();
    rig.run(Command::CancelJob {
        job: JobId(leases[3].job.0 + 1),
    })
    .unwrap();
    rig
}

#[test]
fn the_bytes_of_commands_replies_and_snapshots_are_those_of_the_first_release() {
    let mut out = String::new();
    for (title, command) in commands() {
        line(&mut out, &format!("command {title}"), &command);
    }
    for (title, reply) in replies() {
        line(&mut out, &format!("reply {title}"), &reply);
    }
    let mut rig = inhabited();
    rig.machine.snapshot_begin();
    let mut slices = Vec::new();
    while let Some(slice) = rig.machine.snapshot_slice(1) {
        hex(&mut out, "snapshot", &slice);
        slices.push(slice);
    }
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/tests/golden.txt");
        std::fs::write(path, &out).unwrap();
        return;
    }
    for (written, kept) in out.lines().zip(FIXTURE.lines()) {
        assert_eq!(written, kept, "the format changed");
    }
    assert_eq!(out.lines().count(), FIXTURE.lines().count());
    // And what a first release wrote can be read.
    let bytes = |line: &str| -> Vec<u8> {
        let hex = line.rsplit(' ').next().unwrap().as_bytes();
        hex.chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    };
    let kept: Vec<_> = FIXTURE
        .lines()
        .filter(|line| line.starts_with("snapshot"))
        .map(bytes)
        .collect();
    let copy = from_slices(&kept, rig.machine.bounds);
    assert_eq!(copy.digest(), rig.machine.digest());
}
