//! Control groups of cells, on version 1, version 2 and hosts that mount both.
//!
//! Each cell has one group, `<tree>/chasen-<node>/<cell>`, in every tree that holds a controller it needs. The
//! helper makes and removes groups ([`Group`]); the node reads and freezes them directly ([`Control`]). On a hybrid
//! host limits come from the version 1 trees, birth and freezing from the version 2 tree, which are quicker there.

mod control;
mod group;
mod layout;
mod limits;
mod v1;
mod v2;

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

pub use control::Control;
pub(crate) use group::{Entrances, Group};
pub use layout::{Controller, Layout};

/// A control group file that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("control group {}: {source}", path.display())]
pub struct CgroupError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl CgroupError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_path_buf(), source }
    }
}

/// Writes a value in one call, as these files want it.
fn write_value(folder: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = folder.join(file);
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(CgroupError::at(&path))
}

/// Reads a whole file of bounded size.
fn read_value(folder: &Path, file: &str) -> Result<String, CgroupError> {
    const MOST: u64 = 64 * 1024;
    let path = folder.join(file);
    let mut text = String::new();
    fs::File::open(&path)
        .and_then(|file| file.take(MOST).read_to_string(&mut text))
        .map_err(CgroupError::at(&path))?;
    Ok(text)
}

/// Reads a file that holds one number.
fn read_number(folder: &Path, file: &str) -> Option<u64> {
    read_value(folder, file).ok()?.trim().parse().ok()
}

/// Finds the number behind `key` in a file of `key value` lines.
fn read_keyed(folder: &Path, file: &str, key: &str) -> Option<u64> {
    let text = read_value(folder, file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The process numbers in a group.
fn processes(folder: &Path) -> Vec<i32> {
    read_value(folder, "cgroup.procs").map_or_else(
        |_| Vec::new(),
        |text| text.lines().filter_map(|line| line.trim().parse().ok()).collect(),
    )
}
