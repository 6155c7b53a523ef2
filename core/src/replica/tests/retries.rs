//! Retries under a key or a stream number are executed once, whoever leads.

use super::cluster::{Cluster, Outcome, keyed, name};
use super::counter::{Command, Reply};
use crate::error::Code;
use crate::machine::{Op, OpKey};
use crate::replica::{Input, KEY_KEPT_MS, STREAM_IDLE_MS};
use crate::types::Principal;

fn add(key: OpKey) -> Op<Command> {
    keyed(Command::Add(name("a"), 1), Some(key))
}

fn open(cluster: &mut Cluster) -> u64 {
    let leader = cluster.elect();
    let id = cluster.id(leader);
    cluster.input(
        leader,
        Input::OpenStream {
            id,
            principal: Principal::anonymous(),
        },
    );
    match cluster.wait(id) {
        Outcome::Stream(Ok(stream)) => stream,
        other => panic!("{other:?}"),
    }
}

fn stream(stream: u64, seq: u64, done_below: u64) -> OpKey {
    OpKey::Stream {
        stream,
        seq,
        done_below,
    }
}

fn code(outcome: &Outcome) -> Option<Code> {
    outcome.error().map(|error| error.code)
}

fn first(value: u64) -> Outcome {
    Outcome::Reply(Ok(Reply::Value(value)), false)
}

fn replay(value: u64) -> Outcome {
    Outcome::Reply(Ok(Reply::Value(value)), true)
}

#[test]
fn a_stream_number_is_executed_once_across_leaders_and_restarts() {
    let mut cluster = Cluster::new(3, 41);
    let id = open(&mut cluster);
    assert_eq!(cluster.execute(add(stream(id, 1, 0))), first(1));
    assert_eq!(cluster.execute(add(stream(id, 1, 0))), replay(1));
    assert_eq!(cluster.execute(add(stream(id, 2, 0))), first(2));
    let leader = cluster.elect();
    cluster.kill(leader);
    assert_eq!(
        cluster.execute(add(stream(id, 2, 0))),
        replay(2),
        "the next leader knows it too"
    );
    cluster.start(leader);
    (0..3).for_each(|node| cluster.kill(node));
    (0..3).for_each(|node| cluster.start(node));
    assert_eq!(cluster.execute(add(stream(id, 1, 0))), replay(1));
    assert_eq!(cluster.get("a"), 2);
}

#[test]
fn an_unknown_or_idle_stream_is_refused_and_never_executed() {
    let mut cluster = Cluster::new(3, 42);
    let id = open(&mut cluster);
    assert_eq!(
        code(&cluster.execute(add(stream(id + 1, 1, 0)))),
        Some(Code::SessionExpired)
    );
    let mut op = add(stream(id, 1, 0));
    op.origin = crate::machine::Origin::Client {
        principal: Principal("mallory".into()),
        key: Some(stream(id, 1, 0)),
    };
    assert_eq!(
        code(&cluster.execute(op)),
        Some(Code::SessionExpired),
        "streams belong to who opened them"
    );
    cluster.run(STREAM_IDLE_MS + 1_000);
    assert_eq!(
        code(&cluster.execute(add(stream(id, 1, 0)))),
        Some(Code::SessionExpired)
    );
    assert_eq!(cluster.get("a"), 0);
}

#[test]
fn answers_below_done_are_forgotten_and_their_numbers_refused() {
    let mut cluster = Cluster::new(3, 43);
    let id = open(&mut cluster);
    for seq in 1..=3 {
        assert_eq!(cluster.execute(add(stream(id, seq, seq))), first(seq));
    }
    assert_eq!(
        code(&cluster.execute(add(stream(id, 2, 0)))),
        Some(Code::InvalidArgument)
    );
    assert_eq!(cluster.execute(add(stream(id, 3, 0))), replay(3));
    assert_eq!(
        code(&cluster.execute(add(stream(id, 0, 0)))),
        Some(Code::InvalidArgument)
    );
}

#[test]
fn an_idempotency_key_replays_the_same_request_and_refuses_another_until_its_hour_is_over() {
    let mut cluster = Cluster::new(3, 44);
    let key = |body| OpKey::Idempotency { key: 77, body };
    assert_eq!(cluster.execute(add(key(1))), first(1));
    assert_eq!(cluster.execute(add(key(1))), replay(1));
    assert_eq!(
        code(&cluster.execute(add(key(2)))),
        Some(Code::IdempotencyMismatch)
    );
    cluster.run(KEY_KEPT_MS + 1_000);
    assert_eq!(
        cluster.execute(add(key(2))),
        first(2),
        "the key is free again"
    );
}

#[test]
fn final_refusals_are_remembered_and_those_that_say_try_again_are_not() {
    let mut cluster = Cluster::new(3, 45);
    let id = open(&mut cluster);
    let run = |cluster: &mut Cluster, command, seq| {
        cluster.execute(keyed(command, Some(stream(id, seq, 0))))
    };
    assert!(matches!(
        run(&mut cluster, Command::Refuse, 1),
        Outcome::Reply(Err(_), false)
    ));
    assert!(matches!(
        run(&mut cluster, Command::Refuse, 1),
        Outcome::Reply(Err(_), true)
    ));
    assert!(matches!(
        run(&mut cluster, Command::Busy, 2),
        Outcome::Reply(Err(_), false)
    ));
    assert_eq!(
        run(&mut cluster, Command::Add(name("a"), 1), 2),
        first(1),
        "the retry may succeed"
    );
}

#[test]
fn the_same_number_twice_in_one_entry_is_executed_once() {
    let mut cluster = Cluster::new(3, 46);
    let id = open(&mut cluster);
    let leader = cluster.elect();
    let ids: Vec<_> = (0..5)
        .map(|_| cluster.propose(leader, add(stream(id, 1, 0)), None))
        .collect();
    let outcomes: Vec<_> = ids.into_iter().map(|id| cluster.wait(id)).collect();
    assert_eq!(outcomes[0], first(1));
    assert!(outcomes[1..].iter().all(|outcome| *outcome == replay(1)));
}

#[test]
fn a_parked_operation_under_a_key_is_not_remembered_as_having_found_nothing() {
    let mut cluster = Cluster::new(3, 47);
    let id = open(&mut cluster);
    let leader = cluster.elect();
    let take = || keyed(Command::Take(name("a")), Some(stream(id, 1, 0)));
    let waiter = cluster.propose(leader, take(), Some(200));
    assert_eq!(cluster.wait(waiter).reply(), Reply::Nothing);
    cluster.execute(keyed(Command::Add(name("a"), 1), None));
    let again = cluster.propose(leader, take(), Some(200));
    assert_eq!(cluster.wait(again), first(1));
    let replayed = cluster.propose(leader, take(), Some(200));
    cluster.run(300);
    assert_eq!(
        cluster.wait(replayed),
        replay(1),
        "also when it would find nothing now"
    );
}
