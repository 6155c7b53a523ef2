//! The bytes of everything that outlives a process: commands in the log, replies in the window of
//! answers, rows in snapshots. A version that writes or reads them differently fails here, and must get
//! a new variant or record instead.
//!
//! The fixture is written anew by running the test with `BLESS=1`; a diff of it in a review is a change
//! of format.

use super::*;
use quorate_core::lease::Terms;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::{Debug, Write as _};

const FIXTURE: &str = include_str!("golden.txt");

fn line<T: Serialize + DeserializeOwned + PartialEq + Debug>(
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

fn settings() -> Settings {
    Settings {
        lock_delay_ms: 1,
        preferred: Some(name("p")),
        preempt: true,
        stable_ms: 2,
        drain_ms: 3,
    }
}

fn commands() -> Vec<(&'static str, Command)> {
    let (election, session, token) = (name("e"), SessionId(300), FencingToken(301));
    let campaign = |liveness| {
        Command::Campaign(Campaign {
            election: name("e"),
            candidate: name("c"),
            liveness,
            priority: 7,
            metadata: text("m"),
        })
    };
    vec![
        (
            "open-session",
            Command::OpenSession {
                ttl_ms: 2_000,
                label: text("l"),
            },
        ),
        ("close-session", Command::CloseSession { session }),
        ("campaign-session", campaign(Liveness::Session(session))),
        ("campaign-ttl", campaign(Liveness::Ttl(2_000))),
        (
            "resign",
            Command::Resign {
                election: election.clone(),
                session,
                token,
            },
        ),
        (
            "leave",
            Command::Leave {
                election: election.clone(),
                candidate: name("c"),
                session,
            },
        ),
        (
            "transfer",
            Command::Transfer {
                election: election.clone(),
                to: name("c"),
                drain_ms: 9,
                token: Some(token),
            },
        ),
        (
            "drained",
            Command::Drained {
                election: election.clone(),
                session,
                token,
            },
        ),
        (
            "revoke",
            Command::Revoke {
                election: election.clone(),
                token: None,
                reason: text("r"),
            },
        ),
        (
            "force-release",
            Command::ForceRelease {
                election: election.clone(),
                token: Some(token),
                reason: text("r"),
            },
        ),
        (
            "configure",
            Command::Configure {
                election: election.clone(),
                settings: Some(settings()),
            },
        ),
        (
            "expire",
            Command::Expire {
                sessions: vec![session],
            },
        ),
        (
            "end-revoked",
            Command::EndRevoked {
                ends: vec![(election, token)],
            },
        ),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    let (session, terms, token) = (SessionId(300), Terms::new(2_000), FencingToken(301));
    vec![
        ("session", Reply::Session(Opened { session, terms })),
        (
            "campaigned",
            Reply::Campaigned(Campaigned {
                session,
                terms,
                opened: true,
                token: Some(token),
                revision: 5,
            }),
        ),
        (
            "ended",
            Reply::Ended {
                leadership: true,
                revision: 5,
            },
        ),
        (
            "transferring",
            Reply::Transferring(Transferring {
                token,
                from: name("a"),
                to: name("b"),
                done: false,
                revision: 5,
            }),
        ),
        ("done", Reply::Done { revision: 5 }),
        ("count", Reply::Count(2)),
    ]
}

fn whats() -> Vec<(&'static str, What)> {
    let (candidate, token) = (name("c"), FencingToken(301));
    let ended = |cause| What::Ended {
        token,
        candidate: name("c"),
        cause,
        locked_until: Some(LogTime(9)),
    };
    vec![
        (
            "joined",
            What::Joined {
                candidate: candidate.clone(),
                priority: 1,
                metadata: text("m"),
            },
        ),
        (
            "updated",
            What::Updated {
                candidate: candidate.clone(),
                priority: 1,
                metadata: text("m"),
            },
        ),
        (
            "left",
            What::Left {
                candidate: candidate.clone(),
                cause: LeaveCause::Left,
            },
        ),
        (
            "left-closed",
            What::Left {
                candidate: candidate.clone(),
                cause: LeaveCause::Closed,
            },
        ),
        (
            "left-expired",
            What::Left {
                candidate: candidate.clone(),
                cause: LeaveCause::Expired,
            },
        ),
        ("elected", What::Elected),
        ("resigned", ended(EndCause::Resigned)),
        ("drained", ended(EndCause::Drained)),
        ("ended-left", ended(EndCause::Left)),
        ("closed", ended(EndCause::Closed)),
        ("expired", ended(EndCause::Expired)),
        ("revoked", ended(EndCause::Revoked)),
        (
            "forced",
            ended(EndCause::Forced {
                by: text("b"),
                reason: text("r"),
            }),
        ),
        ("draining", What::Draining),
        ("called-off", What::CalledOff { to: candidate }),
        ("revoking", What::Revoking),
        ("configured", What::Configured { settings: None }),
        ("removed", What::Removed),
    ]
}

fn leadership(phase: Phase) -> Leadership {
    Leadership {
        token: FencingToken(301),
        candidate: name("c"),
        session: SessionId(300),
        metadata: text("m"),
        priority: 1,
        since: LogTime(7),
        phase,
    }
}

#[test]
fn the_bytes_of_the_log_and_of_snapshots_stay_as_they_are() {
    let mut out = String::new();
    for (title, command) in commands() {
        line(&mut out, &format!("command/{title}"), &command);
    }
    for (title, reply) in replies() {
        line(&mut out, &format!("reply/{title}"), &reply);
    }
    let asked = RevokeCause::Asked {
        by: text("b"),
        reason: text("r"),
    };
    for (title, phase) in [
        ("leading", Phase::Leading),
        (
            "draining",
            Phase::Draining {
                to: name("d"),
                until: LogTime(8),
            },
        ),
        (
            "handing-over",
            Phase::Revoking {
                cause: RevokeCause::HandOver,
                to: Some(name("d")),
            },
        ),
        (
            "asked",
            Phase::Revoking {
                cause: asked,
                to: None,
            },
        ),
    ] {
        line(&mut out, &format!("leadership/{title}"), &leadership(phase));
    }
    for (title, what) in whats() {
        let change = Change {
            revision: 5,
            previous: 4,
            time: LogTime(6),
            election: name("e"),
            what,
            leader: Some(Arc::new(leadership(Phase::Leading))),
        };
        line(&mut out, &format!("change/{title}"), &change);
    }
    let mut rig = Rig::new();
    rig.configure("e", settings());
    let a = rig.open(2_000);
    rig.campaign("e", "a", a, 1);
    rig.stand("e", "p", 2);
    rig.expire(&[a]);
    rig.machine.snapshot_begin();
    let mut slices = 0;
    while let Some(slice) = rig.machine.snapshot_slice(1) {
        slices += 1;
        hex(&mut out, &format!("snapshot/{slices:02}"), &slice);
    }
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine/tests/golden.txt");
        std::fs::write(path, &out).unwrap();
        return;
    }
    for (is, should) in out.lines().zip(FIXTURE.lines()) {
        assert_eq!(is, should, "the format changed; see the head of this file");
    }
    assert_eq!(out.lines().count(), FIXTURE.lines().count());
}

#[test]
fn bytes_of_the_fixture_are_still_read() {
    let mut copy = ElectionMachine::new();
    let mut slices = 0;
    for line in FIXTURE.lines() {
        let (title, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        match title.split('/').next().unwrap() {
            "command" => drop(quorate_core::codec::decode::<Command>(&bytes).unwrap()),
            "reply" => drop(quorate_core::codec::decode::<Reply>(&bytes).unwrap()),
            "leadership" => drop(quorate_core::codec::decode::<Leadership>(&bytes).unwrap()),
            "change" => drop(quorate_core::codec::decode::<Change>(&bytes).unwrap()),
            "snapshot" => {
                copy.restore_slice(&bytes).unwrap();
                slices += 1;
            }
            other => panic!("{other}"),
        }
    }
    copy.restore_end().unwrap();
    assert!(slices > 5 && copy.elections.len() == 1);
}
