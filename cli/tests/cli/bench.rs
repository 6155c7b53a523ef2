//! The bench proves what it counts: a small run of every kind loses and doubles nothing.

use crate::support::{run, text};
use quorate_cli::measure::Report;

fn bench(args: &[&str]) -> Report {
    let small = [
        "bench",
        "work-queue",
        "-o",
        "json",
        "--connections",
        "2",
        "--inflight",
        "8",
        "--singles",
        "20",
    ];
    let output = run(&[&small, args].concat());
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A bench in which the outcome of every enqueue was learnt. Where nodes of a busy machine take each other for dead, some
/// are not, and it is run again; what was acknowledged is completed once all the same.
fn undisturbed(args: &[&str]) -> Report {
    for _ in 0..3 {
        let report = bench(args);
        let a = report.accounting;
        assert_eq!((a.lost, a.doubled), (0, 0), "{args:?}: {a:?}");
        if a.unknown == 0 {
            return report;
        }
    }
    panic!("{args:?}: enqueues of unknown outcome in each of three runs");
}

#[test]
fn every_acknowledged_job_is_completed_once_by_stream_and_by_http_and_the_nodes_count_alike() {
    for args in [
        &["--jobs", "600"][..],
        &["--jobs", "300", "--http"],
        &["--jobs", "300", "--nodes", "1", "--backlog", "200"],
    ] {
        let report = undisturbed(args);
        let a = report.accounting;
        assert_eq!(
            a.acknowledged,
            20 + report.load.backlog + report.enqueue.jobs,
            "{args:?}"
        );
        assert_eq!(a.completed, a.acknowledged, "{args:?}");
        assert_eq!(report.servers.len(), report.nodes as usize);
        for server in &report.servers {
            assert!(
                server.syncs.is_some_and(|syncs| syncs > 0),
                "{args:?}: {server:?}"
            );
            assert!(
                server.entries.is_some_and(|entries| entries > 0),
                "{args:?}: {server:?}"
            );
        }
        let operations: u64 = report
            .servers
            .iter()
            .filter_map(|server| server.operations)
            .sum();
        assert!(operations > 0, "{args:?}: the leader counts operations");
    }
}

#[test]
fn killing_the_leader_under_load_loses_and_doubles_nothing() {
    for transport in [&[][..], &["--http"]] {
        let report = bench(&[&["--kill-leader", "1", "--rate", "500"], transport].concat());
        let a = report.accounting;
        assert_eq!((a.lost, a.doubled), (0, 0), "{transport:?}: {a:?}");
        assert!(report.enqueue.jobs > 100, "load ran: {report:?}");
        let outage = report.outage.unwrap();
        assert_eq!((outage.kills, outage.gaps_ms.len()), (1, 1));
        assert!(outage.gaps_ms[0] > 0.0);
    }
}

#[test]
fn a_bench_that_is_told_to_stop_leaves_no_server_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench =
        crate::support::command(&["bench", "work-queue", "--seconds", "60", "--data-dir"])
            .arg(dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
    // The servers of this run are those that write below its directory.
    let servers = || {
        let text = dir.path().display().to_string();
        let environments = std::fs::read_dir("/proc").unwrap().flatten();
        environments
            .filter(|entry| {
                let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
                crate::support::text(&environ).contains(&text)
            })
            .count()
    };
    while servers() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&bench);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(bench.wait().unwrap().code(), Some(75));
    assert_eq!(servers(), 0);
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "nor data"
    );
}
