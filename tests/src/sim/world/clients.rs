//! What happens between the actors and the nodes: calls, answers, signals.

use super::*;

impl<P: Play> World<P> {
    pub(super) fn settle_in(&mut self, actor: P::Actor) {
        let clock = self.clock();
        self.inhabitants.push(Inhabitant {
            actor,
            clock,
            life: 0,
            paused_until: 0,
            held_until: 0,
            home: NodeId(0),
        });
        let actor = self.inhabitants.len() - 1;
        self.at(
            300 * MS,
            Event::Signal {
                actor,
                life: 0,
                signal: Signal::Start,
            },
        );
    }

    pub(super) fn call(
        &mut self,
        node: NodeId,
        actor: usize,
        life: u64,
        number: u64,
        call: Call<P::Machine>,
    ) {
        self.request_last += 1;
        let id = RequestId(self.request_last);
        let Some(sim) = self.nodes.get(&node) else {
            return;
        };
        if sim.life.is_none() {
            return;
        }
        self.requests.insert((node, id), (actor, life, number));
        let mono = sim.clock.mono(self.now);
        let renews = matches!(call, Call::Renew(_));
        let input = match call {
            Call::Execute {
                command,
                key,
                wait_ms,
            } => Input::Propose(Proposal {
                id,
                op: Op {
                    origin: Origin::Client {
                        principal: Principal::anonymous(),
                        key,
                    },
                    command,
                },
                wait_until: (wait_ms > 0).then(|| mono + Duration::from_millis(wait_ms)),
            }),
            Call::Query(query) => Input::Query { id, query },
            Call::Renew(renewal) => Input::Renew { id, renewal },
        };
        self.input(node, input);
        if renews {
            self.stand_still(node);
        }
    }

    pub(super) fn answer(
        &mut self,
        node: NodeId,
        request: RequestId,
        result: CallResult<P::Machine>,
    ) {
        let Some((actor, life, number)) = self.requests.remove(&(node, request)) else {
            self.fatal
                .push(format!("node {node} answered request {request:?} twice"));
            return;
        };
        if self.rng.chance(self.faults.reply_lost_permille) {
            self.count("answers lost");
            return;
        }
        let delay = self.rng.range(50_000, self.faults.delay_ms_max.max(1) * MS);
        self.at(
            self.now + delay,
            Event::Signal {
                actor,
                life,
                signal: Signal::Answer(number, result),
            },
        );
    }

    pub(super) fn signal(&mut self, index: usize, life: u64, signal: Signal<P::Machine>) {
        let Some(inhabitant) = self.inhabitants.get_mut(index) else {
            return;
        };
        if inhabitant.life != life {
            return;
        }
        if inhabitant.paused_until > self.now {
            let at = inhabitant.paused_until;
            return self.at(
                at,
                Event::Signal {
                    actor: index,
                    life,
                    signal,
                },
            );
        }
        let mut effects = Effects::<P> {
            at: self.now,
            mono: inhabitant.clock.mono(self.now),
            clock: inhabitant.clock,
            rng: &mut self.rng,
            ledger: &mut self.ledger,
            winding_down: self.winding_down,
            calls: Vec::new(),
            timers: Vec::new(),
        };
        P::signal(&mut inhabitant.actor, signal, &mut effects);
        let (calls, timers) = (effects.calls, effects.timers);
        for (delay_ms, number) in timers {
            self.at(
                self.now + delay_ms * MS,
                Event::Signal {
                    actor: index,
                    life,
                    signal: Signal::Timer(number),
                },
            );
        }
        for (number, call) in calls {
            let node = self.turn_to(index);
            let delay = self.rng.range(50_000, self.faults.delay_ms_max.max(1) * MS);
            let at = self.let_go(index).unwrap_or(self.now + delay);
            self.at(
                at,
                Event::Call {
                    node,
                    actor: index,
                    life,
                    number,
                    call,
                },
            );
        }
    }

    /// Where this actor's call goes.
    fn turn_to(&mut self, index: usize) -> NodeId {
        let home = self.inhabitants.get(index).map(|one| one.home);
        let leads = |home: &NodeId| {
            let status = self.statuses.get(home);
            status.is_some_and(|status| status.role == Role::Leader)
        };
        // Only half of them, so that the others learn what the new leader did.
        let clings = P::CLINGS && index.is_multiple_of(2);
        if let Some(home) = home.filter(|home| clings && leads(home)) {
            return home;
        }
        let node = self.pick_node();
        if let Some(inhabitant) = self.inhabitants.get_mut(index) {
            inhabitant.home = node;
        }
        node
    }

    /// Where a client's call goes: mostly to a node that takes itself for the leader.
    pub(super) fn pick_node(&mut self) -> NodeId {
        let leaders: Vec<NodeId> = self
            .statuses
            .iter()
            .filter(|(id, status)| {
                status.role == Role::Leader
                    && self.nodes.get(id).is_some_and(|node| node.life.is_some())
            })
            .map(|(id, _)| *id)
            .collect();
        let any = NodeId(self.rng.range(1, 3));
        if leaders.is_empty() || self.rng.chance(50) {
            return any;
        }
        let index = usize::try_from(self.rng.below(leaders.len() as u64)).unwrap_or(0);
        leaders.get(index).copied().unwrap_or(any)
    }
}
