//! The ledger in an embedded SQLite file, or in memory.
//!
//! A commit is durable when it returns: write-ahead log (WAL) with `synchronous=FULL`. One process has the file at a time.
//! Erased rows are gone from the raw files after [`Database::scrub`]; the raw work for that is in [`raw`]. It seals
//! nothing: what it stores of key is sealed already.

mod raw;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags, ToSql};

use self::raw::Changed;
use super::{Database, Refusal, Row, Value};
use crate::Fault;
use crate::kek::sync_folder_of;

/// Marks a SQLite file as a ledger: "VNLG".
const APPLICATION_ID: i32 = 0x564e_4c47;

/// Statements kept prepared; the book has fewer.
const STATEMENTS: usize = 256;

/// From how many frames (pages of 4 KiB) on the WAL is moved into the database file: 16 MiB.
const MAX_WAL_FRAMES: i64 = 4096;

/// The page cache holds at most 16 MiB, temporary tables and indices stay in memory, and the file below 2^24 pages (64
/// GiB), so that [`raw`] can tell b-tree pages from others by their first byte.
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA checkpoint_fullfsync = ON;
    PRAGMA secure_delete = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -16384;
    PRAGMA mmap_size = 0;
    PRAGMA max_page_count = 16777215;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA trusted_schema = OFF;
    PRAGMA cell_size_check = ON;
";

/// A ledger in SQLite.
pub(crate) struct SqliteDatabase {
    /// `None` after a failed reconnect. Declared before `file`: closing another descriptor of the file would take the
    /// connection's locks with it (POSIX), so the connection must go first.
    connection: Option<Connection>,
    /// A statement failed in the transaction, which SQLite then may have ended by itself.
    has_failed: bool,
    file: Option<LedgerFile>,
}

/// What lies on the disk.
struct LedgerFile {
    path: PathBuf,
    wal: PathBuf,
    /// A descriptor of our own, for the raw work.
    raw: File,
    page_size: usize,
    /// Pages written since the last scrub.
    changed: Changed,
    /// Whether anything was written since the last scrub.
    is_stained: bool,
    /// Held as long as the ledger is open, also while the connection is opened anew.
    _lock: File,
}

impl SqliteDatabase {
    /// A ledger that goes with the process.
    pub(crate) fn in_memory() -> Result<Self, Fault> {
        let connection = Connection::open_in_memory().map_err(fault)?;
        connection.execute_batch("PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY;").map_err(fault)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self { connection: Some(connection), has_failed: false, file: None })
    }

    /// The ledger in the file at `path`, which is made (mode 0600) where there is none, and refused where others may use
    /// it: whoever wrote to it could put back what was erased. Its folder must exist.
    pub(crate) fn open(path: &Path) -> Result<Self, Refusal> {
        let refused = |error: std::io::Error| Refusal::Storage(error.to_string());
        let path = real_path(path).map_err(refused)?;
        let mut owners_only = OpenOptions::new();
        owners_only.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = owners_only.open(beside(&path, "-lock")).map_err(refused)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Refusal::InUse),
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        let is_new = !path.exists();
        let raw = owners_only.open(&path).map_err(refused)?;
        if is_new {
            sync_folder_of(&path).map_err(refused)?;
        }
        let wal = beside(&path, "-wal");
        owners_alone(&path)?;
        owners_alone(&wal)?;
        // A WAL with something in it is that of a process that did not close the ledger: nobody knows which pages it
        // changed before.
        let is_stained = fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0);
        let changed = if is_stained { Changed::everything() } else { Changed::default() };
        let connection = connect(&path)?;
        let page_size = pragma(&connection, "page_size").map_err(storage)?;
        let page_size = usize::try_from(page_size).expect("SQLite's pages have 512 to 65,536 bytes");
        let file = LedgerFile { path, wal, raw, page_size, changed, is_stained, _lock: lock };
        Ok(Self { connection: Some(connection), has_failed: false, file: Some(file) })
    }

    fn connection(&self) -> Result<&Connection, Fault> {
        self.connection.as_ref().ok_or_else(|| Fault("the file could not be opened again".into()))
    }

    /// Keeps in mind that a statement failed, so that nothing after it is done outside of the transaction.
    fn noted<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        self.has_failed |= outcome.is_err();
        outcome
    }

    fn refuse_after_failure(&self) -> Result<(), Fault> {
        if self.has_failed { Err(Fault("an earlier statement of the transaction failed".into())) } else { Ok(()) }
    }

    fn run(&self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        let changed = self.statement(sql, values)?.raw_execute().map_err(fault)?;
        Ok(changed as u64)
    }

    fn read(
        &self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut statement = self.statement(sql, values)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(fault)? {
            each(&SqliteRow(row))?;
        }
        Ok(())
    }

    fn statement(&self, sql: &'static str, values: &[Value<'_>]) -> Result<CachedStatement<'_>, Fault> {
        let mut statement = self.connection()?.prepare_cached(sql).map_err(fault)?;
        for (at, value) in values.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, value).map_err(fault)?;
        }
        Ok(statement)
    }

    /// Moves the WAL into the database file if it has grown long.
    fn bound_wal(&mut self) -> Result<(), Fault> {
        let (frames, _) = checkpoint(self.connection()?, "PRAGMA wal_checkpoint(NOOP)")?;
        if frames > MAX_WAL_FRAMES { self.checkpoint() } else { Ok(()) }
    }

    /// Moves the WAL into the database file, durably, and notes which pages it held.
    fn checkpoint(&mut self) -> Result<(), Fault> {
        let Self { connection: Some(connection), file: Some(file), .. } = self else { return Ok(()) };
        file.changed.add_pages_of(&file.wal).map_err(io_fault)?;
        let (frames, moved) = checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        if frames != moved {
            return Err(Fault(format!("only {moved} of {frames} frames of the write-ahead log could be moved")));
        }
        Ok(())
    }
}

