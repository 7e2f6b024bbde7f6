//! The files of records: which there are, which is written, which have had their time.
//!
//! New records go into the newest file, whatever their ids and starts say; each file knows between which of these
//! its records lie, so that almost always one file is asked for an id. A new file is begun when the newest one is
//! old or large enough. Whole files go when all their records are too old, or when all files together are too
//! large: the oldest first, never the newest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::{ActivationId, ByteSize, Millis};
use chasen_spi::StoreError;
use parking_lot::RwLock;
use rusqlite::Connection;

use super::segment::Segment;
use super::tail::TailRecord;
use crate::faults::Faults;
use crate::{OpenError, files};

/// A file spans this part of what is kept, in time and in size: that exact expiry is.
const PARTS: u32 = 16;
/// Smallest file that a new one is begun for.
const LEAST_BYTES: u64 = 1 << 20;
/// Expiry is looked at no more and no less often than this.
const EXPIRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(60));

/// How long records stay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    /// Records that are older go.
    pub(crate) age: Duration,
    /// Files are kept below this size together.
    pub(crate) size: ByteSize,
}

/// The files, oldest first.
pub(crate) struct Catalog {
    folder: PathBuf,
    retention: Retention,
    segments: RwLock<Vec<Arc<Segment>>>,
}

impl Catalog {
    /// Opens every file in the folder. One that cannot be read is set aside and reported.
    pub(crate) fn open(folder: &Path, retention: Retention) -> Result<Self, OpenError> {
        files::create_folder(folder)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(OpenError::io("read the folder", folder))? {
            let path = entry.map_err(OpenError::io("read the folder", folder))?.path();
            found.extend(Segment::created_of(&path));
        }
        found.sort_unstable();
        let mut segments = Vec::new();
        for created in found {
            match Segment::open(folder, created) {
                Ok((segment, _)) => segments.push(segment),
                Err(OpenError::Store { file, source: error @ StoreError::Corrupt { .. } }) => {
                    set_aside(&file, &error)?
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Self { folder: folder.to_owned(), retention, segments: RwLock::new(segments) })
    }

    /// The files, newest first.
    pub(super) fn newest_first(&self) -> Vec<Arc<Segment>> {
        self.segments.read().iter().rev().cloned().collect()
    }

    /// True if a file holds the record of this id.
    pub(crate) fn holds(&self, id: &ActivationId) -> Result<bool, StoreError> {
        for segment in self.newest_first().into_iter().filter(|segment| segment.may_hold(id)) {
            if segment.holds(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The record of this id as JSON, if it belongs to the namespace.
    pub(crate) fn body(&self, namespace: &str, id: &ActivationId) -> Result<Option<Vec<u8>>, StoreError> {
        for segment in self.newest_first().into_iter().filter(|segment| segment.may_hold(id)) {
            if let Some(body) = segment.body(Some(namespace), id)? {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    /// Takes out what has had its time; what goes by age may be everything, what goes by size spares the newest.
    fn expired(&self, now: Millis) -> Vec<Arc<Segment>> {
        let limit = now.saturating_sub(millis(self.retention.age));
        let mut segments = self.segments.write();
        let mut bytes: u64 = segments.iter().map(|segment| segment.bytes()).sum();
        let mut expired = Vec::new();
        while let Some(oldest) = segments.first() {
            let is_old = oldest.bounds().is_some_and(|bounds| bounds.newest() < limit);
            let is_too_much = bytes > self.retention.size.as_bytes() && segments.len() > 1;
            if !is_old && !is_too_much {
                break;
            }
            bytes = bytes.saturating_sub(oldest.bytes());
            expired.push(segments.remove(0));
        }
        expired
    }

    /// True if a new file is to be begun after this one.
    fn is_full(&self, newest: &Segment, now: Millis) -> bool {
        let span = millis(self.retention.age / PARTS).max(1);
        let bytes = (self.retention.size.as_bytes() / u64::from(PARTS)).max(LEAST_BYTES);
        newest.bounds().is_some() && (now >= newest.created().saturating_add(span) || newest.bytes() >= bytes)
    }
}

/// The one that writes records and removes files: the newest file stays open.
pub(super) struct Filing {
    catalog: Arc<Catalog>,
    newest: Option<(Arc<Segment>, Connection)>,
    /// When expiry is looked at next; a new file brings it forward.
    expiry: Instant,
}

impl Filing {
    /// Writes to the files of this catalogue; there must be no other.
    pub(super) fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, newest: None, expiry: Instant::now() }
    }

    /// How often expiry is looked at.
    pub(super) fn expiry_interval(&self) -> Duration {
        (self.catalog.retention.age / 64).clamp(EXPIRY.0, EXPIRY.1)
    }

    /// Removes files that have had their time, if it is time to look, and lets the others rest.
    pub(super) fn expire(&mut self, now: Millis) {
        if Instant::now() < self.expiry {
            return;
        }
        self.expiry = Instant::now() + self.expiry_interval();
        self.catalog.segments.read().iter().for_each(|segment| segment.rest());
        for expired in self.catalog.expired(now) {
            // An open connection would keep the disk space.
            self.newest.take_if(|(newest, _)| newest.created() == expired.created());
            if let Err(error) = expired.remove() {
                tracing::warn!(%error, "expired records could not be removed; trying again at the next start");
            }
        }
    }

    /// Gets ready to try again after a failed write. A file that turned out damaged is set aside.
    pub(super) fn recover(&mut self, error: &OpenError) {
        self.newest = None;
        let OpenError::Store { file, source: corrupt @ StoreError::Corrupt { .. } } = error else { return };
        let damaged = Segment::created_of(file);
        self.catalog.segments.write().retain(|segment| Some(segment.created()) != damaged);
        if let Err(error) = set_aside(file, corrupt) {
            tracing::error!(%error, "the damaged file stays in its place");
        }
    }

    /// Writes records. They are on the disk after. Doing it again changes nothing.
    pub(super) fn write(
        &mut self,
        records: &[Arc<TailRecord>],
        now: Millis,
        faults: &Faults,
    ) -> Result<(), OpenError> {
        let mut fresh = Vec::with_capacity(records.len());
        let older: Vec<_> = self.catalog.newest_first().into_iter().skip(1).collect();
        for record in records {
            // A record that is in an older file already, from before a crash or with new logs, stays in that one.
            let id = &record.entry.id;
            match older.iter().find(|segment| segment.may_hold(id) && segment.holds(id).unwrap_or(false)) {
                None => fresh.push(record.as_ref()),
                Some(segment) => segment
                    .write(&mut segment.writer()?, &[record.as_ref()])
                    .map_err(|source| self.refused(segment, source))?,
            }
        }
        let (segment, connection) = self.newest(now)?;
        let segment = segment.clone();
        faults
            .store()
            .and_then(|()| segment.write(connection, &fresh))
            .map_err(|source| self.refused(&segment, source))
    }

    /// Begins a new file if it is time to, and opens the newest one.
    fn newest(&mut self, now: Millis) -> Result<&mut (Arc<Segment>, Connection), OpenError> {
        let last = self.catalog.segments.read().last().cloned();
        let created = match &last {
            Some(last) if self.catalog.is_full(last, now) => now.max(last.created() + 1),
            Some(last) => last.created(),
            None => now,
        };
        let is_open = self.newest.as_ref().is_some_and(|(segment, _)| segment.created() == created);
        let opened = match (self.newest.take().filter(|_| is_open), last) {
            (Some(open), _) => open,
            (None, Some(last)) if last.created() == created => {
                let connection = last.writer()?;
                (last, connection)
            }
            (None, _) => {
                let (segment, connection) = Segment::open(&self.catalog.folder, created)?;
                self.catalog.segments.write().push(segment.clone());
                self.expiry = Instant::now();
                (segment, connection)
            }
        };
        Ok(self.newest.insert(opened))
    }

    fn refused(&self, segment: &Segment, source: StoreError) -> OpenError {
        OpenError::Store { file: Segment::path(&self.catalog.folder, segment.created()), source }
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

fn set_aside(file: &Path, error: &StoreError) -> Result<(), OpenError> {
    let aside = file.with_extension("db.damaged");
    tracing::error!(%error, file = %aside.display(), "a file of records is damaged and set aside under this name");
    fs::rename(file, &aside).map_err(OpenError::io("rename", file))
}
