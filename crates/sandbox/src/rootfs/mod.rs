//! Roots that were built for the node: interpreters that the machine itself does not have.
//!
//! Each is a folder below `<data>/rootfs`, named after what it was built from, with a record of what it holds. It
//! appears there whole or not at all, so whoever finds a record may use what it names.

pub mod recipe;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The record's file in a built root's folder.
pub const RECORD: &str = "rootfs.json";
/// The folder of its files, beside the record.
pub const FILES: &str = "files";
/// Longest record that is read, in bytes.
const MAX_RECORD: u64 = 64 << 10;
/// Where cells find the files of roots that are no whole system.
const INSIDE: &str = "/opt/built";

/// A root that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltRoot {
    /// As its folder is named.
    pub name: String,
    /// Its files.
    pub files: PathBuf,
    /// What it holds.
    pub record: Record,
}

/// What is written down about a root when it is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What its files are.
    pub layout: Layout,
    /// What was found in it.
    pub interpreters: Vec<Held>,
    /// What its files take on the disk, in bytes.
    pub bytes: u64,
    /// When it was complete, in seconds since 1970.
    pub built: u64,
}

/// What a root's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// A whole system: cells see it instead of the machine's.
    System,
    /// A folder of programs for the machine's own system: cells see it besides.
    Folder,
}

/// An interpreter in a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// As manifests name it.
    pub command: String,
    /// Its whole version.
    pub version: String,
    /// Where: absolute in a whole system, else relative to the files.
    pub program: PathBuf,
}

impl BuiltRoot {
    /// Every root below `folder`, by name. What is not complete is passed over.
    #[must_use]
    pub fn all(folder: &Path) -> Vec<Arc<Self>> {
        let listing = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = listing.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| recipe::is_name(name)).collect();
        names.sort();
        names.iter().filter_map(|name| Self::read(folder, name).ok()).map(Arc::new).collect()
    }

    /// The root of this name.
    ///
    /// # Errors
    /// It is not there, or its record cannot be read.
    pub fn read(folder: &Path, name: &str) -> io::Result<Self> {
        let folder = folder.join(name);
        let record = folder.join(RECORD);
        if record.metadata()?.len() > MAX_RECORD {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its record is too long to be one"));
        }
        let record: Record = serde_json::from_slice(&fs::read(record)?)?;
        Ok(Self { name: name.to_owned(), files: folder.join(FILES).canonicalize()?, record })
    }

    /// True as long as nobody removed it.
    pub(crate) fn is_there(&self) -> bool {
        self.files.parent().is_some_and(|folder| folder.join(RECORD).is_file())
    }

    /// Its files, if they are a whole system.
    pub(crate) fn system(&self) -> Option<&Path> {
        (self.record.layout == Layout::System).then_some(self.files.as_path())
    }

    /// How a cell names one of its programs.
    pub(crate) fn inside(&self, held: &Held) -> PathBuf {
        match self.record.layout {
            Layout::System => held.program.clone(),
            Layout::Folder => self.folder_inside().join(&held.program),
        }
    }

    /// The same program for the machine itself; `None` where it cannot be started without its system.
    pub(crate) fn on_host(&self, program: &Path) -> Option<PathBuf> {
        let rest = program.strip_prefix(self.folder_inside()).ok()?;
        self.system().is_none().then(|| self.files.join(rest))
    }

    /// Where cells find its files, if they are no whole system.
    pub(crate) fn folder_inside(&self) -> PathBuf {
        Path::new(INSIDE).join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, record: &str) {
        let root = folder.join(name);
        fs::create_dir_all(root.join(FILES)).unwrap();
        fs::write(root.join(RECORD), record).unwrap();
    }

    const GOOD: &str = r#"{"layout":"folder","bytes":1,"built":2,
        "interpreters":[{"command":"deno","version":"2.9.6","program":"bin/deno"}]}"#;

    #[test]
    fn only_complete_roots_are_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(BuiltRoot::all(&folder.path().join("nowhere")), []);
        write(folder.path(), "good", GOOD);
        write(folder.path(), "other.building", GOOD);
        write(folder.path(), "broken", "{");
        fs::create_dir_all(folder.path().join("empty").join(FILES)).unwrap();
        let found = BuiltRoot::all(folder.path());
        assert_eq!(found.iter().map(|root| root.name.as_str()).collect::<Vec<_>>(), ["good"]);
        let root = &found[0];
        let inside = root.inside(&root.record.interpreters[0]);
        assert_eq!(inside, Path::new("/opt/built/good/bin/deno"));
        assert_eq!(root.on_host(&inside), Some(root.files.join("bin/deno")));
        assert!(root.is_there());
        fs::remove_dir_all(folder.path().join("good")).unwrap();
        assert!(!root.is_there());
    }
}
