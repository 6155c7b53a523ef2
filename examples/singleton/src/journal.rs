//! The protected resource: a table to which one copy at a time appends.

use quorate_core::types::FencingToken;
use quorate_leader_election::guard::sql::CREATE;
use rusqlite::{Connection, Result};
use std::path::Path;
use std::time::Duration;

/// Its name at the fence.
pub(crate) const RESOURCE: &str = "journal";

pub(crate) fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    Ok(connection)
}

/// Creates the table and the fence's.
pub(crate) fn create(path: &Path) -> Result<()> {
    let connection = open(path)?;
    // What a power cut does to it is not what is shown here.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
         CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, token INTEGER NOT NULL,
             seq INTEGER NOT NULL, writer TEXT NOT NULL);",
    )?;
    connection.execute(CREATE, [])?;
    Ok(())
}

/// The number of the last row.
pub(crate) fn last(connection: &Connection) -> Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), 0) FROM journal", [], |row| {
        row.get(0)
    })
}

/// Appends a row.
pub(crate) fn append(
    connection: &Connection,
    token: FencingToken,
    seq: i64,
    writer: &str,
) -> Result<usize> {
    connection.execute(
        "INSERT INTO journal (token, seq, writer) VALUES (?1, ?2, ?3)",
        (token.0.cast_signed(), seq, writer),
    )
}

/// One row, in the order in which they were written.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) token: i64,
    pub(crate) seq: i64,
    pub(crate) writer: String,
}

/// All rows, in the order in which they were written.
pub(crate) fn rows(path: &Path) -> Result<Vec<Row>> {
    let connection = open(path)?;
    let mut rows = connection.prepare("SELECT token, seq, writer FROM journal ORDER BY id")?;
    let rows = rows.query_map([], |row| {
        Ok(Row {
            token: row.get(0)?,
            seq: row.get(1)?,
            writer: row.get(2)?,
        })
    })?;
    rows.collect()
}
