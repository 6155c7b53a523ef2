//! `ExpireLeases` and `RevokeLeases`: what the leader proposes when a count is over. Void where the
//! state has moved on since: the lease ended, or was extended.

use super::lease::Ending;
use super::planted::{self, Bug};
use super::store::{Ctx, QueueMachine};
use super::types::{Event, ExpireCause, LeaseId, Reply, RevokeCause};

impl QueueMachine {
    pub(super) fn expire_leases(
        &mut self,
        ctx: &mut Ctx<'_>,
        leases: &[(LeaseId, u32)],
        cause: ExpireCause,
    ) -> Reply {
        let mut ended = 0;
        for (lease, extensions) in leases {
            let Some(grant) = self.live_job(*lease).and_then(|job| job.grant()).copied() else {
                continue;
            };
            if grant.extensions != *extensions && !planted::on(Bug::ExpiryIgnoresExtension) {
                continue;
            }
            let ending = match (grant.revoking, cause) {
                (Some(RevokeCause::Stalled), _) => Ending::Stalled,
                (Some(RevokeCause::Cancelled), _) => Ending::Cancelled,
                (None, ExpireCause::Silent) => Ending::Lost,
                (None, ExpireCause::Unlisted) => Ending::Unclaimed,
                (None, ExpireCause::Revoked) => continue,
            };
            let id = self.leases[lease];
            self.end_lease(ctx, id, ending);
            ended += 1;
        }
        Reply::Count(ended)
    }

    pub(super) fn revoke_leases(
        &mut self,
        ctx: &mut Ctx<'_>,
        leases: &[LeaseId],
        cause: RevokeCause,
    ) -> Reply {
        let mut revoked = 0;
        for lease in leases {
            if self
                .live_job(*lease)
                .and_then(|job| job.grant())
                .is_none_or(|grant| grant.revoking.is_some())
            {
                continue;
            }
            let id = self.leases[lease];
            self.change(ctx, id, |job| {
                if let Some(grant) = job.run.as_mut().and_then(|run| run.grant.as_mut()) {
                    grant.revoking = Some(cause);
                }
            });
            ctx.events.push(Event::Revoking {
                lease: *lease,
                cause,
            });
            revoked += 1;
        }
        Reply::Count(revoked)
    }
}
