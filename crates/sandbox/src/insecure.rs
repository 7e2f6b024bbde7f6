//! Plain processes instead of cells, for [`crate::helper::Mode::InsecureProcess`].
//!
//! **Nothing here isolates.** The processes run as the node's user, see its files, its network and its other
//! processes. What they get is order: an own session, an own scratch folder, a clean environment, bounded files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::helper::MountError;

/// A plain process's private folder.
pub(crate) fn home(scratch_dir: &Path, name: &str) -> PathBuf {
    scratch_dir.join("plain").join(name)
}

/// The part of it that stands for [`crate::cell::ACTION_FOLDER`].
pub(crate) fn action_folder(scratch_dir: &Path, name: &str) -> PathBuf {
    home(scratch_dir, name).join("action")
}

/// The part of it that stands for `/tmp`.
pub(crate) fn tmp_folder(scratch_dir: &Path, name: &str) -> PathBuf {
    home(scratch_dir, name).join("tmp")
}

/// Copies a layer into a plain process's action folder, off the async threads.
///
/// # Errors
/// When it is larger than `most_bytes` or the disk refuses.
pub(crate) async fn copy_code(layer: &Path, to: &Path, most_bytes: u64) -> Result<(), MountError> {
    let (layer, to) = (layer.to_path_buf(), to.to_path_buf());
    let copied = tokio::task::spawn_blocking(move || {
        let mut room = most_bytes;
        copy_tree(&layer, &to, &mut room)
    })
    .await;
    match copied {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(MountError::Refused(format!("copying the code: {error}"))),
        Err(error) => Err(MountError::Refused(format!("copying the code was cut short: {error}"))),
    }
}

fn copy_tree(from: &Path, to: &Path, room: &mut u64) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, room)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, target)?;
        } else if kind.is_file() {
            let left = room.checked_sub(entry.metadata()?.len());
            *room =
                left.ok_or_else(|| io::Error::new(io::ErrorKind::StorageFull, "the code is too large"))?;
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_copied_whole_or_refused_by_size() {
        let folder = tempfile::tempdir().unwrap();
        let layer = folder.path().join("layer");
        fs::create_dir_all(layer.join("lib")).unwrap();
        fs::write(layer.join("lib/a.js"), "12345").unwrap();
        std::os::unix::fs::symlink("lib/a.js", layer.join("link")).unwrap();
        copy_tree(&layer, &folder.path().join("copy"), &mut 5).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("copy/link")).unwrap(), "12345");
        let error = copy_tree(&layer, &folder.path().join("other"), &mut 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
