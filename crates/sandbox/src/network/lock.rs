//! Files of the run folder that a node holds while it lives, however it dies.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

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

/// A file that is held. It is removed when this is dropped; that of a killed process stays for the next holder.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    /// Closed, and so let go of, after the file is removed.
    _file: File,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Holds the file `name` of `run_dir` as long as the returned value lives; `None` when another
/// process, or another part of this one, holds it.
pub(super) fn hold(run_dir: &Path, name: &str) -> Result<Option<Held>, NetworkError> {
    let path = run_dir.join(name);
    loop {
        let mut file = open(run_dir, name)?;
        match file.try_lock() {
            // An earlier holder may have removed the file between the opening and the locking.
            Ok(()) if !is_at(&file, &path) => {}
            Ok(()) => {
                // For people only: who holds it.
                let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
                return Ok(Some(Held { path, _file: file }));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(NetworkError::RunFolder { path, source }),
        }
    }
}

/// Waits until nobody else has the turn of the file `name` of `run_dir`, and takes it until the returned file is
/// dropped. For steps that end by themselves within moments.
pub(super) fn turn(run_dir: &Path, name: &str) -> Result<File, NetworkError> {
    let file = open(run_dir, name)?;
    file.lock().map_err(|source| NetworkError::RunFolder { path: run_dir.join(name), source })?;
    Ok(file)
}

/// True if the file is the one at this path.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(there)) => identity(&held) == identity(&there),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let held = hold(folder.path(), "a.lock").unwrap().unwrap();
        assert!(hold(folder.path(), "a.lock").unwrap().is_none());
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn there_is_never_more_than_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let holders = std::sync::atomic::AtomicUsize::new(0);
        let compete = || {
            for _ in 0..2000 {
                let Some(_held) = hold(folder.path(), "a.lock").unwrap() else { continue };
                assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(compete))));
    }
}
