//! An action's code: from its text to a tree of files, whatever the text holds.

mod tree;
mod unpack;

use std::io;
use std::path::PathBuf;

pub use tree::EXEC;
pub use unpack::{decode, holds_file, is_executable, is_zip, open_within, unpack, unpack_binary, unpack_tar};

/// What an archive may unpack to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of all files.
    pub total: u64,
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes written per byte of archive, beyond `ratio_free` bytes.
    pub ratio: u64,
    /// Bytes that the ratio does not look at.
    pub ratio_free: u64,
    /// Folders above a file.
    pub depth: usize,
    /// Bytes of a path or of a link's text.
    pub path_len: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            total: 512 << 20,
            entries: 100_000,
            ratio: 100,
            ratio_free: 32 << 20,
            depth: 64,
            path_len: 1024,
        }
    }
}

/// What an action's code turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Plain text, in the file `exec`.
    Source,
    /// A zip or tar.gz archive, unpacked.
    Archive,
    /// Any other binary, as the program `exec`.
    Executable,
}

/// What is wrong with an action's code: the developer's to repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// The text is not base64 from this byte on.
    #[error("illegal base64 data at input byte {0}")]
    Base64(usize),
    /// Compression or structure is broken.
    #[error("the archive is damaged: {0}")]
    Damaged(String),
    /// An absolute name, one with `..`, or one too long.
    #[error("the archive has an entry of illegal name '{}'", .0.display())]
    Name(PathBuf),
    /// Neither file, folder nor symbolic link.
    #[error("the archive entry '{}' is neither a file, a folder nor a symbolic link", .0.display())]
    Kind(PathBuf),
    /// A link that leads out of the archive.
    #[error("the archive's symbolic link '{}' leads out of it", .0.display())]
    Link(PathBuf),
    /// Two entries that exclude each other.
    #[error("the archive entry '{}' conflicts with another one", .0.display())]
    Clash(PathBuf),
    /// More entries than this.
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// More bytes than this.
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
}

/// Why one piece of code was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The code is to blame.
    #[error(transparent)]
    Code(#[from] BadCode),
    /// The disk is.
    #[error("the code could not be written: {0}")]
    Disk(io::Error),
}
