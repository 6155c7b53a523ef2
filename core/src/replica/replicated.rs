//! The replicated state of a group: the machine, and around it what every machine needs. Time, the
//! active machine level, the counter of fencing tokens, remembered answers, and a hash over all that
//! was answered, by which replicas find out that they differ.
//!
//! A pure function of the log: no clock, no I/O; every replica applies the same entries and gets the
//! same outcomes.

use super::dedupe::{Dedupe, Verdict};
use super::entry::{Command, Entry, LoggedOp};
use super::hash;
use crate::codec;
use crate::error::{Code, Error};
use crate::machine::{Context, Machine, Op, OpKey, Origin};
use crate::planted::{self, Bug};
use crate::types::{FencingToken, LogIndex, LogTime, Principal, Term};
use std::collections::VecDeque;

/// The machine level a cluster begins with, whatever its builds support.
pub(super) const LEVEL_FIRST: u16 = 1;

/// Hashes kept for comparison: the leader's check is a few entries behind at most.
const RECENT_HASHES_MAX: usize = 256;

/// Fencing tokens begin at unix seconds times this, so that a cluster that is set up anew under the
/// same names continues above every token the old one can have handed out.
const TOKENS_PER_SECOND_BITS: u32 = 20;

/// No clock is believed beyond this: tokens stay below 2^53.
const TOKEN_SECONDS_MAX: u64 = 1 << 32;

/// What became of one operation.
#[derive(Debug)]
pub(super) enum Outcome<M: Machine> {
    /// The machine answered, now or before.
    Reply {
        /// The answer.
        result: Result<M::Reply, Error>,
        /// It is the remembered answer of an earlier execution.
        replayed: bool,
    },
    /// A stream was opened.
    Stream(Result<u64, Error>),
    /// The command was willing to wait and would have found nothing: nothing happened.
    Parks(Op<M::Command>),
    /// An operation of the leader itself; nobody waits for it.
    Own,
}

/// The state that replicas have in common.
#[derive(Debug)]
pub(super) struct Replicated<M> {
    pub(super) machine: M,
    pub(super) level: u16,
    pub(super) time: LogTime,
    pub(super) index: LogIndex,
    pub(super) term: Term,
    pub(super) token_last: FencingToken,
    pub(super) hash: u64,
    pub(super) dedupe: Dedupe,
    recent: VecDeque<(LogIndex, u64)>,
    /// Who the leader's own operations are recorded for.
    own: Principal,
    scratch: Vec<u8>,
}

impl<M: Machine> Replicated<M> {
    /// The empty state.
    pub(super) fn new() -> Self {
        Self {
            machine: M::new(),
            level: LEVEL_FIRST,
            time: LogTime::default(),
            index: LogIndex::default(),
            term: Term::default(),
            token_last: FencingToken::default(),
            hash: 0,
            dedupe: Dedupe::default(),
            recent: VecDeque::with_capacity(RECENT_HASHES_MAX),
            own: Principal("_leader".into()),
            scratch: Vec::new(),
        }
    }

    /// The hash after the last applied entry.
    pub(super) fn hash(&self) -> (LogIndex, u64) {
        (self.index, self.hash)
    }

    /// Applies the empty entry with which raft opens a term.
    pub(super) fn apply_empty(&mut self, index: LogIndex, term: Term) {
        self.advance_to(index, term);
        self.note_hash();
    }

    /// Applies an entry. Outcomes are in the order of its operations. An error is fatal: this replica
    /// must not go on.
    pub(super) fn apply(
        &mut self,
        index: LogIndex,
        term: Term,
        entry: Entry<M::Command>,
        events: &mut Vec<M::Event>,
        outcomes: &mut Vec<Outcome<M>>,
    ) -> Result<(), String> {
        self.compare(entry.header.check)?;
        if entry.header.level > M::LEVEL {
            return Err(format!(
                "entry {index} was written at machine level {} and this version knows {}; run a newer version on this node",
                entry.header.level,
                M::LEVEL
            ));
        }
        self.advance_to(index, term);
        self.time = self.time.max(entry.header.time);
        self.seed_tokens();
        self.dedupe.advance(self.time);
        let mut ctx = Context {
            time: self.time,
            index,
            level: self.level,
            principal: &self.own,
            token_last: &mut self.token_last,
            events,
        };
        self.machine.advance(&mut ctx);
        for op in entry.ops {
            let outcome = self.apply_op(op, events);
            outcomes.push(outcome);
        }
        let seal = [
            index.0,
            term.0,
            self.time.0,
            self.token_last.0,
            self.dedupe.digest(),
            self.machine.digest(),
        ];
        self.hash = seal.into_iter().fold(self.hash, hash::fold);
        self.note_hash();
        Ok(())
    }

