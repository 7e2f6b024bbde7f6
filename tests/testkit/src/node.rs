//! Nodes: the real binary, serving on a free port from a data folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::Client;
use crate::binary::{binary, command_of};
use crate::process::{PATIENCE, Process};

/// Credentials of the well-known guest.
pub const GUEST: &str =
    "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:123zO3xZCLrMN6v2BKK1dXYFpXlPkccOFqm12CdAsMgRU4VrNZ9lyGVCGuMDGIwP";
/// What a node that can take work says.
const READY: &str = "chasen ready on ";
/// Lines of the log shown when a test fails.
const LOG_LINES: usize = 40;

/// Describes a node; [`Builder::start`] runs it.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    listen: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    data: Option<PathBuf>,
    program: Option<PathBuf>,
}

/// A node with default settings.
#[must_use]
pub fn node() -> Builder {
    Builder::default()
}

impl Builder {
    /// Sets one setting.
    #[must_use]
    pub fn set(self, key: &str, value: &str) -> Self {
        self.argument("--set").argument(&format!("{key}={value}"))
    }

    /// Listens here, not on a free port of the loopback address.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// Adds an argument of `serve`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs this program, not the binary under test.
    #[must_use]
    pub fn program(mut self, binary: &Path) -> Self {
        self.program = Some(binary.to_owned());
        self
    }

    /// Uses this data folder, which outlives the node.
    #[must_use]
    pub fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Starts the node and waits until it is ready.
    #[must_use]
    pub fn start(self) -> Node {
        let own = tempfile::tempdir().expect("a temporary folder can be made");
        let data = self.data.clone().unwrap_or_else(|| own.path().join("data"));
        let log = own.path().join("log");
        let mut node = Node { builder: self, own: Some(own), data, log, running: None };
        node.launch();
        node
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    builder: Builder,
    own: Option<TempDir>,
    data: PathBuf,
    log: PathBuf,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    base: String,
}

impl Node {
    /// `http://host:port`
    #[must_use]
    pub fn base(&self) -> &str {
        &self.running().base
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Number of its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running().process.pid()
    }

    /// The most memory that its process has held so far, in bytes.
    #[must_use]
    pub fn memory_peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the node runs");
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("processes have a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kilobytes") << 10
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client with the guest's credentials.
    #[must_use]
    pub fn client(&self) -> Client {
        self.anonymous().with_credentials(GUEST)
    }

    /// A client without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(self.base())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.running().process.signal(signal);
    }

    /// Stops it with SIGTERM and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the node runs");
        running.process.wait(PATIENCE)
    }

    /// Starts it again on the same data, after [`Node::stop`], [`Node::kill`] or [`Node::wait`].
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "stop the node before starting it again");
        self.launch();
    }

    fn launch(&mut self) {
        let mut process = Process::start(self.command(), &self.log);
        match process.line() {
            Some(line) if line.starts_with(READY) => {
                let base = line.trim_start_matches(READY).to_owned();
                self.running = Some(Running { process, base });
            }
            Some(line) => panic!("the node said {line:?} in place of being ready"),
            None => {
                let status = process.wait(PATIENCE);
                panic!("the node did not become ready ({status}):\n{}", self.log_tail());
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = command_of(&self.builder.program.clone().unwrap_or_else(binary));
        let listen = self.builder.listen.as_deref().unwrap_or("127.0.0.1:0");
        command.args(["serve", "--listen", listen, "--data"]).arg(&self.data);
        // Many nodes share one disk here: that it is slow says nothing about any of them.
        command.env("CHASEN_ACTIVATIONS__SLOW_COMMIT", "1 min");
        command.args(&self.builder.arguments);
        command.envs(self.builder.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the node runs")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running = None;
        if std::thread::panicking()
            && let Some(own) = self.own.take()
        {
            eprintln!("the node's last words:\n{}\nall of it: {}", self.log_tail(), own.keep().display());
        }
    }
}
