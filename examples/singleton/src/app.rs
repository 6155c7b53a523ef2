//! The copy in Rust: a campaign, a guard, and a fence around what is written.

use crate::journal;
use anyhow::Result;
use quorate_core::types::FencingToken;
use quorate_leader_election::election::Election;
use quorate_leader_election::guard::sql::{Fence, SqlError};
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// Runs until it is killed.
///
/// # Errors
/// The database cannot be opened; a name is none.
pub async fn run(server: &str, id: &str, db: &Path) -> Result<()> {
    let election = Election::connect(server)?
        .candidate(id)?
        .ttl(Duration::from_secs(1));
    let mut connection = journal::open(db)?;
    let fence = Fence::install(&connection, journal::RESOURCE)?;
    loop {
        let guard = match election.campaign("singleton").await {
            Ok(guard) => guard,
            Err(error) => {
                crate::demo::say(&format!("refused {error}"));
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        crate::demo::say(&format!("leading {}", guard.token()));
        // Dropped before anybody else can be elected; what a stop of the whole process lets through, the
        // fence refuses.
        let ended = guard
            .run(|token| write(&mut connection, &fence, token, id))
            .await;
        match ended {
            Ok(Err(SqlError::Stale(stale))) => {
                crate::demo::say(&format!("stale {}", stale.token));
            }
            Ok(Err(SqlError::Sqlite(error))) => return Err(error.into()),
            Ok(Ok(())) => {}
            Err(lost) => crate::demo::say(&format!("lost {}: {}", lost.token, lost.why)),
        }
    }
}

async fn write(
    connection: &mut Connection,
    fence: &Fence,
    token: FencingToken,
    id: &str,
) -> Result<(), SqlError> {
    // Seal before reading: what is read is the last word of all older leaders.
    fence.seal(connection, token)?;
    let mut seq = journal::last(connection)?;
    loop {
        seq += 1;
        fence.transaction(connection, token, |transaction| {
            journal::append(transaction, token, seq, id)
        })?;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
