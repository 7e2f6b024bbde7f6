//! Files of the run folder that a node holds while it lives, however it dies.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::error::NetworkError;

/// Opens the file `name` of `run_dir`, made with its folder when absent, for its owner only.
pub(super) fn open(run_dir: &Path, name: &str) -> Result<File, NetworkError> {
    let failed = |path: &Path, source| NetworkError::RunFolder { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(|error| failed(run_dir, error))?;
    let path = run_dir.join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| failed(&path, error))
}

/// Holds the file `name` of `run_dir` as long as the returned value lives; `None` when another
/// process, or another part of this one, holds it.
pub(super) fn hold(run_dir: &Path, name: &str) -> Result<Option<File>, NetworkError> {
    let mut file = open(run_dir, name)?;
    match file.try_lock() {
        Ok(()) => {
            // For people only: who holds it.
            let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(NetworkError::RunFolder { path: run_dir.join(name), source }),
    }
}
