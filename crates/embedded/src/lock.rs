//! The lock on a data folder: one node at a time, and it says who that is.
//!
//! The lock is the kernel's (`flock` on `node.lock`), so it ends with the process, however that ends. The file's
//! text, process and address, is for the one who finds the folder taken. Subjects may be administered without it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::{OpenError, files};

/// Name of the lock's file.
const FILE: &str = "node.lock";
/// A holder writes its text right after it has the lock; this long we wait for it.
const PATIENCE: Duration = Duration::from_millis(20);

/// Who holds a folder, as far as its lock file tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// Process id.
    pub process: Option<u32>,
    /// Where it listens.
    pub address: Option<String>,
}

impl Holder {
    fn parse(text: &str) -> Self {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        Self {
            process: field("process ").and_then(|number| number.parse().ok()),
            address: field("address ").filter(|address| !address.is_empty()).map(str::to_owned),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.process, &self.address) {
            (Some(process), Some(address)) => write!(f, "process {process}, listening on {address}"),
            (Some(process), None) => write!(f, "process {process}"),
            (None, _) => f.write_str("it has not said who it is"),
        }
    }
}

/// The lock; dropping it frees the folder.
#[derive(Debug)]
pub struct NodeLock {
    file: File,
    path: PathBuf,
}

impl NodeLock {
    /// Takes the folder, which must exist, or says who has it.
    pub fn acquire(folder: &Path, address: &str) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let file = files::private()
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io("open the lock file", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { folder: folder.to_owned(), holder: holder(&path) });
            }
            Err(TryLockError::Error(error)) => return Err(OpenError::io("lock", &path)(error)),
        }
        let lock = Self { file, path };
        lock.announce(address)?;
        Ok(lock)
    }

    /// Writes down where this node listens.
    pub fn announce(&self, address: &str) -> Result<(), OpenError> {
        let text = format!("process {}\naddress {address}\n", std::process::id());
        self.rewrite(&text).map_err(OpenError::io("write the lock file", &self.path))
    }

    fn rewrite(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

impl Drop for NodeLock {
    fn drop(&mut self) {
        // Only a courtesy: the lock itself ends with the process.
        if let Err(error) = self.rewrite("") {
            tracing::debug!(%error, "the lock file could not be emptied");
        }
        // Closing alone frees it late if a process is being started just now: that one holds the file for a moment, too.
        let _ = self.file.unlock();
    }
}

/// Who holds a folder at the moment, if somebody does. Changes nothing.
pub(crate) fn holder_of(folder: &Path) -> Result<Option<Holder>, OpenError> {
    let path = folder.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OpenError::io("open the lock file", &path)(error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Ok(Some(holder(&path))),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path)(error)),
    }
}

fn holder(path: &Path) -> Holder {
    let read = || fs::read_to_string(path).map(|text| Holder::parse(&text)).unwrap_or_default();
    let first = read();
    if first.process.is_some() {
        return first;
    }
    thread::sleep(PATIENCE);
    read()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_is_told_who_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = NodeLock::acquire(folder.path(), "127.0.0.1:0").unwrap();
        lock.announce("127.0.0.1:3233").unwrap();
        let text = NodeLock::acquire(folder.path(), "elsewhere").unwrap_err().to_string();
        let holder = format!("process {}, listening on 127.0.0.1:3233", std::process::id());
        assert!(text.contains(&holder) && text.contains("stop that node"), "{text}");
        drop(lock);
        NodeLock::acquire(folder.path(), "elsewhere").unwrap();
    }

    #[test]
    fn a_lock_file_without_text_is_no_riddle() {
        assert_eq!(Holder::parse(""), Holder::default());
        assert_eq!(Holder::parse("process x\naddress \n").to_string(), "it has not said who it is");
    }
}
