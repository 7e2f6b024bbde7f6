//! The groups of one cell as the helper handles them: made before its birth, removed after its death.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use chasen_runtime::walls::{self, Wall};
use rustix::fs::{Mode, OFlags};

use super::{CgroupError, Control, Layout, limits, v1, v2};
use crate::cell::Limits;

/// One cell's group in every tree. Dropping it removes nothing: see [`Group::remove`].
#[derive(Debug)]
pub(crate) struct Group {
    layout: Layout,
    name: String,
}

/// The open files through which a newborn process enters its groups.
#[derive(Debug)]
pub(crate) struct Entrances {
    /// The version 2 group, to be born into.
    pub(crate) born_into: Option<OwnedFd>,
    /// Version 1 files to which the process writes `0`.
    pub(crate) by_writing: Vec<fs::File>,
}

impl Group {
    /// Makes the groups of the cell `name` and sets its limits.
    ///
    /// # Errors
    /// When the kernel refuses; what had been made is removed again.
    pub(crate) fn create(layout: &Layout, name: &str, limits: &Limits) -> Result<Self, CgroupError> {
        let group = Self { layout: layout.clone(), name: name.to_owned() };
        match group.fill(limits) {
            Ok(()) => Ok(group),
            Err(error) => {
                let _ = group.remove();
                Err(error)
            }
        }
    }

