//! The holder's side: what a client may believe about its lease.

use super::Terms;
use crate::types::Mono;

/// What one holder trusts. Times are readings of the holder's own clock that counts suspended time.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    terms: Terms,
    trusted_until: Option<Mono>,
    released: bool,
}

impl Holder {
    /// A lease granted in the answer to a request that was sent just after `sent`.
    pub fn granted(terms: Terms, sent: Mono) -> Self {
        Self {
            terms,
            trusted_until: Some(sent + terms.trust()),
            released: false,
        }
    }

    /// A grant that came back as the replay of an earlier answer: it has no validity until renewed.
    pub fn replayed(terms: Terms) -> Self {
        Self {
            terms,
            trusted_until: None,
            released: false,
        }
    }

    /// A renewal sent just after `sent` was acknowledged. Ignored after a release: no late
    /// acknowledgement restores trust.
    pub fn renewed(&mut self, sent: Mono) {
        if !self.released {
            let until = sent + self.terms.trust();
            self.trusted_until = Some(self.trusted_until.map_or(until, |old| old.max(until)));
        }
    }

    /// A release is about to be sent, or an answer said that the lease is ending: trust is over now.
    pub fn release(&mut self) {
        self.released = true;
        self.trusted_until = None;
    }

    /// Whether the lease may be believed at `now`.
    pub fn is_valid(&self, now: Mono) -> bool {
        self.trusted_until.is_some_and(|until| now < until)
    }

    /// Until when the lease may be believed.
    pub fn trusted_until(&self) -> Option<Mono> {
        self.trusted_until
    }
}
