//! SQLite files: opening, schema versions, errors.

use std::path::Path;
use std::time::Duration;

use chasen_spi::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::{OpenError, files};

/// How long a statement waits for another process that locks the same file.
const BUSY: Duration = Duration::from_secs(5);
/// Memory that a writing connection keeps pages in; the system's own cache is behind it.
const WRITER_CACHE_KB: i32 = 1024;
/// The same of a reading connection, of which there are many.
const READER_CACHE_KB: i32 = 256;

/// The schema of one sort of file: what each version adds to the one before. Entries are never changed.
pub(crate) type Migrations = &'static [&'static str];

/// Opens a file for writing and brings it to the newest schema. What is committed is on the disk.
pub(crate) fn open(path: &Path, migrations: Migrations) -> Result<Connection, OpenError> {
    // SQLite gives its side files the mode of the main one, so that must not be open to others.
    files::private().create(true).truncate(false).open(path).map_err(OpenError::io("open", path))?;
    let mut connection = connect(path).map_err(refused(path))?;
    migrate(&mut connection, path, migrations)?;
    Ok(connection)
}

/// Opens a file that [`open`] has made, for reading.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection
        .pragma_update(None, "query_only", true)
        .and_then(|()| connection.pragma_update(None, "cache_size", -READER_CACHE_KB))
        .map_err(store_error)?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let set_up = || {
        // Without leave to make the file: who comes to read one that was just removed must not leave an empty one.
        let connection =
            Connection::open_with_flags(path, OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KB)?;
        Ok(connection)
    };
    set_up().map_err(store_error)
}

fn migrate(connection: &mut Connection, path: &Path, migrations: Migrations) -> Result<(), OpenError> {
    let supported = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    let apply = |connection: &mut Connection| -> rusqlite::Result<u32> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        for (version, statements) in (1u32..).zip(migrations).filter(|(version, _)| *version > found) {
            transaction.execute_batch(statements)?;
            transaction.pragma_update(None, "user_version", version)?;
        }
        transaction.commit()?;
        Ok(found)
    };
    let found = apply(connection).map_err(|error| refused(path)(store_error(error)))?;
    if found > supported {
        return Err(OpenError::Newer { file: path.to_owned(), found, supported });
    }
    Ok(())
}

fn refused(path: &Path) -> impl FnOnce(StoreError) -> OpenError {
    let file = path.to_owned();
    move |source| OpenError::Store { file, source }
}

/// Begins a transaction that writes: nobody else does until it ends.
pub(crate) fn begin(connection: &mut Connection) -> Result<Transaction<'_>, StoreError> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(store_error)
}

/// What an error of SQLite means to callers of a store.
#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            StoreError::Full(format!("{error}; free space on the disk of the data folder"))
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            StoreError::Corrupt { what: "the database".to_owned(), why: error.to_string() }
        }
        Some(ErrorCode::ConstraintViolation) => StoreError::Conflict,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            StoreError::Unavailable(format!(
                "{error}: another process has locked the database; 'fuser' tells which one"
            ))
        }
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// A number as SQLite keeps it; what is beyond its range is the end of its range.
pub(crate) fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that [`integer`] stored.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// How SQLite would answer a query.
    pub(crate) fn plan(connection: &Connection, text: &str) -> String {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
        let (mut rows, mut steps) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get::<_, String>(3).unwrap());
        }
        steps.join("; ")
    }

    const FIRST: Migrations = &["CREATE TABLE a (x)"];
    const SECOND: Migrations =
        &["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y; INSERT INTO a VALUES (1, 2)"];

    #[test]
    fn old_files_grow_and_newer_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        open(&path, FIRST).unwrap();
        for _ in 0..2 {
            let connection = open(&path, SECOND).unwrap();
            let rows: u32 =
                connection.query_row("SELECT count(*) FROM a WHERE y = 2", [], |row| row.get(0)).unwrap();
            assert_eq!(rows, 1, "each step is taken once");
        }
        let error = open(&path, FIRST).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 2, supported: 1, .. }), "{error}");
    }

    #[test]
    fn a_file_that_is_no_database_is_corrupt() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        std::fs::write(&path, "no database at all, however long it is").unwrap();
        let error = open(&path, FIRST).unwrap_err();
        assert!(matches!(error, OpenError::Store { source: StoreError::Corrupt { .. }, .. }), "{error}");
    }
}
