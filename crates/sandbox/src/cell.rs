//! A cell: one isolated process tree, what it is made from, and the handle that the node keeps of it.
//!
//! The processes are children of the [`crate::helper`]; the handle freezes, measures and ends them.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_runtime::meter::Reading;
use serde::{Deserialize, Serialize};

use crate::helper::{CellDoor, HelperLost, MountError};
use crate::root::{MAX_ENTRIES, RootSpec};

/// The user and group number that code sees as its own inside every cell.
pub const INNER_ID: u32 = 1000;
/// Where a cell's code lies, see [`Cell::mount_code`].
pub const ACTION_FOLDER: &str = "/action";
/// Most file descriptors that a cell can be given at its start.
pub const MAX_FILES: usize = 16;
/// Longest name of a cell, bytes.
pub const MAX_NAME: usize = 64;

/// Everything needed to start a cell. Its debug form leaves the environment out, which may hold secrets.
pub struct CellSpec {
    /// Unique among the node's living cells: lower-case letters, digits and `-`, at most [`MAX_NAME`] bytes.
    pub name: String,
    /// The read-only part of its file system.
    pub root: Arc<RootSpec>,
    /// Absolute path of the program inside the cell, then its arguments. In an image any path, or a name that is
    /// looked for in the folders of the environment's `PATH`.
    pub argv: Vec<String>,
    /// Command of a fork server, in the same root, environment and folder, that becomes the same program by forking.
    /// It is started for the first cell that names it and used once it is up, by helpers with the machine's root.
    pub fork_server: Option<Vec<String>>,
    /// The whole environment; nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Working folder inside the cell, usually `/`.
    pub cwd: String,
    /// Host name that the cell sees, at most 64 bytes.
    pub hostname: String,
    /// What it may use.
    pub limits: Limits,
    /// Its network.
    pub network: CellNetwork,
    /// Becomes file descriptors 0, 1, 2, 3, … of the program; at most [`MAX_FILES`].
    pub files: Vec<OwnedFd>,
}

impl fmt::Debug for CellSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CellSpec")
            .field("name", &self.name)
            .field("argv", &self.argv)
            .field("limits", &self.limits)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl CellSpec {
    /// Checks what can be checked without the machine; the text says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let name_ok = (1..=MAX_NAME).contains(&self.name.len())
            && self
                .name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        let nul = |text: &str| text.contains('\0');
        if !name_ok {
            Err(format!("name {:?}: 1 to {MAX_NAME} lower-case letters, digits and dashes", self.name))
        } else if !self.argv.first().is_some_and(|program| {
            program.starts_with('/') || self.root.image_root().is_some() && !program.is_empty()
        }) {
            Err("the first argument is not the absolute path of a program".to_owned())
        } else if self.argv.iter().chain(self.fork_server.iter().flatten()).any(|argument| nul(argument))
            || nul(&self.cwd)
        {
            Err("an argument or the working folder holds a zero byte".to_owned())
        } else if let Some((name, _)) = self
            .env
            .iter()
            .find(|(name, value)| name.is_empty() || name.contains('=') || nul(name) || nul(value))
        {
            Err(format!("environment variable {name:?}: empty name, `=` in the name, or a zero byte"))
        } else if self.hostname.is_empty() || self.hostname.len() > 64 {
            Err("the host name is empty or longer than 64 bytes".to_owned())
        } else if self.files.len() > MAX_FILES {
            Err(format!("{} files, at most {MAX_FILES}", self.files.len()))
        } else if self.root.entries().len() > MAX_ENTRIES {
            Err(format!("{} pieces of root, at most {MAX_ENTRIES}", self.root.entries().len()))
        } else {
            Ok(())
        }
    }
}

/// The network of a cell.
#[derive(Debug, Clone)]
pub enum CellNetwork {
    /// A fresh, empty network namespace with only the loopback device.
    Isolated,
    /// A prepared network namespace.
    Prepared(Arc<OwnedFd>),
}

/// What a cell may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in bytes, scratch folders included; there is no swap.
    pub memory: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Open files per process.
    pub files: u64,
    /// Share of the processor under contention, 2..=262144; 1024 is one ordinary process's share.
    pub cpu_weight: u32,
    /// Hard bound on processor time in thousandths of one processor; `None` for no bound.
    pub cpu_quota: Option<u32>,
    /// Size of `/tmp`, bytes; in an image, of all that it writes.
    pub tmp_bytes: u64,
}

impl Limits {
    /// The usual limits of a cell with this much memory: 1024 processes, 1024 files, half the memory for `/tmp`.
    #[must_use]
    pub fn with_memory(memory: u64) -> Self {
        Self { memory, pids: 1024, files: 1024, cpu_weight: 1024, cpu_quota: None, tmp_bytes: memory / 2 }
    }
}

/// How the program of a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// It returned this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// The helper died and took the cell with it; nothing more is known.
    Lost,
}

