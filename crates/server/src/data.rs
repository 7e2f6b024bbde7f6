//! Folders of the node: its data, and the cache that all nodes of the machine share.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The data folder where none is given: `$XDG_DATA_HOME/chasen` or `~/.local/share/chasen`.
#[must_use]
pub fn default_folder() -> PathBuf {
    below("XDG_DATA_HOME", ".local/share")
}

/// The shared cache: `$XDG_CACHE_HOME/chasen` or `~/.cache/chasen`.
#[must_use]
pub fn cache_folder() -> PathBuf {
    below("XDG_CACHE_HOME", ".cache")
}

fn below(variable: &str, fallback: &str) -> PathBuf {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_else(|| PathBuf::from("/var/lib")).join(fallback);
    given.unwrap_or_else(home).join("chasen")
}

/// Makes the data folder, closed to others, and gives its one true path.
pub fn prepare(folder: &Path) -> io::Result<PathBuf> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    folder.canonicalize()
}

/// A short name for the node of a data folder, the same at every start: what the node makes on the machine
/// carries it, so that it finds its own leftovers and nobody else's.
#[must_use]
pub fn node_id(folder: &Path) -> String {
    let digest = Sha256::digest(folder.as_os_str().as_encoded_bytes());
    digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn data_folders_are_closed_and_have_one_name() {
        let parent = tempfile::tempdir().unwrap();
        let folder = prepare(&parent.path().join("a/../data")).unwrap();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(prepare(&folder).unwrap(), folder);
        assert_eq!(node_id(&folder).len(), 8);
        assert_ne!(node_id(&folder), node_id(parent.path()));
    }
}
