//! The cells in the helper's care: started, changed, ended, buried.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chasen_runtime::walls::{self, Wall};
use rustix::fs::OFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::Mode;
use super::fork_servers::{Birth, ForkServers, Outcome};
use super::wire::{CellKey, Settings, StartRequest};
use crate::birth::code::{self, Code};
use crate::birth::fork_server::{self, ForkServer};
use crate::birth::home::Home;
use crate::birth::image_tree;
use crate::birth::isolated::{self, Cradle, Newborn};
use crate::birth::news::Listener;
use crate::birth::plain;
use crate::birth::tree::Trees;
use crate::cell::{Exit, ExitStatus, Usage};
use crate::cgroup::{Group, Layout};
use crate::insecure;
use crate::seccomp::Filter;

/// How long the groups of a dead cell may stay busy before that is reported.
const BURIAL_PATIENCE: Duration = Duration::from_secs(5);

/// A cell in care.
pub(super) struct Kept {
    name: String,
    pub(super) pid: u32,
    pub(super) pidfd: OwnedFd,
    pub(super) listener: Listener,
    mounts: Option<OwnedFd>,
    /// Where it waits for a program that a fork server bears.
    gate: Option<OwnedFd>,
    /// What that needs.
    unborn: Option<Unborn>,
    /// How its program ended, in the words of its first process.
    pub(super) told: Option<ExitStatus>,
    kind: Kind,
}

impl Kept {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Plain)
    }
}

/// A program that a fork server shall bear.
struct Unborn {
    server: u64,
    files: Vec<OwnedFd>,
    /// Most files that it may open.
    file_limit: u64,
    /// Whether its files come later, by the one that it has.
    awaits_files: bool,
}

enum Kind {
    Isolated { group: Group, id_index: u32, has_code: bool },
    Plain,
}

/// A cell that has died and may have left something.
pub(super) struct Death {
    pub(super) key: CellKey,
    pub(super) exit: Exit,
    name: String,
    kind: Kind,
    deadline: Instant,
}

/// All cells of one helper, and what they are made with.
pub(super) struct Ward {
    settings: Settings,
    means: Means,
    cells: HashMap<CellKey, Kept>,
    names: HashSet<String>,
}

/// What cells are made with.
enum Means {
    Isolated(Box<Isolation>),
    Plain,
}

struct Isolation {
    home: Home,
    trees: Trees,
    fork_servers: ForkServers,
    filter: Filter,
    layout: Layout,
    /// A folder of the host over which mounts are attached for a moment, seen by the helper alone.
    workbench: PathBuf,
    free_ids: Vec<u32>,
    next_id: u32,
}

impl Ward {
    /// Clears away what a former helper of this data folder left, and gets everything ready.
    ///
    /// # Errors
    /// What this machine lacks.
    pub(super) fn prepare(settings: Settings) -> Result<Self, String> {
        let plain = settings.scratch_dir.join("plain");
        if plain.exists() {
            std::fs::remove_dir_all(&plain).map_err(|error| format!("{}: {error}", plain.display()))?;
        }
        let means = match settings.mode {
            Mode::InsecureProcess => Means::Plain,
            Mode::Isolated => {
                let layout = settings.cgroups.clone().ok_or("no control groups were named")?;
                layout.sweep(BURIAL_PATIENCE).map_err(|error| error.to_string())?;
                layout.create().map_err(|error| error.to_string())?;
                let workbench = settings.scratch_dir.join("workbench");
                std::fs::create_dir_all(&workbench)
                    .map_err(|error| format!("{}: {error}", workbench.display()))?;
                Means::Isolated(Box::new(Isolation {
                    home: Home::settle()?,
                    trees: Trees::default(),
                    fork_servers: ForkServers::new()?,
                    filter: Filter::compile()?,
                    layout,
                    workbench,
                    free_ids: Vec::new(),
                    next_id: 0,
                }))
            }
        };
        Ok(Self { settings, means, cells: HashMap::new(), names: HashSet::new() })
    }

    pub(super) fn cell(&self, key: CellKey) -> Option<&Kept> {
        self.cells.get(&key)
    }

