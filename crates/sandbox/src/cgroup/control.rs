//! Freezing and measuring a living cell: a few file writes, made by whoever holds the handle.

use std::fs::File;
use std::io::{self, Write};
use std::sync::OnceLock;

use chasen_entity::ByteSize;
use chasen_runtime::meter::{Gauges, Reading, Tree};
use chasen_runtime::walls::{self, Wall};
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
    memory: Option<Tree>,
    cpu_time: Option<Tree>,
    freezer: Option<Tree>,
    freezer_file: OnceLock<File>,
    gauges: Gauges,
}

impl Control {
    pub(crate) fn of_groups(layout: &Layout, cell: &str) -> Self {
        let place =
            |controller: Controller, always_in_v2: bool| match (&layout.v2, layout.v1.get(&controller)) {
                (_, Some(parent)) => Some(Tree::V1(parent.join(cell))),
                (Some(parent), None) if always_in_v2 || layout.v2_controllers.contains(&controller) => {
                    Some(Tree::V2(parent.join(cell)))
                }
                _ => None,
            };
        let (memory, cpu_time) = (place(Controller::Memory, false), place(Controller::Cpuacct, true));
        Self {
            levers: Levers::Groups(Box::new(Groups {
                gauges: Gauges::new(memory.clone(), cpu_time.clone()),
                memory,
                cpu_time,
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
        if !walls::stand(Wall::Freezing) {
            return Ok(());
        }
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
        match &self.levers {
            Levers::Groups(groups) => groups.oom_kills() > 0,
            Levers::Processes { .. } => false,
        }
    }

    /// What the counters say of a cell with this memory limit: two system calls, as a rule.
    #[must_use]
    pub fn reading(&self, limit: ByteSize) -> Reading {
        match &self.levers {
            Levers::Groups(groups) => groups.gauges.read(limit),
            Levers::Processes { .. } => Reading::default(),
        }
    }

    /// What has been used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let Levers::Groups(groups) = &self.levers else { return Usage::default() };
        let (memory_peak, memory_now) = match &groups.memory {
            Some(Tree::V1(folder)) => (v1::memory_peak(folder), v1::memory_now(folder)),
            Some(Tree::V2(folder)) => (v2::memory_peak(folder), v2::memory_now(folder)),
            None => (None, None),
        };
        let cpu_ns = match &groups.cpu_time {
            Some(Tree::V1(folder)) => v1::cpu_ns(folder),
            Some(Tree::V2(folder)) => v2::cpu_ns(folder),
            None => None,
        };
        Usage {
            memory_peak: memory_peak.unwrap_or(0),
            memory_now: memory_now.unwrap_or(0),
            cpu_ns: cpu_ns.unwrap_or(0),
            oom_kills: groups.oom_kills(),
        }
    }
}

impl Groups {
    fn oom_kills(&self) -> u64 {
        let kills = match &self.memory {
            Some(Tree::V1(folder)) => v1::oom_kills(folder),
            Some(Tree::V2(folder)) => v2::oom_kills(folder),
            None => None,
        };
        kills.unwrap_or(0)
    }

    fn freeze(&self, frozen: bool) -> io::Result<()> {
        let place = self.freezer.as_ref().ok_or_else(|| {
            io::Error::new(io::ErrorKind::Unsupported, "this machine has no freezer control group")
        })?;
        let file = match self.freezer_file.get() {
            Some(file) => file,
            None => {
                let file = match place {
                    Tree::V1(folder) => v1::open_freezer(folder)?,
                    Tree::V2(folder) => v2::open_freezer(folder)?,
                };
                self.freezer_file.get_or_init(|| file)
            }
        };
        let word = match place {
            Tree::V1(_) => v1::freezer_word(frozen),
            Tree::V2(_) => v2::freezer_word(frozen),
        };
        let mut file: &File = file;
        file.write_all(word)
    }
}
