//! The little of SQL that the ledger needs, the same for both databases.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use crate::Fault;

/// Why a database cannot be opened.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another process has it.
    InUse,
    /// In the words of the system or the database.
    Storage(String),
}

/// A parameter of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    /// `BIGINT`.
    Int(i64),
    /// `TEXT`.
    Text(&'a str),
    /// `BYTEA` or `BLOB`.
    Bytes(&'a [u8]),
    /// `BYTEA` or `BLOB` that may be absent.
    MaybeBytes(Option<&'a [u8]>),
}

/// One row of an answer. Columns count from 0; what the statement does not select is a fault, not a panic.
pub(crate) trait Row {
    /// A `BIGINT`.
    fn int(&self, column: usize) -> Result<i64, Fault>;
    /// A `TEXT`.
    fn text(&self, column: usize) -> Result<String, Fault>;
    /// A `BYTEA` or `BLOB`.
    fn bytes(&self, column: usize) -> Result<Vec<u8>, Fault>;
    /// A `BYTEA` or `BLOB` that may be absent.
    fn maybe_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Fault>;
}

/// A connection with a transaction open. Statements are written once, for both: parameters `$1`, `$2`, ... which first
/// appear in that order, types `BIGINT`, `TEXT` and [`BYTES`](Database::bytes_type), `ON CONFLICT`, `RETURNING`.
/// Statements are prepared once and kept (they are `'static`).
pub(crate) trait Database: Send {
    /// `BLOB` or `BYTEA`, for the schema.
    fn bytes_type(&self) -> &'static str;
    /// What stands after a table of the schema that is best kept in the order of its key.
    fn clustered(&self) -> &'static str;
    /// Runs DDL, several statements separated by `;`.
    fn run_script(&mut self, script: &str) -> Result<(), Fault>;
    /// Opens a transaction. No other process writes the same ledger until it ends (SQLite: the file is ours alone;
    /// PostgreSQL: an advisory lock of the site).
    fn begin(&mut self) -> Result<(), Fault>;
    /// Ends it; when this returns `Ok` the changes are durable. After an error nobody knows whether they are.
    fn commit(&mut self) -> Result<(), Fault>;
    /// Drops it.
    fn rollback(&mut self) -> Result<(), Fault>;
    /// Runs a statement and returns how many rows it changed.
    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault>;
    /// Runs a query and hands over each row.
    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), Fault>,
    ) -> Result<(), Fault>;
    /// Leaves nothing of erased rows in the raw files, as far as the database allows.
    fn scrub(&mut self) -> Result<(), Fault>;
    /// Opens the connection anew after a failure; what was not committed is gone.
    fn reconnect(&mut self) -> Result<(), Fault>;
}
