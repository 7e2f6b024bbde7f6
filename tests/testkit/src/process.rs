//! Processes under test: output captured line by line, waits bounded, nothing left behind.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::Signal;

/// How long a test waits for something that should take a moment.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a command may work without a word: some compile, install or play hundreds of cases.
const WORK: Duration = Duration::from_mins(10);
/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(5);

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a command; what it says on stderr goes to `log`, its stdout is read by [`Process::line`].
    #[must_use]
    pub fn start(mut command: Command, log: &Path) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("the log can be written");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line of stdout; `None` once it is closed. Panics when none comes in time.
    pub fn line(&mut self) -> Option<String> {
        self.line_within(PATIENCE)
    }

    /// The same of a process that works before it says something.
    pub fn line_after_work(&mut self) -> Option<String> {
        self.line_within(WORK)
    }

    fn line_within(&mut self, patience: Duration) -> Option<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("no line within {patience:?}"),
        }
    }

    /// Number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        crate::machine::signal(self.child.id(), signal);
    }

    /// Waits for the end. Panics when it does not come in time.
    pub fn wait(&mut self, patience: Duration) -> ExitStatus {
        self.ended_within(patience)
            .unwrap_or_else(|| panic!("process {} still runs after {patience:?}", self.pid()))
    }

    /// True once it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.ended_within(Duration::ZERO).is_some()
    }

    fn ended_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Ends it as a good citizen would, or else by force.
    fn end(&mut self) {
        if self.ended_within(Duration::ZERO).is_some() {
            return;
        }
        self.signal(Signal::TERM);
        if self.ended_within(PATIENCE / 4).is_none() {
            eprintln!("process {} did not stop on SIGTERM and was killed", self.pid());
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a command that ended has said.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a command to its end. Panics when it works for minutes without a word.
#[must_use]
pub fn run(mut command: Command) -> Finished {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let log = folder.path().join("stderr");
    command.stdin(Stdio::null());
    let mut process = Process::start(command, &log);
    let mut stdout = String::new();
    while let Some(line) = process.line_after_work() {
        stdout.push_str(&line);
        stdout.push('\n');
    }
    let status = process.wait(PATIENCE);
    let stderr = std::fs::read(&log).expect("the log can be read");
    Finished { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}