    fn fill(&self, limits: &Limits) -> Result<(), CgroupError> {
        for parent in self.layout.folders() {
            let folder = parent.join(&self.name);
            match fs::create_dir(&folder) {
                // Somebody has tidied up the node's empty group.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.layout.create()?;
                    fs::create_dir(&folder).map_err(CgroupError::at(&folder))?;
                }
                other => other.map_err(CgroupError::at(&folder))?,
            }
        }
        for (controller, parent) in &self.layout.v1 {
            let settings = limits::of_version_1(*controller, limits);
            limits::write(&parent.join(&self.name), *controller, &settings)?;
        }
        if let Some(parent) = &self.layout.v2 {
            for controller in &self.layout.v2_controllers {
                let settings = limits::of_version_2(*controller, limits);
                limits::write(&parent.join(&self.name), *controller, &settings)?;
            }
        }
        Ok(())
    }

    /// Opens the ways in.
    ///
    /// # Errors
    /// When a group is not there.
    pub(crate) fn entrances(&self) -> Result<Entrances, CgroupError> {
        let born_into = match self.v2_folder() {
            Some(folder) => Some(open_folder(&folder)?),
            None => None,
        };
        let mut by_writing = Vec::new();
        for parent in self.layout.folders() {
            if Some(parent) != self.layout.v2.as_deref() {
                by_writing.push(v1::open_entrance(&parent.join(&self.name))?);
            }
        }
        Ok(Entrances { born_into, by_writing })
    }

    /// Opens the ways in for a process that is there already: it writes `0` to each.
    ///
    /// # Errors
    /// When a group is not there.
    pub(crate) fn entrances_by_writing(&self) -> Result<Vec<fs::File>, CgroupError> {
        let open = |parent: &Path| {
            let folder = parent.join(&self.name);
            let is_version_2 = Some(parent) == self.layout.v2.as_deref();
            if is_version_2 { v2::open_entrance(&folder) } else { v1::open_entrance(&folder) }
        };
        self.layout.folders().into_iter().map(open).collect()
    }

    /// Prepares the groups for the death of their processes: a frozen version 1 group would not let them die.
    pub(crate) fn let_die(&self) {
        if let Some(folder) = self.layout.v1.get(&super::Controller::Freezer) {
            let _ = v1::freeze(&folder.join(&self.name), false);
        }
        if let Some(folder) = self.v2_folder().filter(|_| walls::stand(Wall::ForcedEnd)) {
            let _ = v2::kill(&folder);
        }
    }

    /// Removes the groups. They are busy for a moment after the last process ended: try again then.
    ///
    /// # Errors
    /// [`io::ErrorKind::ResourceBusy`] while a process is still inside.
    pub(crate) fn remove(&self) -> Result<(), CgroupError> {
        let mut failed = None;
        for parent in self.layout.folders() {
            let folder = parent.join(&self.name);
            match fs::remove_dir(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failed = Some(CgroupError { path: folder, source: error });
                }
                _ => {}
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The reading side, for the last figures before removal.
    pub(crate) fn control(&self) -> Control {
        Control::of_groups(&self.layout, &self.name)
    }

    fn v2_folder(&self) -> Option<PathBuf> {
        Some(self.layout.v2.as_ref()?.join(&self.name))
    }
}

fn open_folder(folder: &Path) -> Result<OwnedFd, CgroupError> {
    rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| CgroupError { path: folder.to_path_buf(), source: error.into() })
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::super::{Controller, read_value, write_value};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// The machine's own trees, but only those of version 1, or only that of version 2.
    fn layout_of(version_2: bool, node: &str) -> Option<Layout> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let mounts: String = fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(" - cgroup2 ") == version_2)
            .map(|line| format!("{line}\n"))
            .collect();
        // Groups are the machine's: another run of these tests has its own.
        let layout = Layout::from_mounts(&mounts, "", true, &format!("{node}-{}", std::process::id()));
        if layout.folders().is_empty() {
            println!("skipped: this machine has no such tree");
            return None;
        }
        layout.create().unwrap();
        Some(layout)
    }

    /// A sleeping process inside the groups, and a way to see its state.
    fn sleeper(layout: &Layout, cell: &str) -> Child {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        for parent in layout.folders() {
            write_value(&parent.join(cell), "cgroup.procs", &child.id().to_string()).unwrap();
        }
        child
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "never came true: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn freezes_and_lets_die(layout: &Layout, frozen: impl Fn() -> bool) {
        let group = Group::create(layout, "cell", &Limits::with_memory(64 << 20)).unwrap();
        let mut child = sleeper(layout, "cell");
        assert!(group.remove().is_err(), "removed around a living process");
        let control = group.control();
        control.freeze(true).unwrap();
        eventually("frozen", &frozen);
        control.freeze(false).unwrap();
        eventually("thawed", || !frozen());
        control.freeze(true).unwrap();
        eventually("frozen again", &frozen);
        child.kill().unwrap();
        group.let_die();
        child.wait().unwrap();
        eventually("removed", || group.remove().is_ok());
        layout.sweep(PATIENCE).unwrap();
        assert!(layout.folders().iter().all(|folder| !folder.exists()));
    }

    #[test]
    fn version_1_alone_freezes_and_lets_frozen_processes_die() {
        let Some(layout) = layout_of(false, "v1-test") else { return };
        let Some(freezer) = layout.v1.get(&Controller::Freezer).cloned() else {
            println!("skipped: no freezer tree");
            return;
        };
        assert_eq!(layout.lacking(), []);
        freezes_and_lets_die(&layout, || {
            read_value(&freezer.join("cell"), "freezer.state").is_ok_and(|state| state.trim() == "FROZEN")
        });
    }

    #[test]
    fn version_2_alone_freezes_and_lets_frozen_processes_die() {
        let Some(layout) = layout_of(true, "v2-test") else { return };
        let folder = layout.v2.clone().unwrap().join("cell");
        freezes_and_lets_die(&layout, || {
            read_value(&folder, "cgroup.events").is_ok_and(|events| events.contains("frozen 1"))
        });
    }

    #[test]
    fn sweep_ends_what_is_inside() {
        let Some(layout) = layout_of(false, "sweep-test") else { return };
        Group::create(&layout, "cell", &Limits::with_memory(64 << 20)).unwrap();
        let mut child = sleeper(&layout, "cell");
        // Somebody has to collect the process, or it stays in its groups.
        let waiter = std::thread::spawn(move || child.wait());
        layout.sweep(PATIENCE).unwrap();
        waiter.join().unwrap().unwrap();
    }
}
