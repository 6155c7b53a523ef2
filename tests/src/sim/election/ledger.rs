//! What nodes told and clients believed, and what it must add up to.
//!
//! Three checkers. *Tokens* (P3): on every node the same changes under the same revisions, without a gap;
//! the tokens of an election grow. *Belief* (P4): no two processes believe in one election at the same
//! true time, while clocks are within the bound. *Register*: a resource that fences never takes an older
//! token after a newer, and no leader's first write overwrites one that it has not read.

use super::super::ledger::{True, Violation};
use quorate_core::types::{FencingToken, Name, NodeId};
use quorate_leader_election::machine::{Change, SessionId, What};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A stretch of true time during which a process took itself for the leader.
#[derive(Clone, Copy, Debug)]
struct Belief {
    process: u64,
    token: FencingToken,
    from: True,
    until: True,
}

/// A resource that keeps the highest token it has seen.
#[derive(Debug, Default)]
struct Register {
    high: FencingToken,
    /// Counts what was written.
    version: u64,
}

/// The record of one run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    strict: bool,
    changes: BTreeMap<u64, Arc<Change>>,
    heard: BTreeMap<NodeId, u64>,
    elected: BTreeMap<Name, BTreeMap<u64, (FencingToken, SessionId)>>,
    beliefs: BTreeMap<Name, Vec<Belief>>,
    registers: BTreeMap<Name, Register>,
    revision_seen: u64,
    written: u64,
    refused: u64,
    believed: u64,
    violations: BTreeSet<Violation>,
}

impl Ledger {
    /// `strict`: all clocks keep the bound, so that P4 is promised.
    pub(super) fn new(strict: bool) -> Self {
        Self {
            strict,
            ..Self::default()
        }
    }

    pub(super) fn blame(&mut self, promise: &'static str, what: String) {
        self.violations.insert(Violation { promise, what });
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        self.violations.iter().cloned().collect()
    }

    pub(super) fn summary(&self) -> Vec<(&'static str, u64)> {
        let elected: usize = self.elected.values().map(BTreeMap::len).sum();
        vec![
            ("changes", self.changes.len() as u64),
            ("elected", elected as u64),
            ("beliefs", self.believed),
            ("writes refused", self.refused),
            ("written", self.written),
        ]
    }

    /// A node told a change.
    pub(super) fn told(&mut self, node: NodeId, change: &Arc<Change>) {
        let last = self.heard.insert(node, change.revision);
        if last.is_some_and(|last| last + 1 != change.revision) {
            self.blame(
                "observe",
                format!(
                    "node {node} told revision {} after {}",
                    change.revision,
                    last.unwrap_or(0)
                ),
            );
        }
        match self.changes.get(&change.revision) {
            Some(known) if known == change => return,
            Some(known) => {
                let what = format!("node {node} tells {change:?}, another told {known:?}");
                return self.blame("P3", what);
            }
            None => {}
        }
        self.changes.insert(change.revision, Arc::clone(change));
        if let (What::Elected, Some(leader)) = (&change.what, &change.leader) {
            let history = self.elected.entry(change.election.clone()).or_default();
            let before = history.range(..change.revision).next_back();
            let after = history.range(change.revision..).next();
            let grows = before.is_none_or(|(_, (token, _))| *token < leader.token)
                && after.is_none_or(|(_, (token, _))| leader.token < *token);
            history.insert(change.revision, (leader.token, leader.session));
            if !grows {
                let what = format!(
                    "token {} of {} does not grow",
                    leader.token, change.election
                );
                self.blame("P3", what);
            }
        }
    }

