//! Child processes: started with a channel on descriptor 3, waited for by one reaper, ended with all they started.
//!
//! The proxy is PID 1 of its container, or takes in what loses its parent all the same: whatever ends anywhere below is
//! waited for here, and here alone.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{DupFlags, Errno, dup2, dup3};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, wait,
};
use tokio::sync::watch;

/// The descriptor on which children find their channel.
const CHANNEL: i32 = 3;
/// How often, [`CLEANING_PAUSE`] apart, orphans are looked for before they are left to the container's end.
const CLEANING_ROUNDS: u32 = 100;
const CLEANING_PAUSE: Duration = Duration::from_millis(10);

/// All children of this process.
pub(crate) struct Children {
    known: Mutex<HashMap<Pid, watch::Sender<Option<u8>>>>,
    berth: Mutex<Berth>,
}

/// Descriptor 3 of this process: it holds nothing but, for the moment of a start, what the child shall find there.
/// Everything else that is open is closed on exec.
struct Berth {
    place: OwnedFd,
    nothing: OwnedFd,
}

/// One child that was started here.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pid: Pid,
    exit: watch::Receiver<Option<u8>>,
}

impl Children {
    /// Takes descriptor 3, whatever was on it, and responsibility for every process below.
    /// Must be the first thing that a process does.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> io::Result<Arc<Self>> {
        // What a parent left open there is not for us; mostly there is nothing.
        let _ = nix::unistd::close(CHANNEL);
        let place = eventfd(0, EventfdFlags::CLOEXEC)?;
        if place.as_raw_fd() != CHANNEL {
            return Err(io::Error::other("descriptor 3 cannot be had"));
        }
        let nothing = eventfd(0, EventfdFlags::CLOEXEC)?;
        set_child_subreaper(Some(getpid()))?;
        Ok(Arc::new(Self { known: Mutex::default(), berth: Mutex::new(Berth { place, nothing }) }))
    }

    /// Starts a process, leader of a group of its own, with `channel` as its descriptor 3.
    ///
    /// # Errors
    /// The system's word about the program.
    pub(crate) fn spawn(&self, command: &mut Command, channel: Option<OwnedFd>) -> io::Result<Process> {
        // Held until the process is known: the reaper does not take its end for a stranger's.
        let mut known = self.known.lock();
        let mut berth = self.berth.lock();
        let Berth { place, nothing } = &mut *berth;
        if let Some(channel) = &channel {
            dup2(channel, place)?;
        }
        let child = command.process_group(0).spawn();
        dup3(&*nothing, place, DupFlags::CLOEXEC)?;
        let pid = i32::try_from(child?.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
        let (sender, exit) = watch::channel(None);
        known.insert(pid, sender);
        Ok(Process { pid, exit })
    }

    /// Waits for everything that has ended.
    pub(crate) fn reap(&self) {
        let mut known = self.known.lock();
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if let Some(sender) = known.remove(&pid) {
                        let signal = status.terminating_signal().map(|signal| signal.saturating_add(128));
                        let code = status.exit_status().or(signal).unwrap_or(255);
                        sender.send_replace(Some(u8::try_from(code).unwrap_or(255)));
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Sends a signal to the group of every process that was started here and lives.
    pub(crate) fn signal(&self, signal: Signal) {
        for pid in self.known.lock().keys() {
            // It may have ended by itself.
            let _ = kill_process_group(*pid, signal);
        }
    }

    /// Waits until none of the processes that were started here is left.
    pub(crate) async fn all_ended(&self) {
        loop {
            let next = self.known.lock().values().next().map(watch::Sender::subscribe);
            let Some(mut next) = next else { return };
            // The sender is gone once it has sent.
            let _ = next.wait_for(Option::is_some).await;
        }
    }

    /// Ends whatever runs below this process.
    pub(crate) async fn sweep(&self) {
        for _ in 0..CLEANING_ROUNDS {
            self.signal(Signal::KILL);
            self.reap();
            let left = chasen_native_launcher::children().unwrap_or_default();
            if left.is_empty() {
                return;
            }
            for pid in left {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            tokio::time::sleep(CLEANING_PAUSE).await;
        }
    }
}

impl Process {
    /// Exit status, or 128 and the signal's number; `None` while it runs.
    pub(crate) fn exit(&self) -> Option<u8> {
        *self.exit.borrow()
    }

    /// True if it runs, wants to, waits for the disk, or has ended and was not waited for; false where nothing tells.
    pub(crate) fn is_busy(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // Behind the name, which may hold anything.
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        matches!(state, Some('R' | 'D' | 'Z' | 'X'))
    }

    /// Waits for its end.
    pub(crate) async fn exited(&self) -> u8 {
        let mut exit = self.exit.clone();
        // The sender lives until it has sent.
        exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit).unwrap_or(255)
    }

    /// Ends it and its group.
    pub(crate) fn kill(&self) {
        if self.exit().is_none() {
            // It may have ended by itself.
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
    }
}
