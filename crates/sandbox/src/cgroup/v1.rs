//! The files of version 1 trees: one tree per controller, or a few that share one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CgroupError, read_keyed, read_number};

/// One mounted tree of either version.
pub(super) struct Mount {
    pub(super) folder: PathBuf,
    pub(super) version_2: bool,
    pub(super) options: Vec<String>,
}

/// Reads one line of `mountinfo`; `None` for anything but a control group tree.
pub(super) fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let folder = left.split(' ').nth(4)?;
    let mut right = right.split(' ');
    let kind = right.next()?;
    let options = right.nth(1)?;
    matches!(kind, "cgroup" | "cgroup2").then(|| Mount {
        folder: PathBuf::from(folder),
        version_2: kind == "cgroup2",
        // Version 2 names controllers in its files, not here.
        options: if kind == "cgroup" { options.split(',').map(str::to_owned).collect() } else { Vec::new() },
    })
}

/// Opens the file through which a single-threaded process enters the group by itself.
///
/// A process that writes `0` to `tasks` moves only itself, which spares the kernel the lock over all forks of the
/// machine, and with it milliseconds, that `cgroup.procs` costs.
pub(super) fn open_entrance(folder: &Path) -> Result<fs::File, CgroupError> {
    let path = folder.join("tasks");
    fs::OpenOptions::new().write(true).open(&path).map_err(CgroupError::at(&path))
}

/// Opens the file that freezes the group.
pub(super) fn open_freezer(folder: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).open(folder.join("freezer.state"))
}

/// What to write there.
pub(super) fn freezer_word(frozen: bool) -> &'static [u8] {
    if frozen { b"FROZEN" } else { b"THAWED" }
}

/// Freezes or thaws by path, for the few calls that keep no file open.
pub(super) fn freeze(folder: &Path, frozen: bool) -> io::Result<()> {
    use std::io::Write as _;
    open_freezer(folder)?.write_all(freezer_word(frozen))
}

/// How many processes were ended for want of memory.
pub(super) fn oom_kills(folder: &Path) -> Option<u64> {
    read_keyed(folder, "memory.oom_control", "oom_kill")
}

/// Most memory held at one time, bytes.
pub(super) fn memory_peak(folder: &Path) -> Option<u64> {
    read_number(folder, "memory.max_usage_in_bytes")
}

/// Memory held now, bytes.
pub(super) fn memory_now(folder: &Path) -> Option<u64> {
    read_number(folder, "memory.usage_in_bytes")
}

/// Processor time used, nanoseconds.
pub(super) fn cpu_ns(folder: &Path) -> Option<u64> {
    read_number(folder, "cpuacct.usage")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_file_systems_are_passed_over() {
        assert!(parse_mount("22 1 0:20 / /proc rw - proc proc rw").is_none());
        assert!(parse_mount("garbage").is_none());
    }
}
