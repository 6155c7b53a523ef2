//! Producers: they insist on each enqueue until it is answered for certain.

use super::*;

/// Enqueues jobs one by one, each under a key, until it is told to wind down.
#[derive(Debug)]
pub(crate) struct Producer {
    actor: u64,
    next: u64,
    job: Option<(u64, Insisting)>,
    /// How often the request is sent again although it was answered, as a confused client would.
    repeats: u32,
}

impl Producer {
    /// A producer with this number among the actors.
    pub(crate) fn new(actor: u64) -> Self {
        Self {
            actor,
            next: 1,
            job: None,
            repeats: 0,
        }
    }

    pub(super) fn signal(&mut self, signal: Signal, effects: &mut Effects<'_>) {
        match signal {
            Signal::Start => effects.timers.push((1, 0)),
            Signal::Timer(0) => self.begin(effects),
            Signal::Timer(number) => {
                if let Some((_, insisting)) = &self.job
                    && insisting.number == number
                {
                    insisting.send(effects);
                }
            }
            Signal::Answer(number, result) => self.answered(number, &result, effects),
        }
    }

    fn begin(&mut self, effects: &mut Effects<'_>) {
        if effects.winding_down || self.job.is_some() {
            return;
        }
        let number = self.next;
        self.next += 1;
        let deduped = effects.rng.chance(300);
        let poison = effects.rng.chance(80);
        let jobs = (0..effects.rng.range(1, 3)).map(|place| NewJob {
            payload: if poison {
                POISON.to_vec()
            } else {
                format!("{}-{number}", self.actor).into_bytes()
            }
            .into(),
            priority: u8::try_from(effects.rng.below(3)).unwrap_or(0),
            dedupe_key: deduped.then(|| format!("{}-{number}-{place}", self.actor).into()),
            max_attempts: poison.then_some(POISON_ATTEMPTS),
            ..NewJob::default()
        });
        let command = Command::Enqueue {
            queue: queue(),
            jobs: jobs.collect(),
        };
        // A job with a dedupe key of its own needs no other to be safe.
        let key = (!deduped).then(|| key(self.actor, number));
        let call = Call::Execute {
            command,
            key,
            wait_ms: 0,
        };
        self.repeats = if effects.rng.chance(200) { 1 } else { 0 };
        self.job = Some((number, Insisting::start(call, number, effects)));
    }

    fn answered(&mut self, number: u64, result: &CallResult, effects: &mut Effects<'_>) {
        let Some((job, insisting)) = &self.job else {
            return;
        };
        if insisting.number != number || !insisting.settled(result, effects) {
            return;
        }
        if let CallResult::Executed(Ok((Reply::Enqueued(ids), _))) = result {
            for (place, (id, _)) in ids.iter().enumerate() {
                effects.ledger.enqueue_acked(
                    (self.actor << 40) | (*job << 8) | place as u64,
                    &queue(),
                    *id,
                );
            }
        }
        if self.repeats > 0 {
            self.repeats -= 1;
            effects
                .timers
                .push((effects.rng.range(5, 300), insisting.number));
            return;
        }
        self.job = None;
        effects.timers.push((effects.rng.range(5, 120), 0));
    }
}
