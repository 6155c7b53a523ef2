//! `ForceRelease`: an operator ends a leadership that its holder may still believe in.

use super::check;
use super::store::{Ctx, ElectionMachine};
use super::transfer::check_token;
use super::types::{EndCause, Reply};
use quorate_core::error::Error;
use quorate_core::types::{FencingToken, Name};
use std::sync::Arc;

impl ElectionMachine {
    pub(super) fn force_release(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        token: Option<FencingToken>,
        reason: Arc<str>,
    ) -> Result<Reply, Error> {
        check::text("reason", &reason)?;
        let (election, row) = self.known(election)?;
        if let Some(leader) = &row.leader {
            check_token(&election, leader.token, token)?;
        }
        let by = ctx.principal.0.clone();
        let ended = self.end_leadership(ctx, &election, EndCause::Forced { by, reason });
        self.settle(ctx, &election);
        Ok(self.ended(&election, ended))
    }
}
