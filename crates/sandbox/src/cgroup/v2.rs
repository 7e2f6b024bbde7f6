//! The files of the version 2 tree.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{CgroupError, Controller, read_keyed, read_number, read_value, write_value};
use crate::cell::Limits;

/// Length of the period in which a processor quota is counted, microseconds.
const QUOTA_PERIOD_US: u64 = 100_000;
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

/// Writes the limits that one controller enforces.
pub(super) fn limit(folder: &Path, controller: Controller, limits: &Limits) -> Result<(), CgroupError> {
    match controller {
        Controller::Memory => {
            write_value(folder, "memory.max", &limits.memory.to_string())?;
            match write_value(folder, "memory.swap.max", "0") {
                // The kernel has no swap accounting, or the machine no swap at all.
                Err(error) if error.source.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
            // The launcher and what it started go together: half a cell answers nothing sensible.
            write_value(folder, "memory.oom.group", "1")
        }
        Controller::Pids => write_value(folder, "pids.max", &limits.pids.to_string()),
        Controller::Cpu => {
            write_value(folder, "cpu.weight", &weight_from_shares(limits.cpu_weight).to_string())?;
            match limits.cpu_quota {
                Some(thousandths) => {
                    let quota = (u64::from(thousandths) * QUOTA_PERIOD_US / 1000).max(1000);
                    write_value(folder, "cpu.max", &format!("{quota} {QUOTA_PERIOD_US}"))
                }
                None => Ok(()),
            }
        }
        Controller::Cpuacct | Controller::Freezer => Ok(()),
    }
}

/// Maps version 1 shares (2..=262144) to weights (1..=10000) so that the ends meet.
fn weight_from_shares(shares: u32) -> u64 {
    1 + (u64::from(shares.clamp(2, 262_144)) - 2) * 9999 / 262_142
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
    fn shares_map_onto_the_whole_range_of_weights() {
        assert_eq!(weight_from_shares(0), 1);
        assert_eq!(weight_from_shares(2), 1);
        assert_eq!(weight_from_shares(1024), 39);
        assert_eq!(weight_from_shares(262_144), 10_000);
        assert_eq!(weight_from_shares(u32::MAX), 10_000);
    }

    #[test]
    fn limits_are_written_in_version_2_form() {
        let folder = tempfile::tempdir().unwrap();
        let files = ["memory.max", "memory.oom.group", "pids.max", "cpu.weight", "cpu.max"];
        for file in files {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let limits = Limits { cpu_quota: Some(250), ..Limits::with_memory(1 << 20) };
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            limit(folder.path(), controller, &limits).unwrap();
        }
        let written = files.map(|file| fs::read_to_string(folder.path().join(file)).unwrap());
        assert_eq!(written, ["1048576", "1", "1024", "39", "25000 100000"]);
    }

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
