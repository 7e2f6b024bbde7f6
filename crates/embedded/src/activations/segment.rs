//! One file of records: SQLite, for the records written in one span of time.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_entity::{ActivationId, Millis};
use chasen_spi::{ActivationQuery, StoreError};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row};

use super::records::{self, MIGRATIONS};
use super::tail::TailRecord;
use super::tally::{self, Spans};
use crate::sqlite::{self, store_error, unsigned};
use crate::{OpenError, files};

/// Connections that a file keeps for the next reader, until it is put to rest.
const IDLE: usize = 2;

/// What lists are sorted by.
pub(super) type Key = (Millis, ActivationId);

/// Between which ids and starts the records of a file lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) first_id: ActivationId,
    pub(super) last_id: ActivationId,
    pub(super) first_start: Millis,
    pub(super) last_start: Millis,
}

impl Bounds {
    /// These bounds widened by a record.
    fn with(bounds: Option<Self>, (start, id): Key) -> Self {
        bounds.map_or(Self { first_id: id, last_id: id, first_start: start, last_start: start }, |bounds| {
            Self {
                first_id: bounds.first_id.min(id),
                last_id: bounds.last_id.max(id),
                first_start: bounds.first_start.min(start),
                last_start: bounds.last_start.max(start),
            }
        })
    }

    /// Time of the newest record, by its start or its id.
    pub(super) fn newest(&self) -> Millis {
        self.last_start.max(self.last_id.created_at())
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            first_id: ActivationId::from_bytes(row.get(0)?),
            last_id: ActivationId::from_bytes(row.get(1)?),
            first_start: unsigned(row.get(2)?),
            last_start: unsigned(row.get(3)?),
        })
    }
}

/// A file of records.
pub(super) struct Segment {
    path: PathBuf,
    created: Millis,
    bounds: Mutex<Option<Bounds>>,
    idle: Mutex<Vec<Connection>>,
    removed: AtomicBool,
}

impl Segment {
    /// The file that was made at this time.
    pub(super) fn path(folder: &Path, created: Millis) -> PathBuf {
        folder.join(format!("{created:013}.db"))
    }

    /// The time in a file's name.
    pub(super) fn created_of(path: &Path) -> Option<Millis> {
        path.file_name()?.to_str()?.strip_suffix(".db")?.parse().ok()
    }

    /// Opens or makes the file, and gives the connection that writes it.
    pub(super) fn open(folder: &Path, created: Millis) -> Result<(Arc<Self>, Connection), OpenError> {
        let path = Self::path(folder, created);
        let connection = sqlite::open(&path, MIGRATIONS)?;
        let bounds = connection
            .query_row("SELECT first_id, last_id, first_start, last_start FROM bounds", [], Bounds::read)
            .optional()
            .map_err(|error| OpenError::Store { file: path.clone(), source: store_error(error) })?;
        let segment = Self {
            path,
            created,
            bounds: Mutex::new(bounds),
            idle: Mutex::default(),
            removed: AtomicBool::new(false),
        };
        Ok((Arc::new(segment), connection))
    }

    /// A connection that writes the file.
    pub(super) fn writer(&self) -> Result<Connection, OpenError> {
        sqlite::open(&self.path, MIGRATIONS)
    }

    /// When it was made.
    pub(super) fn created(&self) -> Millis {
        self.created
    }