impl Database for SqliteDatabase {
    fn bytes_type(&self) -> &'static str {
        "BLOB"
    }

    fn clustered(&self) -> &'static str {
        " WITHOUT ROWID"
    }

    fn run_script(&mut self, script: &str) -> Result<(), Fault> {
        self.refuse_after_failure()?;
        if let Some(file) = &mut self.file {
            file.is_stained = true;
        }
        let outcome = self.connection()?.execute_batch(script).map_err(fault);
        self.noted(outcome)
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.run("BEGIN IMMEDIATE", &[])?;
        self.has_failed = false;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.refuse_after_failure()?;
        self.run("COMMIT", &[])?;
        if self.file.as_ref().is_some_and(|file| file.is_stained) && self.bound_wal().is_err() {
            // What was committed is durable in the WAL. The next transaction must find out what is wrong.
            self.connection = None;
        }
        Ok(())
    }

    fn rollback(&mut self) -> Result<(), Fault> {
        // SQLite has rolled back by itself after some errors.
        if !self.connection()?.is_autocommit() {
            self.run("ROLLBACK", &[])?;
        }
        Ok(())
    }

    fn execute(&mut self, sql: &'static str, values: &[Value<'_>]) -> Result<u64, Fault> {
        self.refuse_after_failure()?;
        if let Some(file) = &mut self.file {
            file.is_stained = true;
        }
        let outcome = self.run(sql, values);
        self.noted(outcome)
    }

    fn query(
        &mut self,
        sql: &'static str,
        values: &[Value<'_>],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.refuse_after_failure()?;
        // A query may write too (`RETURNING`).
        if let Some(file) = &mut self.file {
            file.is_stained |= !sql.trim_start().starts_with("SELECT");
        }
        let outcome = self.read(sql, values, each);
        self.noted(outcome)
    }

    fn scrub(&mut self) -> Result<(), Fault> {
        if !self.file.as_ref().is_some_and(|file| file.is_stained) {
            return Ok(());
        }
        self.checkpoint()?;
        let Self { connection: Some(connection), file: Some(file), .. } = self else { return Ok(()) };
        file.changed.zero_gaps(&file.raw, file.page_size).map_err(io_fault)?;
        raw::zero_wal(&file.wal).map_err(io_fault)?;
        checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?;
        file.changed = Changed::default();
        file.is_stained = false;
        Ok(())
    }

    /// Opens the file anew, and moves everything that its WAL holds into it before anything else: after a failed `fsync`
    /// the system may call pages of the WAL clean that never reached the disk, so what follows must not build on them.
    fn reconnect(&mut self) -> Result<(), Fault> {
        let Some(file) = &mut self.file else { return self.rollback() };
        self.connection = None;
        match connect(&file.path) {
            Ok(connection) => self.connection = Some(connection),
            Err(Refusal::InUse) => return Err(Fault("another process has the file".into())),
            Err(Refusal::Storage(reason)) => return Err(Fault(reason)),
        }
        file.is_stained = true;
        let settled = self.scrub();
        if settled.is_err() {
            self.connection = None;
        }
        settled
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match *self {
            Self::Int(int) => ValueRef::Integer(int),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) | Self::MaybeBytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::MaybeBytes(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

struct SqliteRow<'a>(&'a rusqlite::Row<'a>);

impl SqliteRow<'_> {
    fn value<'b, T>(&'b self, column: usize, read: impl FnOnce(ValueRef<'b>) -> Option<T>) -> Result<T, Fault> {
        let value = self.0.get_ref(column).map_err(fault)?;
        let kind = value.data_type();
        read(value).ok_or_else(|| Fault(format!("column {column} is unexpectedly {kind}")))
    }
}

impl Row for SqliteRow<'_> {
    fn int(&self, column: usize) -> Result<i64, Fault> {
        self.value(column, |value| value.as_i64().ok())
    }

    fn text(&self, column: usize) -> Result<String, Fault> {
        self.value(column, |value| value.as_str().ok().map(str::to_owned))
    }

    fn bytes(&self, column: usize) -> Result<Vec<u8>, Fault> {
        self.value(column, |value| value.as_blob().ok().map(<[u8]>::to_vec))
    }

    fn maybe_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Fault> {
        self.value(column, |value| value.as_blob_or_null().ok().map(|bytes| bytes.map(<[u8]>::to_vec)))
    }
}

/// Opens the file and takes it for this process.
fn connect(path: &Path) -> Result<Connection, Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(storage)?;
    connection.busy_timeout(std::time::Duration::ZERO).map_err(storage)?;
    let has_pages = fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0);
    if has_pages && pragma(&connection, "application_id").map_err(storage)? != i64::from(APPLICATION_ID) {
        return Err(Refusal::Storage("it is a SQLite file, but no ledger".into()));
    }
    // The first read in this locking mode takes the file, and the journal mode needs a read.
    connection.execute_batch(SETTINGS).map_err(storage)?;
    connection.execute_batch("BEGIN EXCLUSIVE; COMMIT").map_err(storage)?;
    if !has_pages {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(storage)?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(storage)?;
    if mode != "wal" {
        return Err(Refusal::Storage(format!(
            "its file system does not allow a write-ahead log (journal mode {mode})"
        )));
    }
    // The WAL is moved and emptied by `scrub`, in an order that leaves nothing behind.
    let no_checkpoint = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(no_checkpoint, true).map_err(storage)?;
    // Else SQLite prepares some statements anew whenever other values are bound to them, in case another plan were better.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(storage)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// Runs a checkpoint and returns how many frames the WAL holds, and how many of them are in the database file.
fn checkpoint(connection: &Connection, sql: &'static str) -> Result<(i64, i64), Fault> {
    let mut statement = connection.prepare_cached(sql).map_err(fault)?;
    let (busy, frames, moved): (i64, i64, i64) =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(fault)?;
    if busy != 0 { Err(Fault("the write-ahead log is busy".into())) } else { Ok((frames, moved)) }
}

/// Refuses a file that others than its owner may use, as far as it is there.
fn owners_alone(path: &Path) -> Result<(), Refusal> {
    let mode = match fs::metadata(path) {
        Ok(metadata) => metadata.permissions().mode() & 0o7777,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Refusal::Storage(error.to_string())),
    };
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(Refusal::Storage(format!(
            "{path} must be open to its owner alone (it has mode {mode:04o}): see who changed it, then chmod 600 {path}"
        )));
    }
    Ok(())
}

/// The path without links, so that one file has one lock.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    if let Ok(real) = fs::canonicalize(path) {
        return Ok(real);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| std::io::Error::other("it names no file"))?;
    Ok(fs::canonicalize(folder)?.join(name))
}

/// The file that SQLite, or we, keep beside `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn fault(error: rusqlite::Error) -> Fault {
    Fault(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn io_fault(error: std::io::Error) -> Fault {
    Fault(error.to_string())
}

#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn storage(error: rusqlite::Error) -> Refusal {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Refusal::InUse,
        _ => Refusal::Storage(error.to_string()),
    }
}