    pub(super) fn cell_mut(&mut self, key: CellKey) -> Option<&mut Kept> {
        self.cells.get_mut(&key)
    }

    /// Starts a cell. How it goes on is told by the cell's listener.
    ///
    /// # Errors
    /// The step that failed; nothing is left then.
    pub(super) fn start(&mut self, request: &StartRequest, mut fds: Vec<OwnedFd>) -> Result<(), String> {
        if self.names.contains(&request.name) {
            return Err(format!("a cell named {} lives already", request.name));
        }
        let network = if request.prepared_network { fds.pop() } else { None };
        let (newborn, kind, unborn) = match &mut self.means {
            Means::Plain => {
                let newborn = plain::bear(&self.settings.scratch_dir, request, fds);
                let newborn =
                    newborn.inspect_err(|_| remove_home(&self.settings.scratch_dir, &request.name))?;
                (newborn, Kind::Plain, None)
            }
            Means::Isolated(isolation) => isolation.start(&self.settings, request, network, fds)?,
        };
        self.names.insert(request.name.clone());
        self.cells.insert(
            request.request,
            Kept {
                name: request.name.clone(),
                pid: u32::try_from(newborn.pid).unwrap_or(0),
                pidfd: newborn.pidfd,
                listener: newborn.listener,
                mounts: newborn.mounts,
                gate: newborn.gate,
                unborn,
                told: None,
                kind,
            },
        );
        Ok(())
    }

    /// Lays code over a living cell.
    ///
    /// # Errors
    /// The step that failed; the cell is as it was.
    pub(super) fn mount_code(&mut self, key: CellKey, layer: &Path, upper_bytes: u64) -> Result<(), String> {
        let cell = self.cells.get_mut(&key).ok_or("the cell has ended")?;
        let (Means::Isolated(isolation), Kind::Isolated { id_index, has_code, .. }) =
            (&self.means, &mut cell.kind)
        else {
            return Err("a plain process has no mounts of its own".to_owned());
        };
        if *has_code {
            return Err("the cell has code already, and keeps it for life".to_owned());
        }
        let owner = isolation.home.outer_id(self.settings.uid_base, *id_index);
        let code = Code { layer, upper_bytes, owner, cell: &cell.pidfd, mounts: cell.mounts.as_ref() };
        code::lay(&isolation.home, &isolation.workbench, &code)?;
        *has_code = true;
        Ok(())
    }

    /// What becomes readable when a fork server has something to say; `None` where there are never any.
    pub(super) fn fork_servers(&self) -> Option<&ForkServers> {
        match &self.means {
            Means::Isolated(isolation) => Some(&isolation.fork_servers),
            Means::Plain => None,
        }
    }

    /// Whether fork servers must be looked at even if they say nothing.
    pub(super) fn awaits_fork_servers(&self) -> bool {
        self.fork_servers().is_some_and(ForkServers::is_awaited)
    }

    /// Asks a fork server for the program of a cell that is ready for it; if none can be asked the cell starts it itself.
    pub(super) fn ask_for_program(&mut self, key: CellKey) {
        if let Err(reason) = self.try_to_ask(key) {
            super::process::complain(&format!("sandbox helper: no fork server could be asked: {reason}"));
            self.let_go_on(key, None);
        }
    }

    fn try_to_ask(&mut self, key: CellKey) -> Result<(), String> {
        let cell = self.cells.get_mut(&key).ok_or("the cell is gone")?;
        let (Means::Isolated(isolation), Kind::Isolated { group, .. }) = (&mut self.means, &cell.kind) else {
            return Err("plain processes have none".to_owned());
        };
        let unborn = cell.unborn.take().ok_or("the cell has its program")?;
        let entrances = group.entrances_by_writing().map_err(|error| error.to_string())?;
        let message =
            fork_server::birth(unborn.file_limit, &isolation.filter, entrances.len(), unborn.awaits_files)?;
        let newborn = cell.pidfd.try_clone().map_err(|error| error.to_string())?;
        let entrances = entrances.into_iter().map(OwnedFd::from);
        let descriptors = std::iter::once(newborn).chain(entrances).chain(unborn.files).collect();
        isolation.fork_servers.ask(unborn.server, Birth { cell: key, message, descriptors })
    }

