//! `Checkpoint`: durable state of an attempt, handed to the next one. Accepted until the lease has
//! ended, also while it is being revoked: what was computed is worth keeping.

use super::check;
use super::store::{Ctx, QueueMachine};
use super::types::{LeaseId, Reply, SessionId, limits};
use bytes::Bytes;
use quorate_core::error::Error;

impl QueueMachine {
    pub(super) fn checkpoint(
        &mut self,
        ctx: &mut Ctx<'_>,
        lease: LeaseId,
        session: Option<SessionId>,
        data: Bytes,
    ) -> Result<Reply, Error> {
        check::bytes("checkpoint", data.len(), limits::RESULT_BYTES_MAX)?;
        let id = self.live(lease, session)?;
        let cancel_requested = self.is_cancelled(self.job(id));
        self.change(ctx, id, |job| {
            job.run
                .as_mut()
                .expect("a job that is out has a run")
                .checkpoint = Some(data);
        });
        Ok(Reply::Kept { cancel_requested })
    }
}
