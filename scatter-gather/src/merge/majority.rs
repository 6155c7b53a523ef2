//! `majority`: the answer that more than half of the merged shards gave.
//!
//! Answers are compared byte by byte, or by the JSON value at a pointer, in which case the order of
//! members and white space do not matter. The result is the body of the first shard that gave the
//! winning answer.

use super::fold::Fold;
use super::{MergeFailure, Merged, Piece, Pointer, Refusal, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a ballot costs besides its bytes.
const BALLOT_BYTES: usize = 128;

/// The state of `majority`.
pub(super) struct Majority {
    pointer: Option<Pointer>,
    ballots: BTreeMap<Bytes, Ballot>,
    bytes: usize,
}

#[derive(Clone)]
pub(super) struct Ballot {
    votes: u64,
    index: u32,
    content_type: Option<Box<str>>,
    body: Bytes,
}

/// What an inner node sends up.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Votes {
    votes: Vec<Vote>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vote {
    votes: u64,
    content_type: Option<Box<str>>,
    body_base64: String,
}

impl Majority {
    pub(super) fn new(pointer: Option<Pointer>) -> Self {
        Self {
            pointer,
            ballots: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// What is compared.
    fn choice(&self, body: &Bytes, content_type: Option<&str>) -> Result<Bytes, Refusal> {
        let Some(pointer) = &self.pointer else {
            return Ok(body.clone());
        };
        let piece = Piece {
            shard: "".into(),
            index: 0,
            status: 200,
            content_type: content_type.map(Into::into),
            body: body.clone(),
            nested: false,
        };
        // A value that is read and written again has one spelling.
        let value: Value = json::read(json::need(&piece, pointer)?, "JSON", pointer)?;
        Ok(Bytes::from(value.to_string()))
    }

    fn ballots(&self, piece: &Piece) -> Result<Vec<(Bytes, Ballot)>, Refusal> {
        let ballot = |votes, content_type: Option<Box<str>>, body: Bytes| {
            let choice = self.choice(&body, content_type.as_deref())?;
            let index = piece.index;
            let ballot = Ballot {
                votes,
                index,
                content_type,
                body,
            };
            Ok((choice, ballot))
        };
        if !piece.nested {
            return Ok(vec![ballot(
                1,
                piece.content_type.clone(),
                piece.body.clone(),
            )?]);
        }
        let malformed = || Refusal::nonsense("the inner node's votes are malformed");
        let votes: Votes = serde_json::from_slice(&piece.body).map_err(|_| malformed())?;
        let one = |vote: Vote| {
            let body = STANDARD
                .decode(&vote.body_base64)
                .map_err(|_| malformed())?;
            ballot(vote.votes, vote.content_type, Bytes::from(body))
        };
        votes.votes.into_iter().map(one).collect()
    }
}

fn cost(choice: &Bytes, ballot: &Ballot) -> usize {
    BALLOT_BYTES + choice.len() + ballot.body.len()
}

impl Fold for Majority {
    type Staged = Vec<(Bytes, Ballot)>;

    fn stage(&self, piece: &Piece) -> Result<(Self::Staged, usize), Refusal> {
        let ballots = self.ballots(piece)?;
        let new = ballots
            .iter()
            .filter(|(choice, _)| !self.ballots.contains_key(choice));
        // A ballot that replaces an equal one of a later shard may be longer, by its white space.
        let longer = ballots.iter().filter_map(|(choice, ballot)| {
            let kept = self.ballots.get(choice)?;
            Some(ballot.body.len().saturating_sub(kept.body.len()))
        });
        let bytes = self.bytes
            + new
                .map(|(choice, ballot)| cost(choice, ballot))
                .sum::<usize>()
            + longer.sum::<usize>();
        Ok((ballots, bytes))
    }

    fn commit(&mut self, ballots: Self::Staged) {
        for (choice, ballot) in ballots {
            match self.ballots.get_mut(&choice) {
                None => {
                    self.bytes += cost(&choice, &ballot);
                    self.ballots.insert(choice, ballot);
                }
                Some(kept) => {
                    kept.votes = kept.votes.saturating_add(ballot.votes);
                    if ballot.index < kept.index {
                        self.bytes = self.bytes + ballot.body.len() - kept.body.len();
                        kept.index = ballot.index;
                        kept.content_type = ballot.content_type;
                        kept.body = ballot.body;
                    }
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn partial(&self) -> Result<Merged, MergeFailure> {
        let votes = self.ballots.values().map(|ballot| Vote {
            votes: ballot.votes,
            content_type: ballot.content_type.clone(),
            body_base64: STANDARD.encode(&ballot.body),
        });
        let votes = Votes {
            votes: votes.collect(),
        };
        let text = serde_json::to_vec(&votes)
            .map_err(|error| MergeFailure::NoResult(error.to_string()))?;
        Ok(Merged::json(text))
    }

    fn finish(&self) -> Result<Merged, MergeFailure> {
        let all = self
            .ballots
            .values()
            .fold(0_u64, |sum, ballot| sum.saturating_add(ballot.votes));
        let best = self.ballots.values().max_by_key(|ballot| ballot.votes);
        match best {
            Some(best) if best.votes > all / 2 => Ok(Merged {
                content_type: best.content_type.clone(),
                body: best.body.clone(),
            }),
            _ => Err(MergeFailure::NoResult(format!(
                "no majority: {} different answers from {all} shards, the most frequent from {}",
                self.ballots.len(),
                best.map_or(0, |best| best.votes)
            ))),
        }
    }
}
