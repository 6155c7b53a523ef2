//! `Configure`: settings of an election.

use super::check;
use super::store::{Ctx, ElectionMachine};
use super::types::{Reply, Settings, What};
use quorate_core::error::Error;
use quorate_core::types::Name;

impl ElectionMachine {
    pub(super) fn configure(
        &mut self,
        ctx: &mut Ctx<'_>,
        election: &Name,
        settings: Option<Settings>,
    ) -> Result<Reply, Error> {
        let election = match &settings {
            Some(settings) => {
                check::settings(settings)?;
                self.election_or_new(election)?
            }
            None => self.known(election)?.0,
        };
        let row = self.row_mut(&election);
        if row.settings != settings || row.changed == 0 {
            row.settings.clone_from(&settings);
            // A lock that is running gets no longer by what is set now, but may get shorter.
            let delay_ms = settings
                .as_ref()
                .map_or(0, |settings| settings.lock_delay_ms);
            row.locked_until = row
                .locked_until
                .map(|until| until.min(ctx.time.plus_ms(delay_ms)));
            self.say(ctx, &election, What::Configured { settings });
        }
        self.settle(ctx, &election);
        let row = self.elections.get(&election);
        Ok(Reply::Done {
            revision: row.map_or(self.header.revision, |row| row.changed),
        })
    }
}
