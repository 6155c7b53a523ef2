//! Bounds of everything a caller may ask for, checked before it reaches the log. Both APIs call this,
//! so that the same request gets the same refusal over REST and gRPC.
//!
//! Texts that are only kept for people (labels, reasons) are cut instead of refused: a release must not
//! fail because it has much to say.

use crate::machine::{Campaign, Command, Liveness, Query, Renewal, Settings, limits};
use quorate_core::error::{Code, Error};
use std::fmt::Display;
use std::sync::Arc;

/// Checks a command of a caller, and cuts the texts that are only for people.
///
/// # Errors
/// `invalid_argument` or `too_large`, naming the field; `forbidden` for what only a leader may log.
pub fn command(command: &mut Command) -> Result<(), Error> {
    match command {
        Command::OpenSession { ttl_ms, label } => {
            cut(label);
            self::ttl_ms(*ttl_ms)
        }
        Command::Campaign(campaign) => self::campaign(campaign),
        Command::Transfer { drain_ms, .. } => delay("drain_ms", *drain_ms),
        Command::Revoke { reason, .. } => {
            cut(reason);
            Ok(())
        }
        Command::ForceRelease { reason, .. } => {
            cut(reason);
            if reason.trim().is_empty() {
                return Err(Error::invalid(
                    "reason: missing; say why, for those who read the log later",
                ));
            }
            Ok(())
        }
        Command::Configure {
            settings: Some(settings),
            ..
        } => self::settings(settings),
        Command::CloseSession { .. }
        | Command::Resign { .. }
        | Command::Leave { .. }
        | Command::Drained { .. }
        | Command::Configure { settings: None, .. } => Ok(()),
        Command::Expire { .. } | Command::EndRevoked { .. } => Err(Error::new(
            Code::Forbidden,
            "only the cluster's own leader ends leases by the clock",
        )),
    }
}

fn campaign(campaign: &Campaign) -> Result<(), Error> {
    if let Liveness::Ttl(ttl_ms) = campaign.liveness {
        self::ttl_ms(ttl_ms)?;
    }
    if campaign.priority > limits::PRIORITY_MAX {
        return Err(Error::invalid(format!(
            "priority: {} is too high; use 0 to {}, higher is elected first",
            campaign.priority,
            limits::PRIORITY_MAX
        )));
    }
    let bytes = campaign.metadata.len();
    if bytes > limits::METADATA_BYTES_MAX {
        return Err(Error::new(
            Code::TooLarge,
            format!(
                "metadata: {bytes} bytes; up to {} are kept: put an address there, not a document",
                limits::METADATA_BYTES_MAX
            ),
        ));
    }
    Ok(())
}

/// Length of a session.
///
/// # Errors
/// It is out of its bounds.
pub fn ttl_ms(ttl_ms: u64) -> Result<(), Error> {
    if limits::TTL_MS.contains(&ttl_ms) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "ttl_ms: {ttl_ms} is out of bounds; use {} to {}",
        limits::TTL_MS.start(),
        limits::TTL_MS.end()
    )))
}

fn settings(settings: &Settings) -> Result<(), Error> {
    delay("lock_delay_ms", settings.lock_delay_ms)?;
    delay("stable_ms", settings.stable_ms)?;
    delay("drain_ms", settings.drain_ms)
}

fn delay(field: &str, ms: u64) -> Result<(), Error> {
    at_most(field, ms, limits::DELAY_MS_MAX)
}

/// How long a request waits.
///
/// # Errors
/// Too long.
pub fn wait_ms(wait_ms: u64) -> Result<(), Error> {
    at_most("wait_ms", wait_ms, limits::WAIT_MS_MAX)
}

fn at_most<T: Ord + Display + Copy>(field: &str, value: T, max: T) -> Result<(), Error> {
    if value <= max {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: {value} is too long; use up to {max}"
    )))
}

/// Checks a question of a caller.
///
/// # Errors
/// A page that is too large.
pub fn query(query: &Query) -> Result<(), Error> {
    match query {
        Query::Elections { max, .. } | Query::Session { max, .. } => {
            page("page_size", *max, limits::PAGE_MAX)
        }
        Query::History { max, .. } => page("max", *max, limits::HISTORY_PAGE_MAX),
        Query::Election { .. } | Query::Check { .. } | Query::Position => Ok(()),
    }
}

fn page(field: &str, size: u32, max: u32) -> Result<(), Error> {
    if (1..=max).contains(&size) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{field}: {size} is out of bounds; use 1 to {max}"
    )))
}

/// Checks a renewal.
///
/// # Errors
/// It names none, or too much at once.
pub fn renewal(renewal: &Renewal) -> Result<(), Error> {
    let (sessions, elections) = (renewal.sessions.len(), renewal.elections.len());
    if sessions == 0 {
        return Err(Error::invalid(
            "sessions: empty; name at least one, as it was answered",
        ));
    }
    if sessions > limits::SESSIONS_PER_RENEWAL_MAX {
        return Err(Error::invalid(format!(
            "sessions: {sessions} are too many; renew up to {} at once",
            limits::SESSIONS_PER_RENEWAL_MAX
        )));
    }
    if elections > limits::ELECTIONS_PER_RENEWAL_MAX {
        return Err(Error::invalid(format!(
            "elections: {elections} are too many; ask for up to {} at once",
            limits::ELECTIONS_PER_RENEWAL_MAX
        )));
    }
    Ok(())
}

/// The flag that a release by force demands.
///
/// # Errors
/// It is not set.
pub fn two_leaders(accepted: bool) -> Result<(), Error> {
    if accepted {
        return Ok(());
    }
    Err(Error::invalid(
        "i_accept_two_leaders: set it to true if the old leader may go on believing that it leads while a \
         new one is elected; otherwise transfer leadership, or wait for the lease to end",
    ))
}

/// Cuts a text that is only for people to what is kept, at a whole character.
fn cut(text: &mut Arc<str>) {
    if text.len() > limits::TEXT_BYTES_MAX {
        let mut end = limits::TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        *text = text.get(..end).unwrap_or_default().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_core::types::Name;

    #[test]
    fn what_is_out_of_bounds_is_refused_by_the_name_of_its_field() {
        let name = || Name::new("a").unwrap();
        let campaign = |ttl_ms, priority, bytes: usize| {
            Command::Campaign(Campaign {
                election: name(),
                candidate: name(),
                liveness: Liveness::Ttl(ttl_ms),
                priority,
                metadata: "x".repeat(bytes).into(),
            })
        };
        let refused = |command: Command| {
            let mut command = command;
            super::command(&mut command).unwrap_err().detail
        };
        assert!(super::command(&mut campaign(2_000, 1_000, 1_024)).is_ok());
        assert!(refused(campaign(499, 0, 0)).starts_with("ttl_ms: "));
        assert!(refused(campaign(3_600_001, 0, 0)).starts_with("ttl_ms: "));
        assert!(refused(campaign(2_000, 1_001, 0)).starts_with("priority: "));
        assert!(refused(campaign(2_000, 0, 1_025)).starts_with("metadata: "));
        assert!(wait_ms(60_001).is_err() && wait_ms(60_000).is_ok());
        let expire = Command::Expire { sessions: vec![] };
        assert!(refused(expire).contains("only the cluster"));
        let mut long = Command::Revoke {
            election: name(),
            token: None,
            reason: "ü".repeat(1_000).into(),
        };
        super::command(&mut long).unwrap();
        let Command::Revoke { reason, .. } = long else {
            unreachable!()
        };
        assert!(reason.len() <= limits::TEXT_BYTES_MAX && reason.len() > 250);
    }
}
