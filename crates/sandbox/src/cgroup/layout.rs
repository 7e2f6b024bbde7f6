//! Where on this machine the groups of one node's cells go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chasen_runtime::walls::{self, Wall};
use serde::{Deserialize, Serialize};

use super::{CgroupError, processes, v1, v2, write_value};

/// The controllers that cells use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Controller {
    /// Memory limit, out-of-memory kills, peak use.
    Memory,
    /// Number of processes.
    Pids,
    /// Processor share and quota.
    Cpu,
    /// Processor time used (version 1 only; version 2 always tells it).
    Cpuacct,
    /// Freezing (version 1 only; version 2 always can).
    Freezer,
}

impl Controller {
    /// Its name in the kernel's files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Freezer => "freezer",
        }
    }

    pub(super) const ALL: [Self; 5] = [Self::Memory, Self::Pids, Self::Cpu, Self::Cpuacct, Self::Freezer];
    /// Those whose limits are set.
    fn used() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|controller| *controller != Self::Cpu || walls::stand(Wall::ProcessorShare))
    }

    /// Those that version 2 knows by name.
    const OF_V2: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];
}

/// The node's group in every tree that its cells need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Version 1: the node's group per controller.
    pub(super) v1: BTreeMap<Controller, PathBuf>,
    /// Version 2: the node's group.
    pub(super) v2: Option<PathBuf>,
    /// Controllers that the version 2 tree gives to the node's cells.
    pub(super) v2_controllers: BTreeSet<Controller>,
}

