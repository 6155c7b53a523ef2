//! Workers: leases, heartbeats, extensions, settlements, and crashes. The holder's side of the lease
//! rule, as `quorate_core::lease::Holder` has it.

use super::*;

/// One lease in a worker's hands.
#[derive(Debug)]
struct Held {
    job: JobOf,
    holder: Holder,
    believed_from: Option<True>,
    done_at: Mono,
    completing: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
struct JobOf {
    id: quorate_work_queue::machine::JobId,
    poison: bool,
}

/// What a call of a worker that is not a request for work or a heartbeat was.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Completion,
    Failure(quorate_work_queue::machine::JobId),
    Extension { sent: Mono, lease_ms: u64 },
}

/// Takes a few leases at a time, keeps them by heartbeats, completes or fails them.
#[derive(Debug)]
pub(crate) struct Worker {
    actor: u64,
    life: u64,
    next: u64,
    /// Sends no heartbeats and extends each lease when it is about to end.
    lazy: bool,
    session: Option<SessionId>,
    asked: Option<Asked>,
    heartbeats: u64,
    heartbeat_sent: BTreeMap<u64, Mono>,
    held: BTreeMap<LeaseId, Held>,
    settling: BTreeMap<u64, (LeaseId, Sent)>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    number: u64,
    sent: Mono,
    heartbeats: u64,
}

/// Timers of a worker; numbers below are calls.
const WORK_TIMER: u64 = 0;

impl Worker {
    /// A worker with this number among the actors.
    pub(crate) fn new(actor: u64) -> Self {
        Self {
            actor,
            life: 0,
            next: 1,
            lazy: actor % 4 == 1,
            session: None,
            asked: None,
            heartbeats: 0,
            heartbeat_sent: BTreeMap::new(),
            held: BTreeMap::new(),
            settling: BTreeMap::new(),
        }
    }

    /// Dies: its beliefs end now and it remembers nothing.
    pub(crate) fn crash(&mut self, at: True, clock: &Clock, ledger: &mut Ledger) {
        for (lease, held) in std::mem::take(&mut self.held) {
            Self::end_belief(lease, &held, at, clock, ledger);
        }
        let (actor, life, next) = (self.actor, self.life + 1, self.next + 1_000_000);
        *self = Self {
            life,
            next,
            ..Self::new(actor)
        };
    }

    /// Ends every belief at the end of the run.
    pub(crate) fn finish(&mut self, at: True, clock: &Clock, ledger: &mut Ledger) {
        self.crash(at, clock, ledger);
    }

    fn end_belief(lease: LeaseId, held: &Held, at: True, clock: &Clock, ledger: &mut Ledger) {
        if let (Some(from), Some(until)) = (held.believed_from, held.holder.trusted_until()) {
            ledger.believed(held.job.id, lease, from, clock.true_at(until).min(at));
        }
    }

    pub(super) fn signal(&mut self, signal: Signal, effects: &mut Effects<'_>) {
        match signal {
            Signal::Start => effects.timers.push((1, WORK_TIMER)),
            Signal::Timer(WORK_TIMER) => self.turn(effects),
            Signal::Timer(_) => {}
            Signal::Answer(number, CallResult::Executed(result)) => {
                self.executed(number, result, effects);
            }
            Signal::Answer(number, CallResult::Renewed(result)) => {
                self.renewed(number, result, effects);
            }
            Signal::Answer(_, CallResult::Answered(_)) => {}
        }
    }

    /// Every few milliseconds of its own clock: give up what it may not believe any more, settle what
    /// is done, heartbeat, ask for more.
    fn turn(&mut self, effects: &mut Effects<'_>) {
        effects.timers.push((effects.rng.range(20, 60), WORK_TIMER));
        let now = effects.mono;
        let over: Vec<LeaseId> = self
            .held
            .iter()
            .filter(|(_, held)| !held.holder.is_valid(now) && held.completing.is_none())
            .map(|(id, _)| *id)
            .collect();
        for lease in over {
            self.drop_lease(lease, effects);
        }
        let done: Vec<LeaseId> = self
            .held
            .iter()
            .filter(|(_, held)| held.completing.is_none() && now >= held.done_at)
            .map(|(id, _)| *id)
            .collect();
        for lease in done {
            self.finish_job(lease, effects);
        }
        self.repeat_settlements(effects);
        if now.0 / 1_000_000 % 5 < 2 || self.session.is_none() {
            self.ask(effects);
        }
        self.extend(effects);
        self.heartbeat(effects);
    }

