//! The files of the version 2 tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CgroupError, read_keyed, read_number, read_value, write_value};

/// Where the node itself moves when its own group must hand controllers down: such a group may hold no process.
const NODE_LEAF: &str = "chasen-itself";

/// The folder of this process's own group, from the text of `/proc/self/cgroup`.
pub(super) fn own_group(mount: &Path, own: &str) -> PathBuf {
    let path = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let group = mount.join(path.trim_start_matches('/'));
    match group.file_name() {
        // A node that moved into its leaf before still owns the group above.
        Some(name) if name == NODE_LEAF => group.parent().map(Path::to_path_buf).unwrap_or(group),
        _ => group,
    }
}

/// Whether groups below this one can have the controller.
pub(super) fn offers(folder: &Path, controller: &str) -> bool {
    read_value(folder, "cgroup.controllers")
        .is_ok_and(|text| text.split_whitespace().any(|name| name == controller))
}

/// Gives controllers (`+memory +pids`) to the groups below `base`.
pub(super) fn give(base: &Path, wanted: &str) -> Result<(), CgroupError> {
    match write_value(base, "cgroup.subtree_control", wanted) {
        // Processes live in the group itself: step aside and try again. Others' processes stay and the refusal with them.
        Err(error) if error.source.kind() == io::ErrorKind::ResourceBusy => {
            let leaf = base.join(NODE_LEAF);
            match fs::create_dir(&leaf) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CgroupError { path: leaf, source: error });
                }
                _ => {}
            }
            write_value(&leaf, "cgroup.procs", "0")?;
            write_value(base, "cgroup.subtree_control", wanted)
        }
        other => other,
    }
}

/// Opens the file that freezes the group.
pub(super) fn open_freezer(folder: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).open(folder.join("cgroup.freeze"))
}

/// What to write there.
pub(super) fn freezer_word(frozen: bool) -> &'static [u8] {
    if frozen { b"1" } else { b"0" }
}

/// Opens the file through which a process enters.
pub(super) fn open_entrance(folder: &Path) -> Result<fs::File, CgroupError> {
    let path = folder.join("cgroup.procs");
    fs::OpenOptions::new().write(true).open(&path).map_err(CgroupError::at(&path))
}

/// Ends every process of the group at once; kernels before 5.14 have no such file.
pub(super) fn kill(folder: &Path) -> Result<(), CgroupError> {
    write_value(folder, "cgroup.kill", "1")
}

/// How many processes were ended for want of memory.
pub(super) fn oom_kills(folder: &Path) -> Option<u64> {
    read_keyed(folder, "memory.events", "oom_kill")
}

/// Most memory held at one time, bytes; what is held now on kernels that do not keep the peak.
pub(super) fn memory_peak(folder: &Path) -> Option<u64> {
    read_number(folder, "memory.peak").or_else(|| memory_now(folder))
}

/// Memory held now, bytes.
pub(super) fn memory_now(folder: &Path) -> Option<u64> {
    read_number(folder, "memory.current")
}

/// Processor time used, nanoseconds.
pub(super) fn cpu_ns(folder: &Path) -> Option<u64> {
    read_keyed(folder, "cpu.stat", "usage_usec").map(|us| us.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_key() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("memory.events"), "low 0\noom 3\noom_kill 2\noom_group_kill 1\n")
            .unwrap();
        fs::write(folder.path().join("cpu.stat"), "usage_usec 12\nuser_usec 5\n").unwrap();
        assert_eq!(oom_kills(folder.path()), Some(2));
        assert_eq!(cpu_ns(folder.path()), Some(12_000));
        assert_eq!(memory_peak(folder.path()), None);
    }

    #[test]
    fn own_group_is_the_one_above_the_nodes_leaf() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(own_group(mount, "0::/a/b\n"), Path::new("/sys/fs/cgroup/a/b"));
        assert_eq!(own_group(mount, "1:cpu:/\n0::/a/chasen-itself\n"), Path::new("/sys/fs/cgroup/a"));
    }
}
