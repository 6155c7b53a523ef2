//! What the process may have under way, over all requests.
//!
//! A request is admitted or refused as a whole, before its first call: half a fan-out helps nobody,
//! and a queue in front of the leaves would only make everything late (over_quota, 429).

use crate::gather::Reason;
use quorate_core::error::{Code, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// When a refused caller should ask again.
const RETRY_AFTER_MS: u64 = 100;

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionCaps {
    /// Calls to leaves at once. Each admitted request counts with all its shards.
    pub calls: u64,
    /// Bytes of answers that are arriving or staged.
    pub bytes: u64,
}

impl Default for AdmissionCaps {
    /// 16,384 calls and 512 MiB.
    fn default() -> Self {
        Self {
            calls: 16_384,
            bytes: 512 << 20,
        }
    }
}

/// Counts what is under way.
#[derive(Debug)]
pub struct Admission {
    caps: AdmissionCaps,
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Admission {
    /// With these bounds.
    pub fn new(caps: AdmissionCaps) -> Arc<Self> {
        Arc::new(Self {
            caps,
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
    }

    /// Admits a request with so many shards, or refuses it.
    pub fn enter(self: &Arc<Self>, shards: usize) -> Result<Permit, Error> {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX);
        if shards > self.caps.calls {
            return Err(Error::invalid(format!(
                "the request asks {shards} shards and this process makes at most {} calls at once: \
                 ask fewer shards, or build a tree",
                self.caps.calls
            )));
        }
        let full = |what: &str| {
            let told = format!("{what}; nothing was sent, try again or ask another root");
            Err(Error::new(Code::OverQuota, told).retry_after_ms(RETRY_AFTER_MS))
        };
        if self.bytes.load(Ordering::Relaxed) >= self.caps.bytes {
            return full("too many bytes of answers are in memory");
        }
        let before = self.calls.fetch_add(shards, Ordering::Relaxed);
        let permit = Permit {
            admission: Arc::clone(self),
            shards,
        };
        if before.saturating_add(shards) > self.caps.calls {
            // The permit gives back what was added.
            return full("too many calls to leaves are under way");
        }
        Ok(permit)
    }

    /// Calls of admitted requests.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Bytes of answers.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Room for more bytes of an answer.
    pub(super) fn reserve(self: &Arc<Self>, held: &mut Held, more: usize) -> Result<(), Reason> {
        let more = u64::try_from(more).unwrap_or(u64::MAX);
        let before = self.bytes.fetch_add(more, Ordering::Relaxed);
        held.bytes += more;
        held.admission.get_or_insert_with(|| Arc::clone(self));
        if before.saturating_add(more) > self.caps.bytes {
            return Err(Reason::RequestBytes);
        }
        Ok(())
    }
}

/// An admitted request. Dropped when it has ended.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    shards: u64,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission
            .calls
            .fetch_sub(self.shards, Ordering::Relaxed);
    }
}

/// Bytes of one answer, given back when it is dropped.
#[derive(Debug, Default)]
pub struct Held {
    admission: Option<Arc<Admission>>,
    bytes: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is over a bound is refused whole, and everything is given back.
    #[test]
    fn bounds_hold_and_come_back() {
        let admission = Admission::new(AdmissionCaps {
            calls: 10,
            bytes: 100,
        });
        let first = admission.enter(6).unwrap();
        assert_eq!(admission.enter(5).unwrap_err().code, Code::OverQuota);
        assert_eq!(admission.enter(11).unwrap_err().code, Code::InvalidArgument);
        assert_eq!(admission.calls(), 6);
        let mut held = Held::default();
        admission.reserve(&mut held, 100).unwrap();
        assert_eq!(admission.reserve(&mut held, 1), Err(Reason::RequestBytes));
        assert!(admission.enter(1).is_err());
        drop((first, held));
        assert_eq!((admission.calls(), admission.bytes()), (0, 0));
        assert!(admission.enter(10).is_ok());
    }
}
