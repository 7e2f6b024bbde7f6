//! How far the log's records are in files of records: 24 bytes in `checkpoint`.
//!
//! It is written after the records are safe on the disk and never synced itself. It may therefore lag, which only
//! means that records are written again, with the same outcome; it never leads.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chasen_spi::Position;

use crate::{OpenError, files};

pub(super) const FILE: &str = "checkpoint";
const MAGIC: u64 = u64::from_le_bytes(*b"CHASENCP");

/// The file.
pub(super) struct Checkpoint {
    file: File,
}

impl Checkpoint {
    /// Opens it, and says what it says; an unreadable one says that nothing was written.
    pub(super) fn open(folder: &Path) -> Result<(Self, Position), OpenError> {
        let path = folder.join(FILE);
        let file = files::private()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io("open", &path))?;
        let mut words = [[0u8; 8]; 3];
        let read = words.iter_mut().zip([0, 8, 16]).try_for_each(|(word, at)| file.read_exact_at(word, at));
        let [magic, position, sum] = words.map(u64::from_le_bytes);
        let known = read.is_ok() && magic == MAGIC && sum == checksum(position);
        Ok((Self { file }, Position(if known { position } else { 0 })))
    }

    /// Brings it to the disk. That is never needed, and tells how quick the disk is.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.write_all_at(&MAGIC.to_le_bytes(), 0)?;
        self.file.sync_data()
    }

    /// Notes that every record up to here is written.
    pub(super) fn store(&self, position: Position) {
        let bytes = [MAGIC, position.0, checksum(position.0)].map(u64::to_le_bytes).concat();
        if let Err(error) = self.file.write_all_at(&bytes, 0) {
            tracing::debug!(%error, "the checkpoint was not written; a restart takes a little longer");
        }
    }
}

fn checksum(position: u64) -> u64 {
    u64::from(crc32fast::hash(&position.to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_position_is_found_again_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let (checkpoint, none) = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(none, Position(0));
        checkpoint.store(Position(7 << 32 | 5));
        assert_eq!(Checkpoint::open(folder.path()).unwrap().1, Position(7 << 32 | 5));
        checkpoint.file.write_all_at(&[9], 8).unwrap();
        assert_eq!(Checkpoint::open(folder.path()).unwrap().1, Position(0), "a torn one counts for nothing");
    }
}