    /// Lets fork servers go on; tells of the births that have come to an end.
    pub(super) fn go_on_with_births(&mut self) -> Vec<(CellKey, Outcome)> {
        match &mut self.means {
            Means::Isolated(isolation) => isolation.fork_servers.go_on(),
            Means::Plain => Vec::new(),
        }
    }

    /// Lets a cell go on with the program of this number, or with one that it starts itself.
    pub(super) fn let_go_on(&mut self, key: CellKey, program: Option<i32>) {
        if let Some(gate) = self.cells.get_mut(&key).and_then(|cell| cell.gate.take()) {
            isolated::let_go_on(&gate, program);
        }
    }

    /// A TCP socket in the network of a living cell.
    ///
    /// # Errors
    /// The step that failed.
    pub(super) fn socket(&self, key: CellKey) -> Result<OwnedFd, String> {
        let cell = self.cells.get(&key).ok_or("the cell has ended")?;
        let Means::Isolated(isolation) = &self.means else {
            return Err("a plain process has the machine's own network".to_owned());
        };
        let network = isolation.home.open_proc(&format!("{}/ns/net", cell.pid), OFlags::RDONLY);
        let network = network.map_err(|_| "the cell has ended".to_owned())?;
        let made = Home::enter_network(network.as_fd()).and_then(|()| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
                .map_err(|error| format!("making a socket: {error}"))
        });
        isolation.home.come_back(true);
        made
    }

    /// Ends a cell's processes; its death is noticed later. Nothing happens to a cell that is not there.
    pub(super) fn end(&self, key: CellKey) {
        self.signal(key, if walls::stand(Wall::ForcedEnd) { Signal::KILL } else { Signal::TERM });
    }

    fn signal(&self, key: CellKey, signal: Signal) {
        let Some(cell) = self.cells.get(&key) else { return };
        // Dead already is as good, here and below.
        let _ = pidfd_send_signal(&cell.pidfd, signal);
        match &cell.kind {
            Kind::Isolated { group, .. } => group.let_die(),
            Kind::Plain => end_process_group(cell.pid),
        }
    }

    /// Ends every cell; gives their keys.
    pub(super) fn end_all(&self) -> Vec<CellKey> {
        let keys: Vec<CellKey> = self.cells.keys().copied().collect();
        for key in &keys {
            self.signal(*key, Signal::KILL);
        }
        keys
    }

    /// Takes a dead or dying cell out of care, waiting for its first process.
    pub(super) fn bury(&mut self, key: CellKey) -> Option<Death> {
        let mut cell = self.cells.remove(&key)?;
        if cell.is_plain() {
            // Before the number of its leader can be given to another process.
            end_process_group(cell.pid);
        }
        let waited = waitid(WaitId::PidFd(cell.pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
        while let Some(news) = cell.listener.next() {
            if let crate::birth::news::News::Ended(status) = news {
                cell.told = Some(status);
            }
        }
        let seen = waited.map_or(ExitStatus::Lost, |status| {
            match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, Some(signal)) => ExitStatus::Signal(signal),
                (None, None) => ExitStatus::Lost,
            }
        });
        let (oom, usage) = match &cell.kind {
            Kind::Isolated { group, .. } => {
                let control = group.control();
                (control.oom_killed(), control.usage())
            }
            Kind::Plain => (false, Usage::default()),
        };
        Some(Death {
            key,
            exit: Exit { status: cell.told.unwrap_or(seen), oom, usage },
            name: cell.name,
            kind: cell.kind,
            deadline: Instant::now() + BURIAL_PATIENCE,
        })
    }

    /// Clears away what a dead cell left. `None`: look again later; otherwise what stayed behind, if anything.
    pub(super) fn clear(&mut self, death: &mut Death) -> Option<Option<String>> {
        let mut leftover = None;
        match &death.kind {
            Kind::Plain => remove_home(&self.settings.scratch_dir, &death.name),
            Kind::Isolated { group, id_index, .. } => {
                if let Err(error) = group.remove() {
                    if Instant::now() < death.deadline {
                        return None;
                    }
                    leftover = Some(error.to_string());
                } else if let Means::Isolated(isolation) = &mut self.means {
                    // A number is used again only when nothing can bear it any more.
                    isolation.free_ids.push(*id_index);
                }
            }
        }
        self.names.remove(&death.name);
        Some(leftover)
    }

    /// Removes what is left of the helper itself.
    ///
    /// # Errors
    /// What could not be removed.
    pub(super) fn close(self) -> Result<(), String> {
        match self.means {
            Means::Plain => Ok(()),
            Means::Isolated(isolation) => {
                isolation.layout.sweep(BURIAL_PATIENCE).map_err(|error| error.to_string())
            }
        }
    }
}

