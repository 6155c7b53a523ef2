//! Every bound is kept, with a code and nothing changed.

use super::*;

#[test]
fn what_is_over_a_bound_is_refused_and_changes_nothing() {
    let mut rig = Rig::new();
    rig.machine.bounds.elections = 2;
    rig.machine.bounds.sessions = 3;
    rig.machine.bounds.candidacies = 4;
    rig.machine.bounds.per_election = 2;
    rig.machine.bounds.per_session = 2;
    let a = rig.open(2_000);
    let b = rig.open(2_000);
    let c = rig.open(2_000);
    let open = |ttl_ms| Command::OpenSession {
        ttl_ms,
        label: text("x"),
    };
    assert_eq!(code(rig.run(open(2_000))), Code::OverQuota, "sessions");
    rig.campaign("e", "a", a, 0);
    rig.campaign("e", "b", b, 0);
    assert_eq!(
        code(rig.run(campaign("e", "c", c, 0))),
        Code::OverQuota,
        "candidates of one election"
    );
    rig.campaign("f", "a", a, 0);
    assert_eq!(
        code(rig.run(campaign("f", "a2", a, 0))),
        Code::OverQuota,
        "candidacies of one session"
    );
    assert_eq!(
        code(rig.run(campaign("g", "b", b, 0))),
        Code::OverQuota,
        "elections"
    );
    let configure = Command::Configure {
        election: name("g"),
        settings: Some(Settings::default()),
    };
    assert_eq!(code(rig.run(configure)), Code::OverQuota, "elections");
    rig.campaign("f", "c", c, 0);
    rig.machine.bounds.per_election = 9;
    assert_eq!(
        code(rig.run(campaign("e", "c", c, 0))),
        Code::OverQuota,
        "candidacies"
    );
    assert_eq!(
        (rig.machine.elections.len(), rig.machine.candidates.len()),
        (2, 4)
    );
    let before = rig.machine.fold();
    rig.machine.bounds = Default::default();
    for ttl_ms in [0, 499, 3_600_001, u64::MAX] {
        assert_eq!(code(rig.run(open(ttl_ms))), Code::InvalidArgument);
    }
    assert_eq!(
        code(rig.run(campaign("f", "z", c, 1_001))),
        Code::InvalidArgument
    );
    let long = Command::Campaign(Campaign {
        election: name("f"),
        candidate: name("z"),
        liveness: Liveness::Session(c),
        priority: 0,
        metadata: text(&"x".repeat(1_025)),
    });
    assert_eq!(code(rig.run(long)), Code::TooLarge);
    let label = Command::OpenSession {
        ttl_ms: 2_000,
        label: text(&"x".repeat(257)),
    };
    assert_eq!(code(rig.run(label)), Code::TooLarge);
    assert_eq!(
        code(rig.run(transfer("e", "b", 3_600_001))),
        Code::InvalidArgument
    );
    for settings in [
        Settings {
            lock_delay_ms: u64::MAX,
            ..Settings::default()
        },
        Settings {
            stable_ms: u64::MAX,
            ..Settings::default()
        },
        Settings {
            drain_ms: u64::MAX,
            ..Settings::default()
        },
    ] {
        let configure = Command::Configure {
            election: name("e"),
            settings: Some(settings),
        };
        assert_eq!(code(rig.run(configure)), Code::InvalidArgument);
    }
    let force = Command::ForceRelease {
        election: name("e"),
        token: None,
        reason: text(&"x".repeat(257)),
    };
    assert_eq!(code(rig.run(force)), Code::TooLarge);
    assert_eq!(
        rig.machine.fold(),
        before,
        "nothing of all that left a trace"
    );
}
