//! What a node holds: memory, descriptors, processes, control groups, links, packet filter, disk.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_testkit::{descendants, internet};

/// Levels of a node at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// Resident memory of the node's process, in MB.
    pub memory: f64,
    /// Open descriptors of the node and of its helper.
    pub descriptors: u64,
    /// Processes below the node.
    pub processes: u64,
    /// Control groups below those that the node's sandboxes are in.
    pub groups: u64,
    /// Network links on its machine.
    pub links: u64,
    /// Lines of the packet filter, elements of sets included; `None` where `nft` is not installed.
    pub filter: Option<u64>,
    /// The data folder, in MB.
    pub disk: f64,
    /// Files in it.
    pub files: u64,
}

/// By how much a level may be higher afterwards: a share of it, and so much more.
const MEMORY: (f64, f64) = (0.25, 16.0);
const DISK: (f64, f64) = (0.1, 16.0);
const FILES: (f64, f64) = (0.1, 64.0);
const DESCRIPTORS: (f64, f64) = (0.1, 8.0);
/// Cells are prepared for what ran last.
const CELLS: (f64, f64) = (0.0, 4.0);

impl Levels {
    /// Looks.
    #[must_use]
    pub fn read(pid: u32, data: &Path) -> Self {
        let processes = descendants(pid);
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        let own = processes.iter().map(|(pid, _)| *pid).chain([pid]);
        let own = own.filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok() == program);
        let (bytes, files) = size(data);
        Self {
            memory: resident(pid),
            descriptors: own.map(descriptors).sum(),
            processes: processes.len() as u64,
            groups: groups(pid),
            links: internet::network_remains().len() as u64,
            filter: filter(),
            disk: bytes as f64 / f64::from(1 << 20),
            files,
        }
    }

    /// Levels that are higher than these, and by more than may be.
    #[must_use]
    pub fn higher_than(&self, before: &Self) -> Vec<String> {
        let mut higher = Vec::new();
        let mut compare = |what: &str, now: f64, was: f64, (share, more): (f64, f64)| {
            let bound = was * (1.0 + share) + more;
            if now > bound {
                higher.push(format!("{what}: {now:.1}, before {was:.1}, must be ≤ {bound:.1}"));
            }
        };
        compare("memory in MB", self.memory, before.memory, MEMORY);
        compare("descriptors", self.descriptors as f64, before.descriptors as f64, DESCRIPTORS);
        compare("processes", self.processes as f64, before.processes as f64, CELLS);
        compare("control groups", self.groups as f64, before.groups as f64, CELLS);
        compare("links", self.links as f64, before.links as f64, CELLS);
        if let (Some(now), Some(was)) = (self.filter, before.filter) {
            compare("lines of the packet filter", now as f64, was as f64, CELLS);
        }
        compare("disk in MB", self.disk, before.disk, DISK);
        compare("files", self.files as f64, before.files as f64, FILES);
        higher
    }

    /// True if what is counted is the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let counted = |levels: &Self| (levels.processes, levels.groups, levels.links, levels.files);
        counted(self) == counted(other)
    }
}

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, descriptors, processes, groups, links, filter, disk, files } = self;
        let filter =
            filter.map_or_else(|| "not read: `nft` is not installed".to_owned(), |lines| lines.to_string());
        write!(
            f,
            "memory {memory:.1} MB, descriptors {descriptors}, processes {processes}, control groups {groups}, \
             links {links}, packet filter {filter}, disk {disk:.1} MB in {files} files"
        )
    }
}

/// Resident memory of a process in MB; 0 if it is gone.
#[must_use]
pub fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    held.and_then(|held| held.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64)
}

/// Folders below the groups that lie beside those of the node's processes, and bear its mark.
fn groups(pid: u32) -> u64 {
    let mut parents: BTreeSet<PathBuf> = BTreeSet::new();
    for (process, _) in descendants(pid) {
        let text = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap_or_default();
        parents.extend(text.lines().filter_map(folder).filter(|path| is_of_a_node(path)).filter_map(
            |path| path.ancestors().filter(|path| is_of_a_node(path)).last().map(Path::to_owned),
        ));
    }
    parents.iter().map(|parent| below(parent)).sum()
}

/// True of groups that nodes make.
fn is_of_a_node(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains("chasen"))
        || path.parent().is_some_and(|parent| parent.to_string_lossy().contains("chasen"))
}

/// Where a line of `/proc/PID/cgroup` lies.
fn folder(line: &str) -> Option<PathBuf> {
    let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
    let root = Path::new("/sys/fs/cgroup");
    let roots = [root.join(controllers), root.join(controllers.split(',').next()?), root.to_owned()];
    roots.into_iter().map(|root| root.join(group.trim_start_matches('/'))).find(|path| path.is_dir())
}

fn below(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().is_dir()).map(|entry| 1 + below(&entry.path())).sum()
}

/// Bytes on the disk, and files, below a folder.
fn size(folder: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = (0, 0);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(found) = entry.path().symlink_metadata() else { continue };
        let (bytes, files) = if found.is_dir() { size(&entry.path()) } else { (found.blocks() * 512, 1) };
        sum = (sum.0 + bytes, sum.1 + files);
    }
    sum
}

/// Lines that the packet filter of this machine is written in.
fn filter() -> Option<u64> {
    let output = Command::new("nft").args(["list", "ruleset"]).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).lines().count() as u64)
}