impl Isolation {
    fn start(
        &mut self,
        settings: &Settings,
        request: &StartRequest,
        network: Option<OwnedFd>,
        files: Vec<OwnedFd>,
    ) -> Result<(Newborn, Kind, Option<Unborn>), String> {
        let id_index = match self.free_ids.pop() {
            Some(index) => index,
            None if self.next_id < settings.uid_count => {
                self.next_id += 1;
                self.next_id - 1
            }
            None => return Err(format!("all {} user numbers are in use", settings.uid_count)),
        };
        let outer_id = self.home.outer_id(settings.uid_base, id_index);
        let born = self.bear(request, outer_id, network, files);
        match born {
            Ok((newborn, group, unborn)) => {
                Ok((newborn, Kind::Isolated { group, id_index, has_code: false }, unborn))
            }
            Err(reason) => {
                self.free_ids.push(id_index);
                Err(reason)
            }
        }
    }

    fn bear(
        &mut self,
        request: &StartRequest,
        outer_id: u32,
        network: Option<OwnedFd>,
        files: Vec<OwnedFd>,
    ) -> Result<(Newborn, Group, Option<Unborn>), String> {
        let own_tree;
        let tree = match request.root.image_root() {
            Some(image) => {
                let (entries, writable) = (request.root.entries(), request.limits.tmp_bytes);
                let tree = image_tree::Tree { image, entries, owner: outer_id, writable };
                own_tree = image_tree::build(&self.home, &tree, &self.workbench)?;
                own_tree.as_fd()
            }
            None => self.trees.get(&self.home, &request.root, &self.workbench)?,
        };
        let server = request.fork_server.as_ref().filter(|_| self.home.privileged()).and_then(|_| {
            let start = |command: &[String]| ForkServer::start(&self.home, tree, command, request);
            self.fork_servers.ready(request, start)
        });
        let unborn = match server {
            Some(server) => {
                let copies: Result<Vec<_>, _> = files.iter().map(OwnedFd::try_clone).collect();
                let files = copies.map_err(|error| format!("sharing the program's files: {error}"))?;
                Some(Unborn {
                    server,
                    files,
                    file_limit: request.limits.files,
                    awaits_files: request.awaits_files,
                })
            }
            None => None,
        };
        let group =
            Group::create(&self.layout, &request.name, &request.limits).map_err(|error| error.to_string())?;
        let born = group.entrances().map_err(|error| error.to_string()).and_then(|entrances| {
            let cradle = Cradle {
                home: &self.home,
                tree,
                network,
                entrances,
                filter: &self.filter,
                outer_id,
                is_forked: unborn.is_some(),
            };
            isolated::bear(cradle, request, files)
        });
        match born {
            Ok(newborn) => Ok((newborn, group, unborn)),
            Err(reason) => {
                let _ = group.remove();
                Err(reason)
            }
        }
    }
}

/// Ends every process of a plain process's group.
fn end_process_group(leader: u32) {
    if let Some(leader) = i32::try_from(leader).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(leader, Signal::KILL);
    }
}

fn remove_home(scratch_dir: &Path, name: &str) {
    // What stays is removed by the next helper of this folder.
    let _ = std::fs::remove_dir_all(insecure::home(scratch_dir, name));
}