    /// Between what its records lie; `None` without any. They are never narrower than what readers can see.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        *self.bounds.lock()
    }

    /// True if it may hold the record of this id.
    pub(super) fn may_hold(&self, id: &ActivationId) -> bool {
        self.bounds().is_some_and(|bounds| (bounds.first_id..=bounds.last_id).contains(id))
    }

    /// Bytes that it takes on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.files().iter().map(|file| fs::metadata(file).map_or(0, |data| data.len())).sum()
    }

    /// Closes what is kept open for the next reader.
    pub(super) fn rest(&self) {
        self.idle.lock().clear();
    }

    /// Removes the file and what SQLite keeps beside it. Who reads it now or later finds nothing in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        self.removed.store(true, Ordering::Release);
        self.rest();
        self.files().iter().try_for_each(|file| files::remove(file))
    }

    fn files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|side| {
            let mut name = self.path.clone().into_os_string();
            name.push(side);
            name.into()
        })
    }

    /// Writes records in one transaction, each in place of an older one of its id. They are on the disk after.
    pub(super) fn write(
        &self,
        connection: &mut Connection,
        records: &[&TailRecord],
    ) -> Result<(), StoreError> {
        let known = self.bounds();
        let keys = records.iter().map(|record| (record.entry.start, record.entry.id));
        let Some(bounds) = keys.fold(known, |bounds, key| Some(Bounds::with(bounds, key))) else {
            return Ok(());
        };
        let transaction = connection.transaction().map_err(store_error)?;
        records::put(&transaction, records)
            .and_then(|()| records::put_bounds(&transaction, &bounds))
            .map_err(store_error)?;
        // Before the commit: who sees the records must not be kept from looking here.
        *self.bounds.lock() = Some(bounds);
        transaction.commit().map_err(store_error)
    }

    /// The record of this id, as JSON.
    pub(super) fn body(
        &self,
        namespace: Option<&str>,
        id: &ActivationId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection| records::body(connection, namespace, id))
    }

    /// True if it holds the record of this id.
    pub(super) fn holds(&self, id: &ActivationId) -> Result<bool, StoreError> {
        self.read(|connection| records::holds(connection, id))
    }

    /// Keys of records that match and come after this one in a list, newest first, at most this many.
    pub(super) fn keys(
        &self,
        query: &ActivationQuery,
        after: Key,
        most: usize,
    ) -> Result<Vec<Key>, StoreError> {
        self.read(|connection| records::keys(connection, query, after, most))
    }

    /// How many records match. Those of the tail that are here already do not count.
    pub(super) fn count(&self, query: &ActivationQuery, tail: &[Arc<TailRecord>]) -> Result<u64, StoreError> {
        self.read(|connection| {
            // One look at the file for all questions.
            let snapshot = connection.unchecked_transaction()?;
            let in_index = |since, upto| records::count_in_index(&snapshot, query, since, upto);
            let count = match query.cause {
                None => tally::count(&snapshot, query, in_index)?,
                Some(_) => in_index(query.since.unwrap_or(0), query.upto.unwrap_or(u64::MAX))?,
            };
            Ok(count.saturating_sub(self.here(&snapshot, tail)?.len() as u64))
        })
    }

    /// Adds how many records lie in each span of a query's time, and which of the tail are among them.
    pub(super) fn add_spans(
        &self,
        query: &ActivationQuery,
        tail: &[Arc<TailRecord>],
        spans: &mut Spans,
        here: &mut HashSet<ActivationId>,
    ) -> Result<(), StoreError> {
        self.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let in_index = |since, upto| records::count_in_index(&snapshot, query, since, upto);
            tally::add_spans(&snapshot, query, in_index, spans)?;
            here.extend(self.here(&snapshot, tail)?);
            Ok(())
        })
    }

    /// Which records of the tail are here already. The snapshot must have been read from before: then no record in it
    /// lies outside the bounds.
    fn here(&self, snapshot: &Connection, tail: &[Arc<TailRecord>]) -> rusqlite::Result<Vec<ActivationId>> {
        let ids = tail.iter().map(|record| record.entry.id).filter(|id| self.may_hold(id));
        ids.filter_map(|id| records::holds(snapshot, &id).map(|holds| holds.then_some(id)).transpose())
            .collect()
    }

    /// Looks into the file. Of one that is removed meanwhile nothing is found.
    fn read<T: Default>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let pooled = self.idle.lock().pop();
        let outcome = pooled.map_or_else(|| sqlite::open_reader(&self.path), Ok).and_then(|connection| {
            let found = work(&connection).map_err(store_error)?;
            let mut idle = self.idle.lock();
            if idle.len() < IDLE && !self.removed.load(Ordering::Acquire) {
                idle.push(connection);
            }
            Ok(found)
        });
        match outcome {
            Err(_) if self.removed.load(Ordering::Acquire) => Ok(T::default()),
            outcome => outcome,
        }
    }
}