    fn apply_op(&mut self, op: LoggedOp<M::Command>, events: &mut Vec<M::Event>) -> Outcome<M> {
        match (op.origin, op.command) {
            (Origin::Leader(term), _)
                if term != self.term && !planted::on(Bug::ExpiryCrossesTerm) =>
            {
                Outcome::Own
            }
            (Origin::Leader(_), Command::Activate { level }) => {
                self.level = self.level.max(level);
                Outcome::Own
            }
            (Origin::Leader(_), Command::Machine(command) | Command::Waiting(command)) => {
                let own = self.own.clone();
                // The leader has no one to tell: what it proposes is either live and done or over.
                let _ = self.execute(&own, None, command, events);
                Outcome::Own
            }
            (Origin::Client { principal, .. }, Command::OpenStream) => {
                let opened = self.dedupe.open(self.time, &principal);
                self.hash = hash::fold(self.hash, opened.as_ref().copied().unwrap_or_default());
                Outcome::Stream(opened)
            }
            (Origin::Client { principal, key }, Command::Machine(command)) => {
                self.apply_client(&principal, key.as_ref(), command, events)
            }
            (Origin::Client { principal, key }, Command::Waiting(command)) => {
                if let Some(answer) = self.remembered(&principal, key.as_ref()) {
                    return answer;
                }
                if self.machine.parks(&command).is_some() {
                    return Outcome::Parks(Op {
                        origin: Origin::Client { principal, key },
                        command,
                    });
                }
                let result = self.execute(&principal, key.as_ref(), command, events);
                Outcome::Reply {
                    result,
                    replayed: false,
                }
            }
            // Only leaders activate levels and only clients open streams; nobody proposes these.
            (Origin::Leader(_), Command::OpenStream)
            | (Origin::Client { .. }, Command::Activate { .. }) => Outcome::Own,
        }
    }

    fn apply_client(
        &mut self,
        principal: &Principal,
        key: Option<&OpKey>,
        command: M::Command,
        events: &mut Vec<M::Event>,
    ) -> Outcome<M> {
        if let Some(answer) = self.remembered(principal, key) {
            return answer;
        }
        Outcome::Reply {
            result: self.execute(principal, key, command, events),
            replayed: false,
        }
    }

    /// The answer that stands already, if there is one or the key is refused.
    fn remembered(&mut self, principal: &Principal, key: Option<&OpKey>) -> Option<Outcome<M>> {
        match self.dedupe.look_up(self.time, principal, key?) {
            Verdict::Execute => None,
            Verdict::Refuse(error) => Some(Outcome::Reply {
                result: Err(error),
                replayed: false,
            }),
            Verdict::Answer(answer) => {
                let result = codec::decode(&answer).unwrap_or_else(|error| {
                    Err(Error::new(
                        Code::OutcomeUnknown,
                        format!("the remembered answer cannot be read: {error}"),
                    ))
                });
                Some(Outcome::Reply {
                    result,
                    replayed: true,
                })
            }
        }
    }

    fn execute(
        &mut self,
        principal: &Principal,
        key: Option<&OpKey>,
        command: M::Command,
        events: &mut Vec<M::Event>,
    ) -> Result<M::Reply, Error> {
        let mut ctx = Context {
            time: self.time,
            index: self.index,
            level: self.level,
            principal,
            token_last: &mut self.token_last,
            events,
        };
        let result = self.machine.apply(&mut ctx, command);
        self.scratch.clear();
        codec::encode_into(&result, &mut self.scratch);
        self.hash = hash::fold_bytes(self.hash, &self.scratch);
        if let Some(key) = key {
            self.dedupe.remember(
                self.time,
                principal,
                key,
                result.as_ref().err(),
                &self.scratch,
            );
        }
        result
    }

    /// Compares the leader's hash with the one this replica had there, if it still knows it.
    fn compare(&self, check: Option<(LogIndex, u64)>) -> Result<(), String> {
        let Some((index, theirs)) = check else {
            return Ok(());
        };
        let ours = self.recent.iter().rev().find(|(at, _)| *at == index);
        match ours {
            Some((_, ours)) if *ours != theirs => Err(format!(
                "the state of this replica differs from the leader's after entry {index} ({ours:016x}, not {theirs:016x}); \
                 stop it, keep its data directory for analysis and replace the node under a new id"
            )),
            _ => Ok(()),
        }
    }

    fn advance_to(&mut self, index: LogIndex, term: Term) {
        assert_eq!(
            index.0,
            self.index.0 + 1,
            "entries are applied one after the other"
        );
        assert!(term >= self.term, "terms do not decrease along the log");
        self.index = index;
        self.term = term;
    }

    pub(super) fn note_hash(&mut self) {
        if self.recent.len() == RECENT_HASHES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((self.index, self.hash));
    }

