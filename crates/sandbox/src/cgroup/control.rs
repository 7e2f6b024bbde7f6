//! Freezing and measuring a living cell: a few file writes, made by whoever holds the handle.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal};

use super::{Controller, Layout, v1, v2};
use crate::cell::Usage;

/// The levers of one cell.
#[derive(Debug)]
pub struct Control {
    levers: Levers,
}

#[derive(Debug)]
enum Levers {
    /// An isolated cell has control groups.
    Groups(Box<Groups>),
    /// A plain process has only its process group.
    Processes { leader: u32 },
}

#[derive(Debug)]
struct Groups {
    memory: Option<Place>,
    cpu_time: Option<Place>,
    freezer: Option<Place>,
    freezer_file: OnceLock<File>,
}

/// A cell's group in the tree that holds one controller.
#[derive(Debug)]
enum Place {
    V1(PathBuf),
    V2(PathBuf),
}

impl Control {
    pub(crate) fn of_groups(layout: &Layout, cell: &str) -> Self {
        let place =
            |controller: Controller, always_in_v2: bool| match (&layout.v2, layout.v1.get(&controller)) {
                (_, Some(parent)) => Some(Place::V1(parent.join(cell))),
                (Some(parent), None) if always_in_v2 || layout.v2_controllers.contains(&controller) => {
                    Some(Place::V2(parent.join(cell)))
                }
                _ => None,
            };
        Self {
            levers: Levers::Groups(Box::new(Groups {
                memory: place(Controller::Memory, false),
                cpu_time: place(Controller::Cpuacct, true),
                freezer: place(Controller::Freezer, true),
                freezer_file: OnceLock::new(),
            })),
        }
    }

    pub(crate) fn of_processes(leader: u32) -> Self {
        Self { levers: Levers::Processes { leader } }
    }

    /// Freezes or thaws every process.
    ///
    /// # Errors
    /// When the kernel refuses, or the cell has ended.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        match &self.levers {
            Levers::Groups(groups) => groups.freeze(frozen),
            Levers::Processes { leader } => {
                let signal = if frozen { Signal::STOP } else { Signal::CONT };
                let leader = i32::try_from(*leader).ok().and_then(Pid::from_raw);
                let leader = leader.ok_or(io::ErrorKind::InvalidInput)?;
                Ok(rustix::process::kill_process_group(leader, signal)?)
            }
        }
    }

    /// Whether a process was ended for want of memory.
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        let kills = match &self.levers {
            Levers::Groups(groups) => match &groups.memory {
                Some(Place::V1(folder)) => v1::oom_kills(folder),
                Some(Place::V2(folder)) => v2::oom_kills(folder),
                None => None,
            },
            Levers::Processes { .. } => None,
        };
        kills.is_some_and(|kills| kills > 0)
    }

    /// What has been used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let Levers::Groups(groups) = &self.levers else { return Usage::default() };
        let (memory_peak, memory_now) = match &groups.memory {
            Some(Place::V1(folder)) => (v1::memory_peak(folder), v1::memory_now(folder)),
            Some(Place::V2(folder)) => (v2::memory_peak(folder), v2::memory_now(folder)),
            None => (None, None),
        };
        let cpu_ns = match &groups.cpu_time {
            Some(Place::V1(folder)) => v1::cpu_ns(folder),
            Some(Place::V2(folder)) => v2::cpu_ns(folder),
            None => None,
        };
        Usage {
            memory_peak: memory_peak.unwrap_or(0),
            memory_now: memory_now.unwrap_or(0),
            cpu_ns: cpu_ns.unwrap_or(0),
        }
    }
}

impl Groups {
    fn freeze(&self, frozen: bool) -> io::Result<()> {
        let place = self.freezer.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "this machine has no freezer control group")
        })?;
        let file = match self.freezer_file.get() {
            Some(file) => file,
            None => {
                let file = match place {
                    Place::V1(folder) => v1::open_freezer(folder)?,
                    Place::V2(folder) => v2::open_freezer(folder)?,
                };
                self.freezer_file.get_or_init(|| file)
            }
        };
        let word = match place {
            Place::V1(_) => v1::freezer_word(frozen),
            Place::V2(_) => v2::freezer_word(frozen),
        };
        let mut file: &File = file;
        file.write_all(word)
    }
}
