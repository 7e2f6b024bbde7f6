//! The files of version 1 trees: one tree per controller, or a few that share one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CgroupError, Controller, read_keyed, read_number, write_value};
use crate::cell::Limits;

/// Length of the period in which a processor quota is counted, microseconds.
const QUOTA_PERIOD_US: u64 = 100_000;

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

/// Writes the limits that one controller enforces.
pub(super) fn limit(folder: &Path, controller: Controller, limits: &Limits) -> Result<(), CgroupError> {
    match controller {
        Controller::Memory => {
            let bytes = limits.memory.to_string();
            write_value(folder, "memory.limit_in_bytes", &bytes)?;
            match write_value(folder, "memory.memsw.limit_in_bytes", &bytes) {
                // The kernel was built without swap accounting: then swap is not counted, but bounded by nothing else.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                    write_value(folder, "memory.swappiness", "0")
                }
                other => other,
            }
        }
        Controller::Pids => write_value(folder, "pids.max", &limits.pids.to_string()),
        Controller::Cpu => {
            write_value(folder, "cpu.shares", &limits.cpu_weight.clamp(2, 262_144).to_string())?;
            match limits.cpu_quota {
                Some(thousandths) => {
                    write_value(folder, "cpu.cfs_period_us", &QUOTA_PERIOD_US.to_string())?;
                    let quota = (u64::from(thousandths) * QUOTA_PERIOD_US / 1000).max(1000);
                    write_value(folder, "cpu.cfs_quota_us", &quota.to_string())
                }
                None => Ok(()),
            }
        }
        Controller::Cpuacct | Controller::Freezer => Ok(()),
    }
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
    fn limits_are_written_to_each_controllers_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = [
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "pids.max",
            "cpu.shares",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
        ];
        for file in files {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let limits = Limits { cpu_weight: 512, cpu_quota: Some(1500), ..Limits::with_memory(1 << 20) };
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            limit(folder.path(), controller, &limits).unwrap();
        }
        let written = files.map(|file| fs::read_to_string(folder.path().join(file)).unwrap());
        assert_eq!(written, ["1048576", "1048576", "1024", "512", "100000", "150000"]);
    }

    #[test]
    fn lines_of_other_file_systems_are_passed_over() {
        assert!(parse_mount("22 1 0:20 / /proc rw - proc proc rw").is_none());
        assert!(parse_mount("garbage").is_none());
    }
}
