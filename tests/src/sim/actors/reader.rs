//! Readers, which look for answers from the past.

use super::*;

/// Asks after jobs and tells the ledger what it saw, to find answers from the past.
#[derive(Debug)]
pub(crate) struct Reader {
    next: u64,
    asked: BTreeMap<u64, (quorate_work_queue::machine::JobId, True)>,
}

impl Reader {
    /// A reader.
    pub(crate) fn new() -> Self {
        Self {
            next: 0,
            asked: BTreeMap::new(),
        }
    }

    pub(super) fn signal(&mut self, signal: Signal, effects: &mut Effects<'_>) {
        match signal {
            Signal::Start | Signal::Timer(_) => {
                effects.timers.push((effects.rng.range(10, 60), 0));
                if let Some(job) = effects.ledger.some_job(effects.rng) {
                    self.next += 1;
                    self.asked.insert(self.next, (job, effects.at));
                    while self.asked.len() > 64 {
                        self.asked.pop_first();
                    }
                    effects
                        .calls
                        .push((self.next, Call::Query(Query::Job { job })));
                }
            }
            Signal::Answer(number, CallResult::Answered(result)) => {
                let Some((job, sent)) = self.asked.remove(&number) else {
                    return;
                };
                match result {
                    Ok(Answer::Job(view)) => effects.ledger.read(sent, job, Some(view.state)),
                    Err(error) if error.code == Code::NotFound => {
                        effects.ledger.read(sent, job, None);
                    }
                    _ => {}
                }
            }
            Signal::Answer(..) => {}
        }
    }
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}
