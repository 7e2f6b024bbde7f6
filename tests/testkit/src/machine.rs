//! What the machine offers to tests, and what runs on it.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// True if this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// True where what the test command installs must be there: in continuous integration, which sets `CI`.
#[must_use]
pub fn everything_is_needed() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// True if a command is installed and can say its version, or what it is for.
#[must_use]
pub fn has_command(name: &str) -> bool {
    ["--version", "-V", "--help", "version"].iter().any(|question| {
        let mut command = Command::new(name);
        command.arg(question).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// True if a process of this name runs below `ancestor`.
#[must_use]
pub fn has_descendant(ancestor: u32, name: &str) -> bool {
    descendants(ancestor).iter().any(|(_, own)| own == name)
}

/// Numbers of the processes that `parent` started itself; none if it has ended.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    // The kernel's own lists of children leave some out while others end.
    processes().into_iter().filter(|(_, (_, own))| *own == parent).map(|(pid, _)| pid).collect()
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("process numbers are positive");
    kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {pid:?}: {error}"));
}

/// Every process: its number, its name, and the number of its parent.
fn processes() -> HashMap<u32, (String, u32)> {
    std::fs::read_dir("/proc")
        .expect("/proc is there")
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let parent = tail.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, (head.split_once('(')?.1.to_owned(), parent)))
        })
        .collect()
}

/// Number and name of every process below `ancestor`.
#[must_use]
pub fn descendants(ancestor: u32) -> Vec<(u32, String)> {
    let processes = processes();
    let below = |mut pid: u32| {
        while let Some((_, parent)) = processes.get(&pid) {
            if *parent == ancestor {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let found = processes.iter().filter(|(pid, _)| below(**pid));
    found.map(|(pid, (name, _))| (*pid, name.clone())).collect()
}

/// Lets this process, and those that it starts, open as many files as the system grants.
pub fn allow_many_files() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)
        .expect("up to its maximum a limit can be raised");
}