/// What a cell has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Most memory held at one time, bytes; 0 where it is not measured.
    pub memory_peak: u64,
    /// Memory held now, bytes; 0 where it is not measured or the cell has ended.
    pub memory_now: u64,
    /// Processor time, nanoseconds; 0 where it is not measured.
    pub cpu_ns: u64,
    /// Processes that were ended because the cell's memory was used up; 0 where they are not counted.
    pub oom_kills: u64,
}

/// The end of a cell's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// Whether a process of the cell was ended because the cell's memory was used up.
    pub oom: bool,
    /// What the cell had used.
    pub usage: Usage,
}

/// The handle of a living cell. Dropping it kills the cell in the background; [`Cell::kill`] also waits.
#[derive(Debug)]
pub struct Cell {
    door: CellDoor,
}

impl Cell {
    pub(crate) fn new(door: CellDoor) -> Self {
        Self { door }
    }

    /// The name given in its [`CellSpec`].
    #[must_use]
    pub fn name(&self) -> &str {
        self.door.name()
    }

    /// Process number, on the host, of the cell's first process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.door.pid()
    }

    /// The path under which the cell finds its code: [`ACTION_FOLDER`], or a private folder of the host in
    /// insecure process mode.
    #[must_use]
    pub fn action_folder(&self) -> PathBuf {
        self.door.action_folder()
    }

    /// Stops every process of the cell where it stands; costs microseconds, no round trip.
    ///
    /// # Errors
    /// When the kernel refuses, or the cell has ended.
    pub fn freeze(&self) -> io::Result<()> {
        self.door.control().freeze(true)
    }

    /// Lets a frozen cell go on.
    ///
    /// # Errors
    /// When the kernel refuses, or the cell has ended.
    pub fn thaw(&self) -> io::Result<()> {
        self.door.control().freeze(false)
    }

    /// Whether a process of the cell has been ended because the cell's memory was used up.
    #[must_use]
    pub fn oom_killed(&self) -> bool {
        match self.door.exit_now() {
            Some(exit) => exit.oom,
            None => self.door.control().oom_killed(),
        }
    }

    /// What the cell has used so far, or had used when it ended.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match self.door.exit_now() {
            Some(exit) => exit.usage,
            None => self.door.control().usage(),
        }
    }

    /// What the counters of a living cell with this memory limit say: two system calls, as a rule. Of one that has ended,
    /// what it had used.
    #[must_use]
    pub fn reading(&self, limit: ByteSize) -> Reading {
        let measured = |value: u64| (value > 0).then_some(value);
        match self.door.exit_now() {
            Some(Exit { usage, .. }) => Reading {
                peak_memory: measured(usage.memory_peak).map(ByteSize::bytes),
                cpu_time: measured(usage.cpu_ns).map(Duration::from_nanos),
                kills: Some(usage.oom_kills),
            },
            None => self.door.control().reading(limit),
        }
    }

    /// Lays `layer` (a folder of the host, shared and never written) over [`ACTION_FOLDER`] of the running cell,
    /// with a private writable layer of at most `upper_bytes` above it, charged to the cell's memory.
    ///
    /// Files of the layer must be readable and writable, folders also searchable, by everybody, or the cell cannot
    /// change its copies of them.
    ///
    /// # Errors
    /// See [`MountError`]; the cell is left as it was.
    pub async fn mount_code(&self, layer: &Path, upper_bytes: u64) -> Result<(), MountError> {
        self.door.mount_code(layer, upper_bytes).await
    }

    /// Whether the program of the cell is known to have ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.door.exit_now().is_some()
    }

    /// Waits for the program of the cell to end. Safe to cancel, may be awaited by many.
    pub async fn exited(&self) -> Exit {
        self.door.exited().await
    }

    /// A new TCP socket in the cell's network, not connected yet.
    ///
    /// # Errors
    /// When the cell has ended, or there is no helper to make it.
    pub async fn socket(&self) -> io::Result<OwnedFd> {
        self.door.socket().await
    }

    /// Ends the cell; resolves when every process, mount, control group and scratch folder of it is gone.
    ///
    /// # Errors
    /// When the helper is lost or gives no answer in time; the cell's processes have died with it then.
    pub async fn kill(&self) -> Result<Exit, HelperLost> {
        self.door.kill().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> CellSpec {
        CellSpec {
            name: name.to_owned(),
            root: Arc::new(RootSpec::host_system(&[])),
            argv: vec!["/bin/true".to_owned()],
            fork_server: None,
            env: vec![("KEY".to_owned(), "secret".to_owned())],
            cwd: "/".to_owned(),
            hostname: "cell".to_owned(),
            limits: Limits::with_memory(1 << 20),
            network: CellNetwork::Isolated,
            files: Vec::new(),
        }
    }

    #[test]
    fn names_cannot_lead_out_of_their_folder() {
        assert!(spec("wsk-0-a1").check().is_ok());
        for name in ["", "..", "a/b", "A", "a.b", &"a".repeat(MAX_NAME + 1)] {
            assert!(spec(name).check().is_err(), "{name}");
        }
    }

    #[test]
    fn environment_is_not_shown() {
        assert!(!format!("{:?}", spec("a")).contains("secret"));
    }
}