    fn seed_tokens(&mut self) {
        if self.token_last == FencingToken::default() {
            let seconds = (self.time.0 / 1000).min(TOKEN_SECONDS_MAX);
            self.token_last = FencingToken((seconds << TOKENS_PER_SECOND_BITS).max(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Header;
    use super::super::tests::{Command as Ask, Counter, Reply};
    use super::*;
    use crate::types::Name;

    type Apply = (Vec<Outcome<Counter>>, Replicated<Counter>);

    fn header(time: u64) -> Header {
        Header {
            level: 1,
            time: LogTime(time),
            check: None,
        }
    }

    fn add() -> Command<Ask> {
        Command::Machine(Ask::Add(Name::new("a").unwrap(), 1))
    }

    fn client() -> Origin {
        Origin::Client {
            principal: Principal::anonymous(),
            key: None,
        }
    }

    fn apply(
        mut state: Replicated<Counter>,
        term: u64,
        header: Header,
        ops: Vec<LoggedOp<Ask>>,
    ) -> Result<Apply, String> {
        let index = LogIndex(state.index.0 + 1);
        let mut outcomes = Vec::new();
        state.apply(
            index,
            Term(term),
            Entry { header, ops },
            &mut Vec::new(),
            &mut outcomes,
        )?;
        Ok((outcomes, state))
    }

    fn value(state: &Replicated<Counter>) -> Option<u64> {
        state.machine.values.get(&Name::new("a").unwrap()).copied()
    }

    #[test]
    fn an_operation_of_the_leader_is_void_in_any_other_term() {
        let op = |term| LoggedOp {
            origin: Origin::Leader(Term(term)),
            command: add(),
        };
        let (_, state) = apply(Replicated::new(), 5, header(1), vec![op(4), op(6)]).unwrap();
        assert_eq!(value(&state), None);
        let (_, state) = apply(state, 5, header(1), vec![op(5)]).unwrap();
        assert_eq!(value(&state), Some(1));
        #[cfg(feature = "planted-bugs")]
        {
            use crate::planted::plant;
            plant(Some(Bug::ExpiryCrossesTerm));
            let planted = apply(Replicated::new(), 5, header(1), vec![op(4)]);
            plant(None);
            assert_eq!(value(&planted.unwrap().1), Some(1), "this test sees it");
        }
    }

    #[test]
    fn callers_activate_no_level_and_levels_do_not_go_down() {
        let activate = |origin, level| LoggedOp {
            origin,
            command: Command::Activate { level },
        };
        let (_, state) =
            apply(Replicated::new(), 1, header(1), vec![activate(client(), 2)]).unwrap();
        assert_eq!(state.level, LEVEL_FIRST);
        let leader = || Origin::Leader(Term(1));
        let (_, state) = apply(
            state,
            1,
            header(1),
            vec![activate(leader(), 2), activate(leader(), 1)],
        )
        .unwrap();
        assert_eq!(state.level, 2);
    }

    #[test]
    fn an_entry_of_a_newer_level_is_fatal_and_changes_nothing() {
        let newer = Header {
            level: Counter::LEVEL + 1,
            ..header(1)
        };
        let error = apply(Replicated::new(), 1, newer, vec![]).unwrap_err();
        assert!(error.contains("run a newer version"), "{error}");
    }

    #[test]
    fn time_does_not_go_back_even_if_an_entry_says_so() {
        let (_, state) = apply(Replicated::new(), 1, header(9_000), vec![]).unwrap();
        let (_, state) = apply(state, 2, header(1_000), vec![]).unwrap();
        assert_eq!(state.time, LogTime(9_000));
    }

    #[test]
    fn tokens_begin_at_the_first_entrys_second_and_stay_below_2_to_the_53_whatever_the_clock_says()
    {
        let grant = || {
            vec![LoggedOp {
                origin: client(),
                command: Command::Machine(Ask::Grant(1)),
            }]
        };
        for (time, expected) in [
            (1_700_000_000_999, (1_700_000_000 << 20) + 1),
            (u64::MAX, (1 << 52) + 1),
        ] {
            let (outcomes, _) = apply(Replicated::new(), 1, header(time), grant()).unwrap();
            let token = Reply::Token(FencingToken(expected));
            assert!(
                matches!(&outcomes[0], Outcome::Reply { result: Ok(reply), replayed: false } if *reply == token),
                "{outcomes:?}"
            );
        }
    }

    #[test]
    fn the_hash_differs_with_the_answers_and_with_the_order_of_entries() {
        let run = |ops: &[u64]| {
            ops.iter().fold(Replicated::new(), |state, by| {
                let command = Command::Machine(Ask::Add(Name::new("a").unwrap(), *by));
                apply(
                    state,
                    1,
                    header(1),
                    vec![LoggedOp {
                        origin: client(),
                        command,
                    }],
                )
                .unwrap()
                .1
            })
        };
        assert_eq!(run(&[1, 2]).hash(), run(&[1, 2]).hash());
        assert_ne!(run(&[1, 2]).hash(), run(&[2, 1]).hash());
        assert_ne!(run(&[1, 2]).hash(), run(&[1, 3]).hash());
    }
}
