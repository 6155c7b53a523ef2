//! Exactly one of many processes does the work.

use quorate_leader_election::election::Election;

/// Waits until this process leads, writes under its fencing token, and gives leadership up; the token grows with every
/// leader, so that whoever keeps what is written can refuse a late one.
pub async fn lead(election: &Election) -> anyhow::Result<u64> {
    let guard = election.campaign("writer").await?;
    // Dropped before the lease can be anybody else's.
    let wrote = guard.run(|token| async move { token.0 }).await?;
    guard.resign().await?;
    Ok(wrote)
}
