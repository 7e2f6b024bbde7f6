//! A cell that waits for its program's files: everything that takes time is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::wire::{self, FilesCome};
use crate::cell::Cell;

/// A cell that is ready for its program, made by [`super::Helper::prepare`]. Dropping it ends the cell in the background.
#[derive(Debug)]
pub struct PreparedCell {
    pub(super) cell: Cell,
    /// Where the program's files go; the program reads the other end, and ends when this one is closed.
    pub(super) door: OwnedFd,
}

impl PreparedCell {
    /// Whether it waits still; its helper may have ended, and it with it.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.cell.has_ended()
    }

    /// Gives the program its files, which become its descriptors 0, 1, 2, 3, …; at most [`crate::cell::MAX_FILES`].
    ///
    /// # Errors
    /// When the cell has ended; what is left of it ends in the background.
    pub fn begin(self, files: &[OwnedFd]) -> io::Result<Cell> {
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        wire::send(self.door.as_fd(), &wire::encode(&FilesCome)?, &files)?;
        Ok(self.cell)
    }

    /// Ends it; resolves when nothing of it is left, or nobody can tell.
    pub async fn end(self) {
        // Without a helper it has ended already.
        let _ = self.cell.kill().await;
    }
}