    /// Now and then a lease gets a new length, longer or shorter.
    fn extend(&mut self, effects: &mut Effects<'_>) {
        let soon = effects.mono + Duration::from_millis(LEASE_MS / 4);
        let ending = self
            .held
            .iter()
            .find(|(_, held)| self.lazy && !held.holder.is_valid(soon));
        let any = self.held.keys().next().filter(|_| effects.rng.chance(60));
        let Some(lease) = ending.map(|(lease, _)| lease).or(any).copied() else {
            return;
        };
        let (number, lease_ms) = (self.number(), effects.rng.range(500, 1_500));
        self.settling.insert(
            number,
            (
                lease,
                Sent::Extension {
                    sent: effects.mono,
                    lease_ms,
                },
            ),
        );
        let command = Command::Extend {
            lease,
            session: self.session,
            lease_ms,
        };
        effects.calls.push((
            number,
            Call::Execute {
                command,
                key: None,
                wait_ms: 0,
            },
        ));
    }

    fn drop_lease(&mut self, lease: LeaseId, effects: &mut Effects<'_>) {
        if let Some(held) = self.held.remove(&lease) {
            Self::end_belief(lease, &held, effects.at, &effects.clock, effects.ledger);
        }
        self.settling
            .retain(|_, (other, sent)| *other != lease || matches!(sent, Sent::Failure(_)));
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn finish_job(&mut self, lease: LeaseId, effects: &mut Effects<'_>) {
        let Some(held) = self.held.get_mut(&lease) else {
            return;
        };
        let job = held.job;
        if job.poison || effects.rng.chance(100) {
            // A failure ends the belief before it is sent.
            let number = self.number();
            self.drop_lease(lease, effects);
            self.settling.insert(number, (lease, Sent::Failure(job.id)));
            let settlement = Settlement::Fail {
                error: Arc::from("simulated"),
                retry: true,
                delay_ms: Some(effects.rng.below(200)),
                exit_code: Some(1),
                signal: None,
                log_tail: Arc::from(""),
            };
            effects.calls.push((number, self.settle(lease, settlement)));
            return;
        }
        let result = format!("done-{}-{}-{lease}", self.actor, self.life).into_bytes();
        effects.ledger.completion_sent(held.job.id, lease, &result);
        held.completing = Some(result);
    }

    fn settle(&self, lease: LeaseId, settlement: Settlement) -> Call {
        let settle = vec![Settle {
            lease,
            session: self.session,
            settlement,
        }];
        Call::Execute {
            command: Command::Settle { settle, then: None },
            key: None,
            wait_ms: 0,
        }
    }

    /// Settlements are repeated until they are answered: the same settlement again is harmless.
    fn repeat_settlements(&mut self, effects: &mut Effects<'_>) {
        let waiting: Vec<(LeaseId, Vec<u8>)> = self
            .held
            .iter()
            .filter_map(|(lease, held)| held.completing.clone().map(|result| (*lease, result)))
            .filter(|(lease, _)| {
                !self.settling.values().any(|(other, _)| other == lease) || effects.rng.chance(60)
            })
            .collect();
        for (lease, result) in waiting {
            let number = self.number();
            self.settling.insert(number, (lease, Sent::Completion));
            let settlement = Settlement::Complete {
                result: result.into(),
                result_is_json: false,
                outputs: Vec::new(),
            };
            effects.calls.push((number, self.settle(lease, settlement)));
        }
    }

    fn ask(&mut self, effects: &mut Effects<'_>) {
        if self.held.len() >= 3 {
            return;
        }
        if let Some(asked) = self.asked
            && effects.mono.since(asked.sent) < Duration::from_millis(CALL_MS)
        {
            return;
        }
        let number = self.number();
        self.asked = Some(Asked {
            number,
            sent: effects.mono,
            heartbeats: self.heartbeats,
        });
        let request = LeaseRequest {
            queue: if effects.rng.chance(500) {
                queue()
            } else {
                batch_queue()
            },
            worker: format!("worker-{}", self.actor).into(),
            session: self.session,
            max: 2,
            lease_ms: Some(LEASE_MS),
            heartbeat: self.heartbeats,
        };
        effects.calls.push((
            number,
            Call::Execute {
                command: Command::Lease(request),
                key: None,
                // Without a wait the request is logged even when there is nothing.
                wait_ms: if effects.rng.chance(300) { 0 } else { 100 },
            },
        ));
    }

    fn heartbeat(&mut self, effects: &mut Effects<'_>) {
        let Some(session) = self.session.filter(|_| !self.lazy) else {
            return;
        };
        let last = self
            .heartbeat_sent
            .values()
            .next_back()
            .copied()
            .unwrap_or_default();
        if effects.mono.since(last) < Duration::from_millis(LEASE_MS / 4) {
            return;
        }
        self.heartbeats += 1;
        let number = self.number();
        // The clock is read before the heartbeat is sent.
        self.heartbeat_sent.insert(number, effects.mono);
        while self.heartbeat_sent.len() > 16 {
            self.heartbeat_sent.pop_first();
        }
        let renewal = Renewal {
            session,
            number: self.heartbeats,
            leases: self.held.keys().copied().collect(),
            progress: Vec::new(),
            complete: true,
        };
        effects.calls.push((number, Call::Renew(renewal)));
    }

    fn renewed(&mut self, number: u64, result: Result<Renewed, Error>, effects: &mut Effects<'_>) {
        let Some(sent) = self.heartbeat_sent.get(&number).copied() else {
            return;
        };
        match result {
            Ok(renewed) => {
                for lease in renewed.live {
                    if let Some(held) = self.held.get_mut(&lease) {
                        let believed = held.holder.is_valid(effects.mono);
                        if !believed && held.completing.is_none() {
                            // Its trust was over before this answer came: it has stopped, or must.
                            continue;
                        }
                        held.holder.renewed(sent);
                    }
                }
                for lease in renewed.ended {
                    if self
                        .held
                        .get(&lease)
                        .is_some_and(|held| held.completing.is_none())
                    {
                        self.drop_lease(lease, effects);
                    }
                }
            }
            Err(error) if error.code == Code::SessionExpired => self.session = None,
            Err(_) => {}
        }
    }

    fn executed(
        &mut self,
        number: u64,
        result: Result<(Reply, bool), Error>,
        effects: &mut Effects<'_>,
    ) {
        match self.settling.remove(&number) {
            Some((lease, Sent::Completion)) => return self.settled(lease, result, effects),
            Some((_, Sent::Failure(job))) => {
                if let Ok((Reply::Settled { outcomes, .. }, _)) = result
                    && outcomes.first() == Some(&Ok(()))
                {
                    effects.ledger.failure_acked(job, POISON_ATTEMPTS);
                }
                return;
            }
            Some((lease, Sent::Extension { sent, lease_ms })) => {
                return self.extended(lease, sent, lease_ms, &result, effects.mono);
            }
            None => {}
        }
        let Some(asked) = self.asked.filter(|asked| asked.number == number) else {
            return;
        };
        self.asked = None;
        match result {
            Ok((Reply::Leased { session, leases }, _)) => {
                if session != SessionId::NONE {
                    self.session = Some(session);
                }
                if self.heartbeats >= asked.heartbeats + 2 {
                    return;
                }
                for lease in leases {
                    self.take(&lease, asked.sent, effects);
                }
            }
            Err(error) if error.code == Code::SessionExpired => self.session = None,
            _ => {}
        }
    }

    /// The new length counts from before the request was sent.
    fn extended(
        &mut self,
        lease: LeaseId,
        sent: Mono,
        lease_ms: u64,
        result: &Result<(Reply, bool), Error>,
        now: Mono,
    ) {
        let Some(held) = self.held.get_mut(&lease) else {
            return;
        };
        if let Ok((
            Reply::Kept {
                cancel_requested: false,
            },
            _,
        )) = result
            && held.holder.is_valid(now)
        {
            held.holder = Holder::granted(Terms::new(lease_ms), sent);
        }
    }

    fn take(&mut self, lease: &Lease, sent: Mono, effects: &mut Effects<'_>) {
        effects
            .ledger
            .granted(effects.at, lease.job, lease.id, lease.joins);
        let holder = Holder::granted(Terms::new(lease.lease_ms), sent);
        if !holder.is_valid(effects.mono) {
            return;
        }
        let work = if effects.rng.chance(100) {
            1500
        } else {
            effects.rng.range(1, 400)
        };
        let held = Held {
            job: JobOf {
                id: lease.job,
                poison: lease.payload == POISON,
            },
            holder,
            believed_from: Some(effects.at),
            done_at: effects.mono + Duration::from_millis(work),
            completing: None,
        };
        self.held.insert(lease.id, held);
    }

    fn settled(
        &mut self,
        lease: LeaseId,
        result: Result<(Reply, bool), Error>,
        effects: &mut Effects<'_>,
    ) {
        let outcome = match result {
            Ok((Reply::Settled { outcomes, .. }, _)) => outcomes.into_iter().next(),
            Ok(_) => None,
            // Unknown or not done: it is sent again.
            Err(_) => return,
        };
        if let Some(held) = self.held.get(&lease)
            && outcome == Some(Ok(()))
        {
            effects
                .ledger
                .completion_acked(effects.at, held.job.id, lease);
            if effects.rng.chance(50) {
                // A confused worker gives back what it has completed.
                let number = self.number();
                effects
                    .calls
                    .push((number, self.settle(lease, Settlement::Release)));
            }
        }
        self.drop_lease(lease, effects);
    }
}
