//! Disks that a scenario can fill, slow down or break, for the data of one node.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_testkit::{Builder, faults_binary, node};

/// A small file system in memory, gone with the value. A sync of it takes no time, however busy the machine's disk is.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// One of this size, as `mount` writes it.
    pub(crate) fn mount(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder.path());
        assert!(mount.status().unwrap().success(), "{mount:?}");
        Self { folder }
    }

    /// Where a node's data may lie.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes all that is free; removing the file frees it.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("ballast");
        let mut ballast = File::create(&path).unwrap();
        let zeros = vec![0; 1 << 16];
        while ballast.write_all(&zeros).is_ok() {}
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The node may still be about to close its files.
        let mut unmount = Command::new("umount");
        unmount.arg("--lazy").arg(self.folder.path());
        let _ = unmount.status();
    }
}

/// Faults that come and go while a node runs.
pub(crate) struct Faults {
    folder: tempfile::TempDir,
}

impl Faults {
    /// None yet.
    pub(crate) fn none() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A node that has them.
    pub(crate) fn node(&self) -> Builder {
        let binary = faults_binary().expect("the scenario needs faults");
        node()
            .program(&binary)
            .environment("CHASEN_FAULTS", &format!("faults-file={}", self.file().display()))
    }

    /// From now on these go wrong; see the module `faults` of the embedded stores.
    pub(crate) fn set(&self, faults: &str) {
        // In one step: who reads sees the one or the other.
        let next = self.folder.path().join("next");
        std::fs::write(&next, faults).unwrap();
        std::fs::rename(next, self.file()).unwrap();
    }

    /// All is well again.
    pub(crate) fn end(&self) {
        std::fs::remove_file(self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        Path::new(self.folder.path()).join("faults")
    }
}
