//! A value in this process that takes no write of an old leader.

use super::{Stale, admit};
use quorate_core::types::FencingToken;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value and the highest token that was presented for it. Shared by reference or in an `Arc`.
///
/// ```
/// use quorate_core::types::FencingToken;
/// use quorate_leader_election::guard::Register;
///
/// let register = Register::new(vec!["old plan"]);
/// let (old, new) = (FencingToken(7), FencingToken(8));
/// register.write(old, |plan| plan.push("by the old leader"))?;
/// let plan = register.seal(new, Clone::clone)?; // from here on nothing of `old` gets in
/// assert!(register.write(old, |plan| plan.clear()).is_err());
/// assert_eq!(plan.len(), 2);
/// # Ok::<_, quorate_leader_election::guard::Stale>(())
/// ```
#[derive(Debug)]
pub struct Register<T> {
    inner: Mutex<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T> {
    highest: FencingToken,
    value: T,
}

impl<T> Register<T> {
    /// A register that has seen no token.
    pub const fn new(value: T) -> Self {
        Self {
            inner: Mutex::new(Inner {
                highest: FencingToken(0),
                value,
            }),
        }
    }

    /// Raises the highest token, then reads: what `read` sees is the last word of all older leaders.
    ///
    /// # Errors
    /// A newer token was presented before.
    pub fn seal<R>(&self, token: FencingToken, read: impl FnOnce(&T) -> R) -> Result<R, Stale> {
        let mut inner = self.lock();
        inner.highest = admit(inner.highest, token)?;
        Ok(read(&inner.value))
    }

    /// Changes the value, unless a newer token was presented before. Check and change are one step.
    ///
    /// # Errors
    /// A newer token was presented before; nothing was changed.
    pub fn write<R>(
        &self,
        token: FencingToken,
        write: impl FnOnce(&mut T) -> R,
    ) -> Result<R, Stale> {
        let mut inner = self.lock();
        inner.highest = admit(inner.highest, token)?;
        Ok(write(&mut inner.value))
    }

    /// The highest token that was presented.
    pub fn highest(&self) -> FencingToken {
        self.lock().highest
    }

    /// A writer that panicked leaves the value as it got it; the token, which alone is ours to keep
    /// right, was raised before.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
