//! A node that is to die.

use std::path::{Path, PathBuf};
use std::process::Command;

use chasen_client::Client;
use chasen_testkit::{GUEST, PATIENCE, Process, Signal};

/// Settings of every node: nothing of the load is to be refused by a limit, and a few containers run at a time.
const SETTINGS: [&str; 7] = [
    "limits.invocations-per-minute=unlimited",
    "limits.fires-per-minute=unlimited",
    "limits.concurrent-invocations=unlimited",
    "node.memory=768 MB",
    "docker.enabled=false",
    "activations.slow-commit=1 min",
    "log.filter=warn",
];

/// Where a node lies: its program, its data, and its last words.
#[derive(Debug, Clone)]
pub struct Place {
    /// The binary.
    pub program: PathBuf,
    /// Folder with `data` and `log`.
    pub folder: PathBuf,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    process: Process,
    client: Client,
}

impl Place {
    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What all its lives have logged.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Where a node with the fault says how much of its log is on the disk.
    #[must_use]
    pub fn mark(&self) -> PathBuf {
        self.folder.join("synced")
    }

    /// Starts a node with these faults; nothing if it died before it was ready.
    #[must_use]
    pub fn start(&self, faults: &[String]) -> Option<Node> {
        const READY: &str = "chasen ready on ";
        let mut process = Process::start(self.command(faults), &self.log());
        while let Some(line) = process.line() {
            if let Some(base) = line.strip_prefix(READY) {
                return Some(Node { process, client: Client::new(base).with_credentials(GUEST) });
            }
        }
        process.wait(PATIENCE);
        None
    }

    fn command(&self, faults: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CHASEN_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(self.data());
        command.args(SETTINGS.iter().flat_map(|setting| ["--set", setting]));
        if !faults.is_empty() {
            command.env("CHASEN_FAULTS", faults.join(","));
        }
        command
    }

    /// The last lines of the log.
    #[must_use]
    pub fn last_words(&self) -> String {
        const LINES: usize = 30;
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }
}

impl Node {
    /// A client of the guest.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// True once it has ended by itself.
    pub fn has_died(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Kills it, if it still lives.
    pub fn kill(&mut self) {
        if !self.process.has_ended() {
            self.process.signal(Signal::KILL);
            self.process.wait(PATIENCE);
        }
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        self.process.signal(Signal::TERM);
        self.process.wait(PATIENCE);
    }
}

/// Cuts off what the log of a dead node had not brought to the disk.
///
/// # Panics
/// When the files cannot be changed.
#[cfg(feature = "power-loss")]
pub fn cut_power(place: &Place) {
    chasen_embedded::faults::cut_unsynced(&place.data(), &place.mark()).expect("the log can be cut");
}

/// This build cuts no power.
#[cfg(not(feature = "power-loss"))]
pub fn cut_power(_: &Place) {
    panic!("built without the feature `power-loss`: use `cargo xtask crash`");
}

/// True if this build can cut the power.
#[must_use]
pub fn can_cut_power() -> bool {
    cfg!(feature = "power-loss")
}

/// The program that is looked at if nothing else is said.
#[must_use]
pub fn default_program() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().unwrap_or(Path::new(".")).join("chasen")
}
