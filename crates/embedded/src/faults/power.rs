//! A power cut: what had not reached the disk is gone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use chasen_spi::Position;

use crate::event_log::{ERA, segments_in};
use crate::files;

/// The text of a mark.
pub(super) fn mark(end: Position) -> String {
    format!("{:020}\n", end.0)
}

/// Does to the log in a data folder, while no node runs on it, what a power cut does: takes everything away that was
/// behind the last commit. `mark` is the file that `synced-mark` named; without one nothing was committed. Gives how many
/// bytes of events went.
pub fn cut_unsynced(data: &Path, mark: &Path) -> io::Result<u64> {
    let end = match fs::read_to_string(mark) {
        Ok(text) => text.trim().parse().map_err(io::Error::other)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let events = data.join("events");
    // The machine went down.
    files::remove(&events.join(ERA))?;
    cut_behind(&events, Position(end))
}

/// Takes everything away in this folder of segments that lies behind a position.
pub(crate) fn cut_behind(events: &Path, end: Position) -> io::Result<u64> {
    let (last, used) = (end.0 >> 32, end.0 & u64::from(u32::MAX));
    let mut gone = 0;
    // The machine would come up with another id.
    files::remove(&events.join(ERA))?;
    for (number, path) in segments_in(events)? {
        let keep = match number.cmp(&last) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Equal => used,
            std::cmp::Ordering::Greater => 0,
        };
        let file = File::options().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(length.saturating_sub(keep)).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, keep.min(length))?;
        gone += bytes.iter().filter(|byte| **byte != 0).count() as u64;
        bytes.fill(0);
        file.write_all_at(&bytes, keep.min(length))?;
    }
    Ok(gone)
}
