//! Rows of an SQL database that take no write of an old leader.
//!
//! One table holds the highest token for each resource; every transaction of a leader begins with a
//! statement that raises it, or finds that a newer one stands there. The row stays locked until the
//! transaction ends, so that a newer leader's seal waits for it, and nothing can come between the check
//! and the write.
//!
//! The statements are plain SQL. In SQLite, within `BEGIN IMMEDIATE` … `COMMIT`:
//!
//! ```sql
//! CREATE TABLE IF NOT EXISTS quorate_fence (resource TEXT PRIMARY KEY, token BIGINT NOT NULL);
//!
//! INSERT INTO quorate_fence (resource, token) VALUES (?1, ?2)
//!     ON CONFLICT (resource) DO UPDATE SET token = excluded.token
//!     WHERE excluded.token >= quorate_fence.token;
//! -- one row changed: go on; none: the token is stale, ROLLBACK
//! ```
//!
//! In PostgreSQL the same within `BEGIN` … `COMMIT`, with `$1`, `$2` for the parameters; the number of
//! rows is in the command's tag (`INSERT 0 1` or `INSERT 0 0`). Any isolation level will do: the
//! conflicting row is locked, and the condition is evaluated on its newest committed version (under
//! `REPEATABLE READ` and above a loser gets a serialisation failure instead, and tries again). MySQL
//! has no condition there; use `SELECT token … FOR UPDATE` and compare.
//!
//! To **seal** is to run that statement alone in a transaction, and to read afterwards.

use super::Stale;
use quorate_core::types::FencingToken;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};

/// Creates the table of tokens, in SQLite and PostgreSQL.
pub const CREATE: &str = "CREATE TABLE IF NOT EXISTS quorate_fence \
     (resource TEXT PRIMARY KEY, token BIGINT NOT NULL)";

/// Raises the highest token of a resource (first parameter) to the one presented (second), in SQLite.
/// Changes one row, or none when the token is stale.
pub const RAISE: &str = "INSERT INTO quorate_fence (resource, token) VALUES (?1, ?2) \
     ON CONFLICT (resource) DO UPDATE SET token = excluded.token \
     WHERE excluded.token >= quorate_fence.token";

/// [`RAISE`] with PostgreSQL's parameters.
pub const RAISE_POSTGRES: &str = "INSERT INTO quorate_fence (resource, token) VALUES ($1, $2) \
     ON CONFLICT (resource) DO UPDATE SET token = excluded.token \
     WHERE excluded.token >= quorate_fence.token";

/// Why a fenced transaction did not commit. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// A newer token was presented before.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The database refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// The fence of one resource in an SQLite database. Several fences of different names share the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    resource: String,
}

impl Fence {
    /// The fence of this name; creates the table if it is not there.
    ///
    /// # Errors
    /// The database refused.
    pub fn install(
        connection: &Connection,
        resource: impl Into<String>,
    ) -> Result<Self, rusqlite::Error> {
        connection.execute(CREATE, [])?;
        Ok(Self {
            resource: resource.into(),
        })
    }

    /// Raises the highest token. What is read afterwards is the last word of all older leaders.
    ///
    /// # Errors
    /// A newer token was presented before; the database refused.
    pub fn seal(&self, connection: &mut Connection, token: FencingToken) -> Result<(), SqlError> {
        self.transaction(connection, token, |_| Ok(()))
    }

    /// Runs `work` in a transaction that commits only if no newer token was presented before it. It
    /// holds the database's write lock from its first statement, so that the token cannot be overtaken
    /// within it.
    ///
    /// # Errors
    /// A newer token was presented before; the database refused; `work` failed. Nothing is kept then.
    pub fn transaction<T>(
        &self,
        connection: &mut Connection,
        token: FencingToken,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, SqlError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = transaction.execute(RAISE, (&self.resource, stored(token)))?;
        if changed == 0 {
            let highest = self.highest(&transaction)?;
            return Err(Stale { token, highest }.into());
        }
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// The highest token that was presented; 0 if none was.
    ///
    /// # Errors
    /// The database refused.
    pub fn highest(&self, connection: &Connection) -> Result<FencingToken, rusqlite::Error> {
        let token: Option<i64> = connection
            .query_row(
                "SELECT token FROM quorate_fence WHERE resource = ?1",
                [&self.resource],
                |row| row.get(0),
            )
            .optional()?;
        Ok(FencingToken(
            token
                .and_then(|token| u64::try_from(token).ok())
                .unwrap_or(0),
        ))
    }
}

/// As the database keeps it. Tokens are below 2^53; one that is not came from elsewhere and is stored
/// as the largest number there is, which lets nobody in after it.
fn stored(token: FencingToken) -> i64 {
    i64::try_from(token.0).unwrap_or(i64::MAX)
}
