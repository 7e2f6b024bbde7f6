//! Backups of a data folder, made while its node runs or while none does, and folders made of backups.
//!
//! A backup is a folder, or the same as an archive of `tar`: the files of a data folder, with a [`manifest`] that has their
//! digests. It is of one moment: everything that was accepted before is in it. Which moment that is (`take`):
//!
//! 1. Segments of the log that nobody adds to any more are copied.
//! 2. For an instant nobody may write dead letters. In it the databases are told to stay as they are for this reader, and
//!    the rest of the log is copied. A letter that was retried is thus either there, or its new activation is.
//! 3. The databases are copied, then files of records and code. These may know of later things: of a record that was
//!    written since, its activation ends in that one, as recovery looks for it.
//!
//! Work that was under way at that moment is under way again in the folder that is made of it, as after a crash.

mod check;
mod manifest;
mod restore;
mod sink;
mod take;

use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::OpenError;
pub use check::{Finding, check};
pub use restore::{Restored, restore, restore_stream};
pub use take::{BackupOptions, Taken, stream, take};

/// What a stream is called where a path is named.
const STREAM: &str = "-";
/// Bytes that are copied at a time.
const CHUNK: usize = 256 << 10;

/// What is being done, in the order of doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The log of events.
    Log,
    /// Databases: entities, subjects, dead letters, keys of requests.
    Databases,
    /// Files of records.
    Records,
    /// Code of actions.
    Code,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Log, Self::Databases, Self::Records, Self::Code];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "the event log",
            Self::Databases => "entities and subjects",
            Self::Records => "records of activations",
            Self::Code => "code of actions",
        })
    }
}

/// Whoever follows the work and may end it.
pub trait Watch {
    /// A stage begins.
    fn begin(&self, stage: Stage);

    /// This many files of the stage are done, of so many.
    fn at(&self, done: usize, of: usize);

    /// True if the work is to end now, leaving nothing behind.
    fn is_stopped(&self) -> bool;
}

/// Why there is no backup, or no folder made of one. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data folder, or a file of it, cannot be read or written.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is no data folder.
    #[error("'{}' is no data folder of a node; name one with --data DIR", .0.display())]
    NoData(PathBuf),
    /// There is something already where the backup is to be.
    #[error("'{}' is there already and stays as it is; choose another name", .0.display())]
    Exists(PathBuf),
    /// Its name is that of an archive that nobody makes here.
    #[error(
        "'{}' would be an archive that is not made here; end its name in .tar or .tar.gz, or name a folder", .0.display()
    )]
    NoForm(PathBuf),
    /// The backup would be part of itself.
    #[error("'{}' lies in the data folder; choose a place outside of it", .0.display())]
    Inside(PathBuf),
    /// The folder to restore into has something in it.
    #[error("'{}' is not empty; name a folder that is, or one that is not there", .0.display())]
    NotEmpty(PathBuf),
    /// What is to be restored is no backup.
    #[error("'{}' is no backup: {why}", file.display())]
    NoBackup {
        /// Which file or folder.
        file: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// It was made by a later release.
    #[error(
        "the backup has format {found}, and this release reads up to {supported}; restore it with the release that made it"
    )]
    Newer {
        /// Its format.
        found: u32,
        /// The newest one that is known here.
        supported: u32,
    },
    /// It is not as it was made.
    #[error("the backup is damaged: '{file}': {why}; nothing was restored, take another backup")]
    Damaged {
        /// Which file of it.
        file: String,
        /// What is wrong with that.
        why: String,
    },
    /// It has something in it that no backup has.
    #[error("the backup holds {file:?}, which no backup of a data folder does; nothing was restored")]
    Foreign {
        /// Path or kind of it, as it says.
        file: String,
    },
    /// Somebody ended it.
    #[error("stopped; nothing was left behind")]
    Stopped,
}

impl BackupError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Open(OpenError::Io { action, path, source })
    }

    fn store(path: &Path) -> impl FnOnce(rusqlite::Error) -> Self {
        let file = path.to_owned();
        move |error| Self::Open(OpenError::Store { file, source: crate::sqlite::store_error(error) })
    }
}

/// Copies everything, or says that it was stopped (`None`): how much that was, and its digest in hex.
fn copy(
    from: &mut impl Read,
    to: &mut impl Write,
    watch: &dyn Watch,
) -> Result<Option<(u64, String)>, CopyError> {
    let (mut buffer, mut digest, mut bytes) = (vec![0; CHUNK], Sha256::new(), 0);
    loop {
        if watch.is_stopped() {
            return Ok(None);
        }
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(Some((bytes, format!("{:x}", digest.finalize())))),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        let part = buffer.get(..read).unwrap_or_default();
        digest.update(part);
        to.write_all(part).map_err(CopyError::Write)?;
        bytes += read as u64;
    }
}

/// Which end of a copy failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

impl CopyError {
    fn between(self, from: &Path, to: &Path) -> BackupError {
        match self {
            Self::Read(error) => BackupError::io("read", from)(error),
            Self::Write(error) => BackupError::io("write", to)(error),
        }
    }
}

/// A folder beside this place that is gone when it is dropped, unless what is in it was moved away.
fn beside(place: &Path) -> Result<tempfile::TempDir, BackupError> {
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    tempfile::Builder::new()
        .prefix(&format!(".{name}.partial-"))
        .tempdir_in(parent)
        .map_err(BackupError::io("make a folder in", parent))
}
