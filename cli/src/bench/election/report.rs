//! What was measured, and how it is shown.

use super::load::Carried;
use super::reassign::Reassigned;
use super::watchers::Watched;
use crate::errors::{Exit, Failure, Outcome};
use crate::measure::Summary;
use crate::output::Render;
use crate::table::Table;
use serde::Serialize;

/// What was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) nodes: u32,
    /// From the order to the successor's first covered renewal.
    pub(super) hand_over: Summary,
    /// From SIGKILL of an application to the election of the next leader, seen by its sidecar.
    pub(super) application_exited: Summary,
    /// From SIGKILL of a leading process, TTL 2 s, to the next election.
    pub(super) process_killed: Summary,
    /// From SIGKILL of the coordinator's leader to the next acknowledged write.
    pub(super) coordinator_killed: Summary,
    /// Leaderships of applications that were lost by it.
    pub(super) leaderships_lost: u64,
    pub(super) sessions: u32,
    pub(super) renewals_per_second: u64,
    pub(super) reassigned: Option<Reassigned>,
    pub(super) watched: Option<Watched>,
    pub(super) carried: Option<Carried>,
}

impl Report {
    /// Killing a coordinator must cost no application its leadership.
    pub(crate) fn verdict(&self) -> Outcome {
        if self.leaderships_lost == 0 {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            format!(
                "{} applications lost their leadership while only coordinators were killed",
                self.leaderships_lost
            ),
        ))
    }
}

impl Render for Report {
    fn table(&self) -> Table {
        let mut table = Table::new(&["MEASURED", ">COUNT", ">P50 MS", ">P99 MS", ">MAX MS"]);
        for (what, summary) in [
            ("graceful hand-over", self.hand_over),
            (
                "application exits beside its sidecar",
                self.application_exited,
            ),
            ("leading process killed, TTL 2 s", self.process_killed),
            ("coordinator's leader killed", self.coordinator_killed),
            (
                "a change seen by the last watcher",
                self.watched
                    .map(|watched| watched.to_the_last)
                    .unwrap_or_default(),
            ),
        ]
        .into_iter()
        .filter(|(_, summary)| summary.count > 0)
        {
            table.row([
                &what,
                &summary.count,
                &format!("{:.1}", summary.p50_ms),
                &format!("{:.1}", summary.p99_ms),
                &format!("{:.1}", summary.max_ms),
            ]);
        }
        let mut rest = Table::fields();
        rest.field(
            "leaderships lost by kills of coordinators",
            &self.leaderships_lost,
        )
        .field(
            "renewals",
            &format!(
                "{}/s over {} sessions",
                self.renewals_per_second, self.sessions
            ),
        );
        if let Some(reassigned) = self.reassigned {
            rest.field(
                "reassigned",
                &format!(
                    "{} elections of a session that died: {:.0} ms after its expiry was decided; all told to the next \
                     leader after {:.0} ms, {:.0} ms past the TTL of {} ms after the last renewal",
                    reassigned.elections,
                    reassigned.shown_ms,
                    reassigned.told_ms,
                    reassigned.past_ttl_ms,
                    reassigned.ttl_ms
                ),
            );
        }
        if let Some(watched) = self.watched {
            let Watched {
                connections,
                watchers,
                changes,
                ..
            } = watched;
            rest.field(
                "watched",
                &format!("{changes} changes of one election, all seen in order by {watchers} watchers on {connections} connections"),
            );
        }
        if let Some(carried) = self.carried {
            rest.field(
                "carried",
                &format!(
                    "{} elections of {} sessions, made at {}/s; all renewed in {:.0} ms; a node held {} MB",
                    carried.elections,
                    carried.sessions,
                    carried.commands_per_second,
                    carried.renewed_ms,
                    carried.rss_bytes >> 20
                ),
            );
        }
        table.then(&rest);
        table
    }
}
