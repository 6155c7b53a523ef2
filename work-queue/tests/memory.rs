//! What a backlog costs in memory. Alone in its process, because it reads the process's resident set.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use quorate_core::machine::{Context, Machine};
use quorate_core::types::{FencingToken, LogIndex, LogTime, Name, Principal};
use quorate_work_queue::machine::{Command, NewJob, QueueMachine};

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

#[test]
fn a_ready_job_costs_at_most_200_bytes_besides_its_payload() {
    const JOBS: usize = 300_000;
    let mut machine = QueueMachine::new();
    let (mut token, mut events) = (FencingToken(1 << 50), Vec::new());
    let principal = Principal::anonymous();
    let mut enqueue = |machine: &mut QueueMachine, jobs: usize| {
        for index in 0..jobs / 1_000 {
            let mut ctx = Context {
                time: LogTime(1),
                index: LogIndex(index as u64),
                level: QueueMachine::LEVEL,
                principal: &principal,
                token_last: &mut token,
                events: &mut events,
            };
            let jobs = vec![
                NewJob {
                    payload: Bytes::new(),
                    ..NewJob::default()
                };
                1_000
            ];
            let queue = Name::new("q").unwrap();
            machine
                .apply(&mut ctx, Command::Enqueue { queue, jobs })
                .unwrap();
            events.clear();
        }
    };
    // Warms up the allocator and the vectors of this test.
    enqueue(&mut machine, 10_000);
    let before = resident();
    enqueue(&mut machine, JOBS);
    let each = (resident() - before) as f64 / JOBS as f64;
    println!("{each:.1} bytes a ready job, payload not counted");
    assert!(each <= 200.0, "{each:.1} bytes a ready job");
}
