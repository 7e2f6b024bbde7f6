//! What is written into a cell's control groups: the only list of it, for both versions.

use std::io;
use std::path::Path;

use chasen_runtime::walls::{self, Wall};

use super::{CgroupError, Controller, write_value};
use crate::cell::Limits;

/// Length of the period in which a processor quota is counted, microseconds.
const QUOTA_PERIOD_US: u64 = 100_000;
/// Shares of version 1, from the least to the most that the kernel takes.
const SHARES: std::ops::RangeInclusive<u32> = 2..=262_144;

/// One file of a group and what it shall say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    file: &'static str,
    value: String,
    /// What to do on kernels that have no such file.
    otherwise: Otherwise,
}

#[derive(Debug, PartialEq, Eq)]
enum Otherwise {
    /// The cell cannot be.
    Fail,
    /// Nothing: what it bounds is not there either.
    Pass,
    /// This file and value take its place.
    Write(&'static str, &'static str),
}

impl Setting {
    fn new(file: &'static str, value: impl ToString) -> Self {
        Self { file, value: value.to_string(), otherwise: Otherwise::Fail }
    }

    fn or(self, otherwise: Otherwise) -> Self {
        Self { otherwise, ..self }
    }
}

/// The settings of version 1.
pub(super) fn of_version_1(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Memory => vec![
            Setting::new("memory.limit_in_bytes", limits.memory),
            // A kernel without swap accounting does not count swap: then the cell shall have none.
            Setting::new("memory.memsw.limit_in_bytes", limits.memory)
                .or(Otherwise::Write("memory.swappiness", "0")),
        ],
        Controller::Pids => vec![Setting::new("pids.max", limits.pids)],
        Controller::Cpu => {
            let shares = limits.cpu_weight.clamp(*SHARES.start(), *SHARES.end());
            let mut settings = vec![Setting::new("cpu.shares", shares)];
            if let Some(quota) = quota(limits) {
                settings.push(Setting::new("cpu.cfs_period_us", QUOTA_PERIOD_US));
                settings.push(Setting::new("cpu.cfs_quota_us", quota));
            }
            settings
        }
        Controller::Cpuacct | Controller::Freezer => Vec::new(),
    }
}

/// The settings of version 2.
pub(super) fn of_version_2(controller: Controller, limits: &Limits) -> Vec<Setting> {
    match controller {
        Controller::Memory => vec![
            Setting::new("memory.max", limits.memory),
            // The kernel has no swap accounting, or the machine no swap at all.
            Setting::new("memory.swap.max", 0).or(Otherwise::Pass),
            // The launcher and what it started go together: half a cell answers nothing sensible.
            Setting::new("memory.oom.group", 1),
        ],
        Controller::Pids => vec![Setting::new("pids.max", limits.pids)],
        Controller::Cpu => {
            let mut settings = vec![Setting::new("cpu.weight", weight_from_shares(limits.cpu_weight))];
            if let Some(quota) = quota(limits) {
                settings.push(Setting::new("cpu.max", format!("{quota} {QUOTA_PERIOD_US}")));
            }
            settings
        }
        Controller::Cpuacct | Controller::Freezer => Vec::new(),
    }
}

/// Writes what one controller of a group shall enforce.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn write(folder: &Path, controller: Controller, settings: &[Setting]) -> Result<(), CgroupError> {
    let stands = match controller {
        Controller::Memory => walls::stand(Wall::MemoryLimit),
        Controller::Pids => walls::stand(Wall::ProcessLimit),
        Controller::Cpu | Controller::Cpuacct | Controller::Freezer => true,
    };
    for Setting { file, value, otherwise } in settings.iter().filter(|_| stands) {
        match (write_value(folder, file, value), otherwise) {
            (Err(error), Otherwise::Pass) if error.source.kind() == io::ErrorKind::NotFound => {}
            (Err(error), Otherwise::Write(file, value)) if error.source.kind() == io::ErrorKind::NotFound => {
                write_value(folder, file, value)?;
            }
            (written, _) => written?,
        }
    }
    Ok(())
}

/// Processor time in one period, microseconds.
fn quota(limits: &Limits) -> Option<u64> {
    limits.cpu_quota.map(|thousandths| (u64::from(thousandths) * QUOTA_PERIOD_US / 1000).max(1000))
}

/// Maps version 1 shares (2..=262144) to weights (1..=10000) so that the ends meet.
fn weight_from_shares(shares: u32) -> u64 {
    let (least, most) = (u64::from(*SHARES.start()), u64::from(*SHARES.end()));
    1 + (u64::from(shares).clamp(least, most) - least) * 9999 / (most - least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(of: fn(Controller, &Limits) -> Vec<Setting>, limits: &Limits) -> Vec<String> {
        let settings = Controller::ALL.into_iter().flat_map(|controller| of(controller, limits));
        settings.map(|setting| format!("{} {}", setting.file, setting.value)).collect()
    }

    #[test]
    fn both_versions_bound_the_same() {
        let limits = Limits { cpu_weight: 512, cpu_quota: Some(1500), ..Limits::with_memory(1 << 20) };
        assert_eq!(
            told(of_version_1, &limits),
            [
                "memory.limit_in_bytes 1048576",
                "memory.memsw.limit_in_bytes 1048576",
                "pids.max 1024",
                "cpu.shares 512",
                "cpu.cfs_period_us 100000",
                "cpu.cfs_quota_us 150000"
            ]
        );
        assert_eq!(
            told(of_version_2, &limits),
            [
                "memory.max 1048576",
                "memory.swap.max 0",
                "memory.oom.group 1",
                "pids.max 1024",
                "cpu.weight 20",
                "cpu.max 150000 100000"
            ]
        );
        let unbounded = Limits { cpu_quota: None, ..limits };
        assert!(told(of_version_1, &unbounded).iter().all(|line| !line.contains("cfs")));
        assert!(told(of_version_2, &unbounded).iter().all(|line| !line.contains("cpu.max")));
    }

    #[test]
    fn kernels_without_a_file_get_what_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits::with_memory(1 << 20);
        let write_memory = |settings: &[Setting]| write(folder.path(), Controller::Memory, settings);
        std::fs::write(folder.path().join("memory.limit_in_bytes"), "").unwrap();
        let version_1 = of_version_1(Controller::Memory, &limits);
        assert!(write_memory(&version_1).is_err(), "neither the file nor its substitute is there");
        std::fs::write(folder.path().join("memory.swappiness"), "60").unwrap();
        write_memory(&version_1).unwrap();
        let swappiness = std::fs::read_to_string(folder.path().join("memory.swappiness")).unwrap();
        assert!(swappiness.starts_with('0'), "{swappiness}");
        for file in ["memory.max", "memory.oom.group"] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        write_memory(&of_version_2(Controller::Memory, &limits)).unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("memory.max")).unwrap(), "1048576");
    }

    #[test]
    fn shares_map_onto_the_whole_range_of_weights() {
        let weights = [0, 2, 1024, 262_144, u32::MAX].map(weight_from_shares);
        assert_eq!(weights, [1, 1, 39, 10_000, 10_000]);
    }
}
