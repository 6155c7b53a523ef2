//! What happens to the nodes: inputs, turns, outputs, the disk, snapshots on the way.

use super::*;

impl<P: Play> World<P> {
    pub(super) fn is_current(&self, node: NodeId, incarnation: u64) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|node| node.incarnation == incarnation && node.life.is_some())
    }

    /// Hands an input to a node, or puts it off while the node stands still.
    pub(super) fn input(&mut self, node: NodeId, input: Input<P::Machine>) {
        let jitter = self.rng.below(5 * MS);
        let Some(sim) = self.nodes.get_mut(&node) else {
            return;
        };
        if sim.paused_until > self.now {
            // It lies in a socket until the process goes on, and is read in any order then.
            let later = match (sim.clients_first, &input) {
                (false, _) => jitter,
                (true, Input::Message { .. }) => aim::CLIENTS_FIRST,
                (true, _) => 0,
            };
            let (at, incarnation) = (sim.paused_until + later, sim.incarnation);
            return self.at(
                at,
                Event::Late {
                    node,
                    incarnation,
                    input,
                },
            );
        }
        sim.step(self.now, input);
        self.turn(node);
    }

    /// Lets a node act, unless it stands still.
    pub(super) fn turn(&mut self, id: NodeId) {
        let mut out = Vec::new();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.is_none() {
            return;
        }
        if node.paused_until > self.now {
            let (at, incarnation) = (node.paused_until, node.incarnation);
            self.at(
                at,
                Event::Wake {
                    node: id,
                    incarnation,
                },
            );
            return;
        }
        node.turn(self.now, &mut out);
        for output in out {
            self.output(id, output);
        }
        self.begin_disk(id);
        self.schedule_wake(id);
    }

    pub(super) fn schedule_wake(&mut self, id: NodeId) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let Some(wake) = node.next_wake(now) else {
            return;
        };
        let incarnation = node.incarnation;
        if let Some(life) = &mut node.life
            && life.wake_at.is_none_or(|at| wake < at)
        {
            life.wake_at = Some(wake);
            self.at(
                wake,
                Event::Wake {
                    node: id,
                    incarnation,
                },
            );
        }
    }

    pub(super) fn output(&mut self, id: NodeId, output: Output<P::Machine>) {
        Self::note(&mut self.trace, format_args!("{id}>{output:?}"));
        match output {
            Output::Persist { ticket, write } => self.disk_work(id, DiskWork::Write(ticket, write)),
            Output::Send { to, message } => {
                let faults = self.faults;
                for at in self.network.arrivals(id, to, self.now, &faults) {
                    self.at(
                        at,
                        Event::Deliver {
                            to,
                            from: id,
                            message: message.clone(),
                        },
                    );
                }
            }
            Output::SendSnapshot { to, message, meta } => {
                self.send_snapshot(id, to, message, &meta);
            }
            Output::SnapshotBegin(meta) => {
                if let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) {
                    life.snapshot = Some((meta, Vec::new()));
                }
            }
            Output::SnapshotSlice(slice) => {
                if let Some((_, slices)) = self
                    .nodes
                    .get_mut(&id)
                    .and_then(|node| node.life.as_mut())
                    .and_then(|life| life.snapshot.as_mut())
                {
                    slices.push(slice);
                }
            }
            Output::SnapshotEnd => {
                let meta = self
                    .nodes
                    .get(&id)
                    .and_then(|node| node.life.as_ref())
                    .and_then(|life| life.snapshot.as_ref())
                    .map(|(meta, _)| meta.clone());
                if let Some(meta) = meta {
                    self.count("snapshots");
                    self.disk_work(id, DiskWork::SnapshotEnd(meta));
                }
            }
            Output::Reply {
                id: request,
                result,
                replayed,
            } => {
                self.answer(
                    id,
                    request,
                    CallResult::Executed(result.map(|reply| (reply, replayed))),
                );
            }
            Output::Answer {
                id: request,
                result,
            } => self.answer(id, request, CallResult::Answered(result)),
            Output::Renewed {
                id: request,
                result,
            } => self.answer(id, request, CallResult::Renewed(result)),
            Output::StreamOpened { .. } => {}
            Output::Event(event) => P::told(&mut self.ledger, id, &event),
            Output::Status(status) => {
                let led = self
                    .statuses
                    .get(&id)
                    .is_some_and(|old| old.role == Role::Leader);
                if status.role == Role::Leader && !led {
                    self.count("leaders");
                }
                self.statuses.insert(id, status);
            }
            Output::Fatal(reason) => self.fatal.push(format!("node {id}: {reason}")),
        }
    }

    pub(super) fn disk_work(&mut self, id: NodeId, work: DiskWork) {
        if let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) {
            life.disk_queue.push_back(work);
        }
    }

    /// Starts the disk on everything that is queued, if it is idle: appends now, syncs later.
    pub(super) fn begin_disk(&mut self, id: NodeId) {
        let most = self.faults.sync_ms_max.max(1) * MS;
        let slow = self.rng.chance(self.faults.sync_slow_permille);
        let longest = if slow { most } else { MS };
        let delay = self.rng.range(20_000, longest);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        let incarnation = node.incarnation;
        let Some(life) = &mut node.life else { return };
        if life.disk_busy || life.disk_queue.is_empty() {
            return;
        }
        life.disk_busy = true;
        life.begin_writes();
        self.at(
            self.now + delay,
            Event::DiskDone {
                node: id,
                incarnation,
            },
        );
    }

    pub(super) fn disk_done(&mut self, id: NodeId) {
        let Some(life) = self.nodes.get_mut(&id).and_then(|node| node.life.as_mut()) else {
            return;
        };
        let inputs = life.end_writes();
        life.disk_busy = false;
        match inputs {
            Ok(inputs) => {
                for input in inputs {
                    if let Some(node) = self.nodes.get_mut(&id) {
                        node.step(self.now, input);
                    }
                }
                self.turn(id);
            }
            Err(reason) => self.fatal.push(format!("node {id}: {reason}")),
        }
    }

    pub(super) fn send_snapshot(
        &mut self,
        id: NodeId,
        to: NodeId,
        message: RaftMessage,
        meta: &SnapshotMeta,
    ) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let incarnation = node.incarnation;
        let slices = node
            .life
            .as_ref()
            .and_then(|life| life.store.read_snapshot(meta).ok());
        let arrives = self.network.passes(id, to) && !self.rng.chance(self.faults.drop_permille);
        let at = self.now + self.rng.range(1, 50) * MS;
        let ok = match slices {
            Some(slices) if arrives => {
                self.count("snapshots sent");
                self.at(
                    at,
                    Event::Transferred {
                        to,
                        from: id,
                        message,
                        meta: meta.clone(),
                        slices,
                    },
                );
                true
            }
            _ => false,
        };
        self.at(
            at + MS,
            Event::TransferEnded {
                node: id,
                incarnation,
                to,
                ok,
            },
        );
    }

    pub(super) fn transferred(
        &mut self,
        to: NodeId,
        from: NodeId,
        message: RaftMessage,
        meta: &SnapshotMeta,
        slices: Vec<Vec<u8>>,
    ) {
        let Some(life) = self.nodes.get_mut(&to).and_then(|node| node.life.as_mut()) else {
            return;
        };
        match life.store.store_snapshot(meta, &slices) {
            Ok(()) => {
                P::interrupted(&mut self.ledger, to);
                self.input(
                    to,
                    Input::SnapshotReceived {
                        from,
                        message,
                        slices,
                    },
                );
            }
            Err(reason) => self.fatal.push(format!("node {to}: {reason}")),
        }
    }
}
