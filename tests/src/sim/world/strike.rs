//! Faults, as the mixture of the run says, and their end.

use super::*;

impl<P: Play> World<P> {
    pub(super) fn schedule_faults(&mut self) {
        let faults = self.faults;
        for (every, event) in [
            (faults.crash_every_ms, Event::Crash),
            (faults.partition_every_ms, Event::Partition),
            (faults.pause_every_ms, Event::Pause),
            (faults.worker_crash_every_ms, Event::ActorCrash),
            (faults.pause_every_ms, Event::ActorPause),
            (
                if faults.wall_jump_ms > 0 { 1_000 } else { 0 },
                Event::WallJump,
            ),
            (faults.aim.map_or(0, |_| aim::EVERY_MS), Event::Aim),
        ] {
            self.again(every, event);
        }
    }

    pub(super) fn again(&mut self, every_ms: u64, event: Event<P::Machine>) {
        if every_ms > 0 && !self.winding_down {
            let delay = self.rng.range(every_ms / 4, every_ms * 2) * MS;
            self.at(self.now + delay, event);
        }
    }

    /// A victim: the leader as often as the faults say.
    pub(super) fn victim(&mut self) -> NodeId {
        if self.rng.chance(self.faults.leader_permille)
            && let Some(leader) = self.leader()
        {
            return leader;
        }
        NodeId(self.rng.range(1, 3))
    }

    /// The node that takes itself for the leader, of the latest term if there are two.
    pub(super) fn leader(&self) -> Option<NodeId> {
        let leaders = self.statuses.iter();
        let leaders = leaders.filter(|(_, status)| status.role == Role::Leader);
        let latest = leaders.max_by_key(|(_, status)| status.term);
        latest.map(|(leader, _)| *leader)
    }

    pub(super) fn crash(&mut self) {
        let victim = self.victim();
        let power = self.rng.chance(self.faults.power_permille);
        let everyone = power && self.rng.chance(100);
        let victims: Vec<NodeId> = if everyone {
            self.nodes.keys().copied().collect()
        } else {
            vec![victim]
        };
        for victim in victims {
            self.kill(victim, power);
            let delay = self.rng.range(10, 1_500) * MS;
            self.at(self.now + delay, Event::Restart { node: victim });
        }
        self.again(self.faults.crash_every_ms, Event::Crash);
    }

    pub(super) fn kill(&mut self, id: NodeId, power: bool) {
        let seed = self.rng.draw();
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.take().is_none() {
            return;
        }
        if power {
            node.disk = node.disk.crash(seed);
        }
        self.statuses.remove(&id);
        self.requests.retain(|(node, _), _| *node != id);
        self.count(if power { "power cuts" } else { "crashes" });
    }

    pub(super) fn restart(&mut self, id: NodeId) {
        let (seed, now) = (self.seed, self.now);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        if node.life.is_some() {
            return;
        }
        node.start(seed, now);
        P::interrupted(&mut self.ledger, id);
        if let Some(reason) = &node.ruined {
            self.fatal
                .push(format!("node {id} does not start again: {reason}"));
        }
        self.turn(id);
    }

    pub(super) fn partition(&mut self) {
        let victim = self.victim();
        let one_way = self.rng.chance(self.faults.one_way_permille);
        let outward = self.rng.chance(500);
        self.cut_off(victim, !one_way || outward, !one_way || !outward);
        let delay = self.rng.range(50, 2_000) * MS;
        self.at(self.now + delay, Event::Heal);
        self.again(self.faults.partition_every_ms, Event::Partition);
    }

    pub(super) fn cut_off(&mut self, victim: NodeId, outward: bool, inward: bool) {
        for other in (1..=3).map(NodeId).filter(|other| *other != victim) {
            if outward {
                self.network.cut(victim, other);
            }
            if inward {
                self.network.cut(other, victim);
            }
        }
        self.count("partitions");
    }

    pub(super) fn pause(&mut self) {
        let victim = self.victim();
        let until = self.now + self.rng.range(10, 1_500) * MS;
        if let Some(node) = self.nodes.get_mut(&victim) {
            node.paused_until = until;
            node.clients_first = false;
        }
        self.count("pauses");
        self.again(self.faults.pause_every_ms, Event::Pause);
    }

    /// One of those of whom `is_one` holds.
    pub(super) fn some_actor(&mut self, is_one: impl Fn(&P::Actor) -> bool) -> Option<usize> {
        let actors: Vec<usize> = self
            .inhabitants
            .iter()
            .enumerate()
            .filter(|(_, inhabitant)| is_one(&inhabitant.actor))
            .map(|(index, _)| index)
            .collect();
        let index = usize::try_from(self.rng.below(actors.len() as u64)).unwrap_or(0);
        actors.get(index).copied()
    }

    pub(super) fn actor_crash(&mut self) {
        let now = self.now;
        if let Some(actor) = self.some_actor(P::may_crash)
            && let Some(inhabitant) = self.inhabitants.get_mut(actor)
        {
            inhabitant.life += 1;
            inhabitant.paused_until = 0;
            inhabitant.held_until = 0;
            let (clock, life) = (inhabitant.clock, inhabitant.life);
            P::crash(&mut inhabitant.actor, now, &clock, &mut self.ledger);
            let delay = self.rng.range(1, 500) * MS;
            self.at(
                now + delay,
                Event::Signal {
                    actor,
                    life,
                    signal: Signal::Start,
                },
            );
        }
        self.count("worker crashes");
        self.again(self.faults.worker_crash_every_ms, Event::ActorCrash);
    }

    pub(super) fn actor_pause(&mut self) {
        // Many about as long as a session: then late answers meet an end that is under way.
        let (least, most) = if self.rng.chance(600) {
            (450, 750)
        } else {
            (10, 1_500)
        };
        let until = self.now + self.rng.range(least, most) * MS;
        if let Some(actor) = self.some_actor(P::may_pause)
            && let Some(inhabitant) = self.inhabitants.get_mut(actor)
        {
            inhabitant.paused_until = until;
            self.count("actor pauses");
        }
        self.again(self.faults.pause_every_ms, Event::ActorPause);
    }

    pub(super) fn wall_jump(&mut self) {
        let victim = self.victim();
        let most = self.faults.wall_jump_ms;
        let jump = i64::try_from(self.rng.below(2 * most + 1)).unwrap_or(0)
            - i64::try_from(most).unwrap_or(0);
        if let Some(node) = self.nodes.get_mut(&victim) {
            node.clock.wall_ms += jump;
        }
        self.count("wall jumps");
        self.again(1_000, Event::WallJump);
    }

    /// Ends the faults and brings everything back.
    pub(super) fn calm(&mut self) {
        self.faults = Faults {
            drift_permille: self.faults.drift_permille,
            ..Faults::NONE
        };
        self.winding_down = true;
        self.network.heal();
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in nodes {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.paused_until = 0;
            }
            self.restart(id);
        }
        self.armed = false;
        for inhabitant in &mut self.inhabitants {
            inhabitant.paused_until = 0;
            inhabitant.held_until = 0;
        }
    }
}
