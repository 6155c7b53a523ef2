//! The smallest machine: a sum.

use quorate_core::codec::{self, CodecError};
use quorate_core::error::Error;
use quorate_core::machine::{Context, Duties, Machine, WaitKey};
use quorate_core::types::{LogTime, Mono};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Sum(u64);

#[derive(Debug)]
pub(crate) struct NoDuties;

impl Machine for Sum {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;
    type Renewal = ();
    type Renewed = ();
    type Event = ();
    type Duties = NoDuties;
    const LEVEL: u16 = 1;

    fn new() -> Self {
        Self(0)
    }
    fn advance(&mut self, _: &mut Context<'_, ()>) {}
    fn apply(&mut self, _: &mut Context<'_, ()>, add: u64) -> Result<u64, Error> {
        self.0 += add;
        Ok(self.0)
    }
    fn next_deadline(&self) -> Option<LogTime> {
        None
    }
    fn query(&self, _: &NoDuties, _: LogTime, (): ()) -> Result<u64, Error> {
        Ok(self.0)
    }
    fn parks(&self, _: &u64) -> Option<WaitKey> {
        None
    }
    fn wakes((): &()) -> Option<WaitKey> {
        None
    }
    fn parked_reply(_: &u64) -> u64 {
        0
    }
    fn snapshot_begin(&mut self) {}
    fn snapshot_slice(&mut self, slice: usize) -> Option<Vec<u8>> {
        (slice == 0).then(|| codec::encode(&self.0))
    }
    fn restore_slice(&mut self, slice: &[u8]) -> Result<(), CodecError> {
        self.0 = codec::decode(slice)?;
        Ok(())
    }
    fn restore_end(&mut self) -> Result<(), CodecError> {
        Ok(())
    }
    fn digest(&self) -> u64 {
        self.0
    }
}

impl Duties<Sum> for NoDuties {
    fn new(_: &Sum, _: Mono) -> Self {
        Self
    }
    fn arrived(&mut self, _: &Sum, (): &(), _: Mono) {}
    fn confirmed(&mut self, _: &Sum, (): (), _: Mono) -> Result<(), Error> {
        Ok(())
    }
    fn abandoned(&mut self, _: &Sum, (): &()) {}
    fn applied(&mut self, _: &Sum, (): &(), _: Mono) {}
    fn stalled(&mut self, _: Duration) {}
    fn due(&mut self, _: &Sum, _: Mono, _: &mut Vec<u64>) {}
    fn next_due(&self) -> Option<Mono> {
        None
    }
}
