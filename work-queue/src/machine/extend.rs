//! `Extend`: a new, never shorter, length for a lease, counted from now.
//!
//! Never shorter, because the holder may trust the old length until it knows of the new one, and a
//! leader that takes office counts by what the machine holds.

use super::check;
use super::store::{Ctx, QueueMachine};
use super::types::{Event, LeaseId, Reply, SessionId};
use quorate_core::error::{Code, Error};

impl QueueMachine {
    pub(super) fn extend(
        &mut self,
        ctx: &mut Ctx<'_>,
        lease: LeaseId,
        session: Option<SessionId>,
        lease_ms: u64,
    ) -> Result<Reply, Error> {
        check::lease_ms(lease_ms)?;
        let id = self.live(lease, session)?;
        let job = self.job(id);
        let mut grant = *job.grant().expect("the lease is live");
        if self.is_cancelled(job) {
            return Ok(Reply::Kept {
                cancel_requested: true,
            });
        }
        if grant.revoking.is_some() {
            return Err(Error::new(
                Code::LeaseExpired,
                format!(
                    "lease {lease} made no progress and is being revoked; settle it or drop the work"
                ),
            ));
        }
        grant.lease_ms = grant.lease_ms.max(lease_ms);
        grant.extensions = grant.extensions.saturating_add(1);
        let stall_ms = self.queue(job.queue).settings.stall_ms;
        self.change(ctx, id, |job| {
            job.run.as_mut().expect("a job that is out has a run").grant = Some(grant);
        });
        ctx.events.push(Event::Granted {
            lease,
            session: grant.session,
            job: id,
            lease_ms: grant.lease_ms,
            stall_ms,
            extensions: grant.extensions,
        });
        Ok(Reply::Kept {
            cancel_requested: false,
        })
    }
}
