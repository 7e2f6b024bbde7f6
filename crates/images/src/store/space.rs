//! Room on the disk: looked at before and while it is used, so that an image never fills the node's own.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::ImageError;

/// Bytes that are written between two looks.
const STRIDE: u64 = 32 << 20;

/// Watches over the disk of one folder.
#[derive(Debug)]
pub(crate) struct Space {
    folder: PathBuf,
    reserve: u64,
    /// Bytes that may be written before the next look.
    granted: u64,
}

impl Space {
    /// Looks at the disk; `reserve` bytes of it stay free.
    ///
    /// # Errors
    /// [`ImageError::Full`] if they are not free now.
    pub(crate) fn new(folder: &Path, reserve: u64) -> Result<Self, ImageError> {
        let mut space = Self { folder: folder.to_owned(), reserve, granted: 0 };
        space.look(0)?;
        Ok(space)
    }

    /// To be called before so many bytes are written.
    ///
    /// # Errors
    /// [`ImageError::Full`].
    pub(crate) fn spend(&mut self, bytes: u64) -> Result<(), ImageError> {
        if bytes > self.granted {
            self.look(bytes)?;
        }
        self.granted = self.granted.saturating_sub(bytes);
        Ok(())
    }

    /// What a failed write means.
    pub(crate) fn failed(&self, path: &Path, error: io::Error) -> ImageError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.full(self.free().unwrap_or(0)),
            _ => ImageError::Disk { path: path.to_owned(), source: error },
        }
    }

    fn look(&mut self, bytes: u64) -> Result<(), ImageError> {
        let free = self.free().map_err(ImageError::at(&self.folder))?;
        let room = free.saturating_sub(self.reserve);
        if room == 0 || room < bytes {
            return Err(self.full(free));
        }
        self.granted = room.min(STRIDE.max(bytes));
        Ok(())
    }

    fn full(&self, free: u64) -> ImageError {
        ImageError::Full { folder: self.folder.clone(), free, reserve: self.reserve }
    }

    /// Bytes that ordinary users may still write.
    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// A file below `folder` that has no name and goes with its last holder.
pub(crate) fn nameless(folder: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::from(0o600)) {
        Ok(file) => Ok(file.into()),
        // Some disks have none: a file that loses its name at once is the same.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
            let path = folder.join(format!("nameless-{}", std::process::id()));
            let file = File::options().read(true).write(true).create_new(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        }
        Err(error) => Err(error.into()),
    }
}
