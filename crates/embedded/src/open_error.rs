//! Why a data folder cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use chasen_spi::StoreError;

use crate::lock::Holder;

/// Why a data folder cannot be opened. Each text says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another node uses the folder.
    #[error(
        "the data folder '{}' is in use by another node ({holder}); stop that node, or give this one a folder of its own",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The data were written by a later release.
    #[error(
        "'{}' was written by a newer release (format {found}, this one reads up to {supported}); run that release or restore an older copy",
        file.display()
    )]
    Newer {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that is known here.
        supported: u32,
    },
    /// The stored secrets were sealed with another key.
    #[error(
        "'{}' is not the key that the secrets in this folder were sealed with; put the right file back, or create the subjects anew in a new folder",
        file.display()
    )]
    WrongKey {
        /// The key file.
        file: PathBuf,
    },
    /// A key is gone that secrets in the folder were sealed with.
    #[error(
        "'{}' is missing, and secrets in this folder were sealed with it; put it back, or create everything anew in a new folder",
        file.display()
    )]
    MissingKey {
        /// The key file.
        file: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} '{}': {source}; check that the folder is writable and the disk has room", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The engine inside refused.
    #[error("cannot open '{}': {source}", file.display())]
    Store {
        /// Which file.
        file: PathBuf,
        /// What it said.
        source: StoreError,
    },
    /// The environment asks for faults that there are not.
    #[cfg(any(test, feature = "faults"))]
    #[error(transparent)]
    Faults(#[from] crate::faults::FaultError),
}

impl OpenError {
    /// Adds what was tried to an error of the operating system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
