//! Builders of batches.

use super::*;

/// Builds batches: some children, a seal, and a join that must fire once.
#[derive(Debug)]
pub(crate) struct Batcher {
    actor: u64,
    next: u64,
    stage: Stage,
    insisting: Option<Insisting>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Configuring,
    Idle,
    Creating {
        children: u32,
    },
    Filling {
        batch: BatchId,
        children: u32,
        filled: u32,
    },
    Sealing {
        batch: BatchId,
        children: u32,
    },
}

impl Batcher {
    /// A builder with this number among the actors.
    pub(crate) fn new(actor: u64) -> Self {
        Self {
            actor,
            next: 1,
            stage: Stage::Configuring,
            insisting: None,
        }
    }

    pub(super) fn signal(&mut self, signal: Signal, effects: &mut Effects<'_>) {
        match signal {
            Signal::Start => effects.timers.push((1, 0)),
            Signal::Timer(0) => self.advance(effects),
            Signal::Timer(number) => {
                if let Some(insisting) = &self.insisting
                    && insisting.number == number
                {
                    insisting.send(effects);
                }
            }
            Signal::Answer(number, result) => self.answered(number, &result, effects),
        }
    }

    fn insist(&mut self, command: Command, effects: &mut Effects<'_>) {
        let number = self.next;
        self.next += 1;
        let call = Call::Execute {
            command,
            key: Some(key(self.actor, number)),
            wait_ms: 0,
        };
        self.insisting = Some(Insisting::start(call, number, effects));
    }

    fn advance(&mut self, effects: &mut Effects<'_>) {
        if self.insisting.is_some() {
            return;
        }
        let join_job = NewJob {
            payload: bytes::Bytes::from_static(b"join"),
            ..NewJob::default()
        };
        match self.stage {
            Stage::Configuring => {
                let settings = Settings {
                    retention_ms: BATCH_RETENTION_MS,
                    ..Settings::default()
                };
                self.insist(
                    Command::Configure {
                        queue: batch_queue(),
                        settings,
                    },
                    effects,
                );
            }
            Stage::Idle if effects.winding_down => {}
            Stage::Idle => {
                let children = u32::try_from(effects.rng.range(1, 4)).unwrap_or(1);
                self.stage = Stage::Creating { children };
                let command = Command::CreateBatch {
                    queue: batch_queue(),
                    join: Some((batch_queue(), join_job)),
                    on_dead: OnDead::Join,
                    key: None,
                };
                self.insist(command, effects);
            }
            Stage::Creating { .. } => {}
            Stage::Filling {
                batch,
                children,
                filled,
            } if filled < children => {
                let job = NewJob {
                    payload: bytes::Bytes::from_static(b"child"),
                    batch: Some((batch, filled)),
                    max_attempts: Some(1000),
                    ..NewJob::default()
                };
                self.insist(
                    Command::Enqueue {
                        queue: batch_queue(),
                        jobs: vec![job],
                    },
                    effects,
                );
            }
            Stage::Filling {
                batch,
                children,
                filled,
            } if filled == children && effects.rng.chance(300) => {
                // One too many: must be refused, because a place is empty.
                self.stage = Stage::Filling {
                    batch,
                    children,
                    filled: filled + 1,
                };
                self.insist(
                    Command::SealBatch {
                        batch,
                        expected: children + 1,
                    },
                    effects,
                );
            }
            Stage::Filling {
                batch, children, ..
            } => {
                self.stage = Stage::Sealing { batch, children };
                self.insist(
                    Command::SealBatch {
                        batch,
                        expected: children,
                    },
                    effects,
                );
            }
            Stage::Sealing { .. } => {}
        }
    }

    fn answered(&mut self, number: u64, result: &CallResult, effects: &mut Effects<'_>) {
        let Some(insisting) = &self.insisting else {
            return;
        };
        if insisting.number != number || !insisting.settled(result, effects) {
            return;
        }
        self.insisting = None;
        match (self.stage, result) {
            (
                Stage::Creating { children },
                CallResult::Executed(Ok((Reply::Batch(batch, _), _))),
            ) => {
                self.stage = Stage::Filling {
                    batch: *batch,
                    children,
                    filled: 0,
                };
            }
            (Stage::Configuring, _) => self.stage = Stage::Idle,
            (
                Stage::Filling {
                    batch,
                    children,
                    filled,
                },
                CallResult::Executed(sealed),
            ) if filled > children => {
                if sealed.is_ok() {
                    effects.ledger.blame(
                        "P8",
                        format!("{batch} was sealed with {} of {filled} jobs", children),
                    );
                }
                self.stage = Stage::Filling {
                    batch,
                    children,
                    filled,
                };
            }
            (
                Stage::Filling {
                    batch,
                    children,
                    filled,
                },
                CallResult::Executed(Ok((Reply::Enqueued(ids), _))),
            ) => {
                for (id, _) in ids {
                    effects.ledger.child_acked(batch, *id);
                }
                self.stage = Stage::Filling {
                    batch,
                    children,
                    filled: filled + 1,
                };
            }
            (Stage::Sealing { batch, children }, CallResult::Executed(Ok(_))) => {
                effects.ledger.seal_acked(batch, children);
                self.stage = Stage::Idle;
            }
            _ => self.stage = Stage::Idle,
        }
        effects.timers.push((effects.rng.range(5, 80), 0));
    }
}