impl Layout {
    /// Finds the trees that this process sees and what they offer; makes nothing.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn detect(node: &str) -> Result<Self, CgroupError> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read_to_string(path).map_err(CgroupError::at(path))?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let root = rustix::process::geteuid().is_root();
        Ok(Self::from_mounts(&mounts, &own, root, node))
    }

    /// The folder name of a node's groups.
    fn folder(node: &str) -> String {
        format!("chasen-{node}")
    }

    pub(super) fn from_mounts(mounts: &str, own: &str, root: bool, node: &str) -> Self {
        let mut layout = Self { v1: BTreeMap::new(), v2: None, v2_controllers: BTreeSet::new() };
        let mut v2_base = None;
        for mount in mounts.lines().filter_map(v1::parse_mount) {
            for controller in Controller::used() {
                if mount.options.iter().any(|option| option == controller.name()) {
                    layout.v1.entry(controller).or_insert_with(|| mount.folder.join(Self::folder(node)));
                }
            }
            if mount.version_2 {
                v2_base.get_or_insert(mount.folder);
            }
        }
        if let Some(mount) = v2_base {
            let base = if root { mount } else { v2::own_group(&mount, own) };
            for controller in Controller::used().filter(|controller| Controller::OF_V2.contains(controller)) {
                if !layout.v1.contains_key(&controller) && v2::offers(&base, controller.name()) {
                    layout.v2_controllers.insert(controller);
                }
            }
            layout.v2 = Some(base.join(Self::folder(node)));
            // Version 2 freezes and counts processor time by itself, and quicker.
            layout.v1.remove(&Controller::Freezer);
            layout.v1.remove(&Controller::Cpuacct);
        }
        layout
    }

    /// Which versions of control groups these are, for people.
    #[must_use]
    pub fn versions(&self) -> &'static str {
        match (self.v1.is_empty(), self.v2.is_some()) {
            (true, true) => "version 2",
            (false, true) => "versions 1 and 2",
            (false, false) => "version 1",
            (true, false) => "none",
        }
    }

    /// Controllers that cells would have to do without.
    #[must_use]
    pub fn lacking(&self) -> Vec<Controller> {
        Controller::used()
            .filter(|controller| match controller {
                Controller::Cpuacct | Controller::Freezer => {
                    self.v2.is_none() && !self.v1.contains_key(controller)
                }
                _ => !self.v1.contains_key(controller) && !self.v2_controllers.contains(controller),
            })
            .collect()
    }

    /// Makes the node's groups, and gives version 2 cells their controllers.
    ///
    /// # Errors
    /// When the kernel refuses: no right to write there, or processes in the way on version 2.
    pub fn create(&self) -> Result<(), CgroupError> {
        for folder in self.folders() {
            make_folder(folder)?;
        }
        match &self.v2 {
            Some(folder) if !self.v2_controllers.is_empty() => {
                let names = self.v2_controllers.iter().map(|controller| controller.name());
                let wanted = names.map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
                if let Some(base) = folder.parent() {
                    v2::give(base, &wanted)?;
                }
                write_value(folder, "cgroup.subtree_control", &wanted)
            }
            _ => Ok(()),
        }
    }

    /// Removes the node's groups where nothing is inside them.
    pub(crate) fn remove_empty(&self) {
        for folder in self.folders() {
            // In use, or not there: left as it is.
            let _ = fs::remove_dir(folder);
        }
    }

    /// Ends every process in the node's groups and removes them; used when no helper of this node lives.
    ///
    /// # Errors
    /// When something is still there after `patience`.
    pub fn sweep(&self, patience: Duration) -> Result<(), CgroupError> {
        let deadline = Instant::now() + patience;
        for folder in self.folders() {
            while let Err(error) = sweep_once(folder) {
                if Instant::now() >= deadline {
                    return Err(CgroupError { path: folder.to_path_buf(), source: error });
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// The node's group in every tree, each once.
    pub(super) fn folders(&self) -> BTreeSet<&Path> {
        self.v1.values().chain(&self.v2).map(PathBuf::as_path).collect()
    }
}

fn make_folder(folder: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(CgroupError::at(folder)(error)),
        _ => Ok(()),
    }
}

/// One attempt: kill what is there, then remove the groups.
fn sweep_once(folder: &Path) -> io::Result<()> {
    let listing = match fs::read_dir(folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in listing.flatten() {
        if entry.file_type()?.is_dir() {
            sweep_once(&entry.path())?;
        }
    }
    for pid in processes(folder) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // It may have ended since.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    // A version 1 freezer holds even killed processes.
    let _ = v1::freeze(folder, false);
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
40 20 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
41 20 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
42 20 0:32 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
43 20 0:33 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
44 20 0:34 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn version_1_alone_uses_each_controllers_own_tree() {
        let mounts: String = HYBRID.lines().take(4).map(|line| format!("{line}\n")).collect();
        let layout = Layout::from_mounts(&mounts, "", true, "n1");
        assert_eq!(layout.lacking(), []);
        assert_eq!(layout.v2, None);
        assert_eq!(layout.folders().len(), 4);
        let freezer = layout.v1.get(&Controller::Freezer).unwrap();
        assert_eq!(freezer, Path::new("/sys/fs/cgroup/freezer/chasen-n1"));
    }

    #[test]
    fn hybrid_takes_freezing_and_accounting_from_version_2() {
        let layout = Layout::from_mounts(HYBRID, "", true, "n1");
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/chasen-n1")));
        assert!(!layout.v1.contains_key(&Controller::Freezer));
        assert_eq!(layout.lacking(), []);
    }

    #[test]
    fn no_trees_lack_everything() {
        let layout = Layout::from_mounts("", "", true, "n1");
        assert_eq!(layout.lacking(), Controller::ALL);
        assert!(layout.create().is_ok());
    }

    #[test]
    fn version_2_without_root_stays_below_the_own_group() {
        let tree = tempfile::tempdir().unwrap();
        let own = tree.path().join("user.slice/node");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("cgroup.controllers"), "cpu memory pids\n").unwrap();
        let mounts = format!("44 20 0:34 / {} rw - cgroup2 cgroup2 rw\n", tree.path().display());
        let layout = Layout::from_mounts(&mounts, "0::/user.slice/node\n", false, "n1");
        assert_eq!(layout.v2, Some(own.join("chasen-n1")));
        assert_eq!(layout.lacking(), []);
    }
}
