//! Questions and renewals: answered after a quorum round that began after they arrived (ReadIndex,
//! Ongaro 2014, section 6.4). No clock is looked at and nothing is logged.
//!
//! One round is under way at a time; what arrives meanwhile shares the next. A round carries a context
//! of (node, boot nonce, counter), so that no answer of an earlier life or round is taken for it.

use super::input::RequestId;
use crate::machine::Machine;
use crate::planted::{self, Bug};
use crate::types::{Mono, NodeId};
use std::collections::VecDeque;

/// A round that is not confirmed after so many ticks is begun again. Raft repeats the question with
/// each heartbeat, so this is for the case that it dropped it.
const ROUND_TICKS_MAX: u64 = 6;

/// A question or a renewal.
#[derive(Debug)]
pub(super) enum Read<M: Machine> {
    Query {
        id: RequestId,
        query: M::Query,
    },
    Renew {
        id: RequestId,
        renewal: M::Renewal,
        receipt: Mono,
    },
}

#[derive(Debug)]
struct Round<M: Machine> {
    context: Vec<u8>,
    begun: u64,
    reads: Vec<Read<M>>,
}

/// All reads of a leader.
#[derive(Debug)]
pub(super) struct Reads<M: Machine> {
    node: NodeId,
    boot_nonce: u64,
    counter: u64,
    next: Vec<Read<M>>,
    round: Option<Round<M>>,
    confirmed: VecDeque<(u64, Vec<Read<M>>)>,
    len: usize,
}

impl<M: Machine> Reads<M> {
    pub(super) fn new(node: NodeId, boot_nonce: u64) -> Self {
        Self {
            node,
            boot_nonce,
            counter: 0,
            next: Vec::new(),
            round: None,
            confirmed: VecDeque::new(),
            len: 0,
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Waits for the next round.
    pub(super) fn push(&mut self, read: Read<M>) {
        self.len += 1;
        let at_once = match &read {
            Read::Query { .. } => Bug::LeaseBasedReads,
            Read::Renew { .. } => Bug::AckWithoutRound,
        };
        if planted::on(at_once) {
            return self.confirmed.push_back((0, vec![read]));
        }
        if planted::on(Bug::AckByOlderRound)
            && let Some(round) = &mut self.round
        {
            return round.reads.push(read);
        }
        self.next.push(read);
    }

    /// What waits for the next round.
    pub(super) fn waiting(&self) -> &[Read<M>] {
        &self.next
    }

    /// The context of a round to begin now, at this tick, if there is need for one.
    pub(super) fn begin(&mut self, tick: u64) -> Option<Vec<u8>> {
        let stale = match &self.round {
            Some(round) => tick.saturating_sub(round.begun) > ROUND_TICKS_MAX,
            None => false,
        };
        if self.round.is_some() && !stale || self.round.is_none() && self.next.is_empty() {
            return None;
        }
        let mut reads = self
            .round
            .take()
            .map(|round| round.reads)
            .unwrap_or_default();
        reads.append(&mut self.next);
        self.counter += 1;
        let numbers = [self.node.0, self.boot_nonce, self.counter];
        let context: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_be_bytes())
            .collect();
        self.round = Some(Round {
            context: context.clone(),
            begun: tick,
            reads,
        });
        Some(context)
    }

    /// A quorum confirmed the round of this context: its reads may be answered when `index` is
    /// applied. Other contexts are of rounds that were begun again.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            self.confirmed.push_back((index, round.reads));
        }
    }

    /// Reads that may be answered when `applied` is applied.
    pub(super) fn take_answerable(&mut self, applied: u64) -> Option<Vec<Read<M>>> {
        self.confirmed
            .front()
            .filter(|(index, _)| *index <= applied)?;
        let (_, reads) = self.confirmed.pop_front()?;
        self.len -= reads.len();
        Some(reads)
    }

    /// Everyone: the office is over.
    pub(super) fn take_all(&mut self) -> Vec<Read<M>> {
        self.len = 0;
        let mut all: Vec<Read<M>> = self
            .confirmed
            .drain(..)
            .flat_map(|(_, reads)| reads)
            .collect();
        all.extend(self.round.take().into_iter().flat_map(|round| round.reads));
        all.append(&mut self.next);
        all
    }
}