    /// A node may have missed changes.
    pub(super) fn interrupted(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// A process believes from `at` until its clock has run out at `until`, or longer than before.
    pub(super) fn believe(
        &mut self,
        process: u64,
        election: &Name,
        token: FencingToken,
        (at, until): (True, True),
    ) {
        let beliefs = self.beliefs.entry(election.clone()).or_default();
        let last = beliefs
            .iter_mut()
            .rev()
            .find(|belief| belief.process == process && belief.token == token);
        match last {
            Some(last) if last.until >= at => last.until = last.until.max(until),
            _ => {
                self.believed += 1;
                beliefs.push(Belief {
                    process,
                    token,
                    from: at,
                    until,
                });
            }
        }
    }

    /// It believes no more.
    pub(super) fn disbelieve(&mut self, process: u64, election: &Name, at: True) {
        for belief in self.beliefs.get_mut(election).into_iter().flatten() {
            if belief.process == process {
                belief.until = belief.until.min(at.max(belief.from));
            }
        }
    }

    /// A client learned that the cluster has come to this revision.
    pub(super) fn saw(&mut self, revision: u64) {
        self.revision_seen = self.revision_seen.max(revision);
    }

    /// The highest revision that any client has heard of.
    pub(super) fn revision_seen(&self) -> u64 {
        self.revision_seen
    }

    /// A question that was asked when `known` had been heard of was answered as of `revision`.
    pub(super) fn read(&mut self, known: u64, revision: u64) {
        self.saw(revision);
        if revision < known {
            self.blame("P2", format!("an answer is of revision {revision}, but {known} was known before it was asked for"));
        }
    }

    /// A new leader seals its token at the resource, and reads. `None`: a newer one did before.
    pub(super) fn seal(&mut self, election: &Name, token: FencingToken) -> Option<u64> {
        let register = self.registers.entry(election.clone()).or_default();
        if token < register.high {
            self.refused += 1;
            return None;
        }
        register.high = token;
        Some(register.version)
    }

    /// Reads without sealing.
    pub(super) fn peek(&mut self, election: &Name) -> u64 {
        self.registers.entry(election.clone()).or_default().version
    }

    /// Writes what was made of `based_on`. `None`: refused.
    pub(super) fn write(
        &mut self,
        election: &Name,
        token: FencingToken,
        based_on: u64,
    ) -> Option<u64> {
        let register = self.registers.entry(election.clone()).or_default();
        if token < register.high {
            self.refused += 1;
            return None;
        }
        register.high = token;
        let overwritten = (register.version != based_on).then_some(register.version);
        register.version += 1;
        let version = register.version;
        self.written += 1;
        if let Some(overwritten) = overwritten {
            self.blame("P3", format!("the leader of {election} under {token} wrote over version {overwritten}, having read {based_on}"));
        }
        Some(version)
    }

    /// What can only be said at the end.
    pub(super) fn judge(&mut self) {
        let mut found = Vec::new();
        for (election, beliefs) in &self.beliefs {
            let known = self.elected.get(election);
            for belief in beliefs {
                let granted = known
                    .is_some_and(|known| known.values().any(|(token, _)| *token == belief.token));
                if !granted {
                    found.push((
                        "P3",
                        format!("{belief:?} in {election} without an election"),
                    ));
                }
            }
            if !self.strict {
                continue;
            }
            let mut beliefs = beliefs.clone();
            beliefs.sort_by_key(|belief| (belief.from, belief.until));
            for (number, one) in beliefs.iter().enumerate() {
                let overlap = beliefs
                    .iter()
                    .skip(number + 1)
                    .take_while(|other| other.from < one.until)
                    .find(|other| other.process != one.process && other.from < other.until);
                if let Some(other) = overlap.filter(|_| one.from < one.until) {
                    found.push(("P4", format!("two lead {election}: {one:?} and {other:?}")));
                }
            }
        }
        for (promise, what) in found {
            self.blame(promise, what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_beliefs_of_two_processes_are_blamed_and_touching_ones_are_not() {
        let election = Name::new("e").unwrap();
        let overlap = |second_from| {
            let mut ledger = Ledger::new(true);
            let known = ledger.elected.entry(election.clone()).or_default();
            known.insert(1, (FencingToken(1), SessionId(1)));
            known.insert(2, (FencingToken(2), SessionId(2)));
            ledger.believe(1, &election, FencingToken(1), (0, 100));
            ledger.believe(1, &election, FencingToken(1), (50, 200));
            ledger.believe(2, &election, FencingToken(2), (second_from, 300));
            ledger.judge();
            !ledger.violations().is_empty()
        };
        assert!(overlap(199));
        assert!(!overlap(200));
    }

    #[test]
    fn an_older_token_is_refused_and_a_blind_overwrite_blamed() {
        let election = Name::new("e").unwrap();
        let mut ledger = Ledger::new(true);
        let read = ledger.seal(&election, FencingToken(5)).unwrap();
        assert_eq!(ledger.write(&election, FencingToken(4), read), None);
        assert_eq!(ledger.write(&election, FencingToken(5), read), Some(1));
        assert!(ledger.violations().is_empty());
        ledger.write(&election, FencingToken(6), read);
        assert_eq!(ledger.violations().len(), 1);
    }
}
