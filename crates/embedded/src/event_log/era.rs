//! For how long nothing can have been lost that was appended: a number that lasts until the machine goes down, or its disk
//! fails to keep what it was given.
//!
//! Kept in `era`, with the id that the kernel gives each time the machine is up (what a process has appended is the kernel's
//! to write, and is lost with the kernel only) and the place of the newest work that was there when the era began: of older
//! work, what was not synced may be lost.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::ledger::Place;
use crate::files;

pub(crate) const FILE: &str = "era";

/// Where the kernel tells the id of its own life.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The present era, until it is over.
pub(super) struct Era {
    folder: PathBuf,
    /// `None` if it cannot be known or kept: then nobody counts on it.
    known: Option<Known>,
    is_over: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    number: u64,
    /// Place of the newest work that was accepted before.
    begun: Place,
}

impl Era {
    /// The present era of the log in this folder, whose newest work has this place; begun if the one before is over.
    pub(super) fn open(folder: &Path, newest: Place) -> Self {
        let opened = fs::read_to_string(BOOT_ID).and_then(|boot| open_for(folder, boot.trim(), newest));
        if let Err(error) = &opened {
            tracing::warn!(%error, "it cannot be known whether the machine went down; what may have begun counts as begun");
        }
        Self { folder: folder.to_owned(), known: opened.ok(), is_over: AtomicBool::new(false) }
    }

    /// Its number.
    pub(super) fn number(&self) -> Option<u64> {
        self.known.filter(|_| !self.is_over.load(Ordering::Relaxed)).map(|known| known.number)
    }

    /// Place that all work of this era comes after.
    pub(super) fn begun(&self) -> Place {
        self.known.map_or((0, 0), |known| known.begun)
    }

    /// True if nothing can be missing of work of an earlier life that has this place.
    pub(super) fn has_all_of(&self, place: Place) -> bool {
        self.known.is_some_and(|known| place > known.begun)
    }

    /// The disk has failed: the kernel may forget what it did not take, and the next life would not know.
    pub(super) fn end(&self) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = files::remove(&self.folder.join(FILE)) {
            tracing::error!(%error, folder = %self.folder.display(),
                "the era of the log cannot be ended; should the node die now, what had begun might begin again");
        }
    }
}

fn open_for(folder: &Path, boot: &str, newest: Place) -> io::Result<Known> {
    let file = folder.join(FILE);
    if let Some(known) = read(&fs::read_to_string(&file).unwrap_or_default(), boot) {
        return Ok(known);
    }
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    let number = u64::from_le_bytes(bytes);
    let draft = folder.join(format!("{FILE}.new"));
    let mut written = files::private().create(true).truncate(true).open(&draft)?;
    let (time, rank) = newest;
    writeln!(written, "{boot} {number} {time} {rank}")?;
    written.sync_all()?;
    fs::rename(&draft, &file)?;
    files::sync_folder(folder)?;
    Ok(Known { number, begun: newest })
}

/// The era in the text of its file, if it is of this life of the kernel.
fn read(text: &str, boot: &str) -> Option<Known> {
    let mut words = text.split_whitespace();
    if words.next() != Some(boot) {
        return None;
    }
    let number = words.next()?.parse().ok()?;
    let begun = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Known { number, begun })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_era_lasts_until_the_machine_goes_down() {
        let folder = tempfile::tempdir().unwrap();
        let first = open_for(folder.path(), "a", (5, 1)).unwrap();
        assert_eq!(first.begun, (5, 1));
        assert_eq!(open_for(folder.path(), "a", (7, 0)).unwrap(), first, "it began when it began");
        let second = open_for(folder.path(), "b", (7, 0)).unwrap();
        assert!(second.number != first.number && second.begun == (7, 0));
        assert_ne!(
            open_for(folder.path(), "a", (7, 0)).unwrap().number,
            first.number,
            "it does not come back"
        );
        for damage in ["", "b", "b x 1 1", "b 18446744073709551616 1 1", "b 7", "b 7 1", "\0\0"] {
            fs::write(folder.path().join(FILE), damage).unwrap();
            let anew = open_for(folder.path(), "b", (9, 0)).unwrap();
            assert_eq!(anew.begun, (9, 0), "{damage:?}");
            assert_eq!(open_for(folder.path(), "b", (9, 9)).unwrap(), anew, "{damage:?}");
        }
    }

    #[test]
    fn an_era_ends_with_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let era = Era::open(folder.path(), (5, 1));
        let number = era.number();
        assert!(number.is_some() && era.has_all_of((5, 2)) && !era.has_all_of((5, 1)));
        era.end();
        assert_eq!(era.number(), None);
        let next = Era::open(folder.path(), (8, 0));
        assert!(next.number() != number && !next.has_all_of((8, 0)), "even without a new machine");
    }
}
