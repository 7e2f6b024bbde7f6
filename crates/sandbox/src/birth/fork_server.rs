//! Fork servers: interpreters that are up already and become the programs of cells by forking.
//!
//! One is started by the helper as a process of its own kind, trusted and never given a function's code. It sees the
//! root of the cells that it serves and nothing else, and keeps just the rights that joining a cell takes. How it bears
//! a program is told in `runtimes/python/fork_server.py`; what it is sent is made here.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Signal, WaitId, WaitIdOptions, set_parent_process_death_signal};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use super::home::{Home, failed};
use super::isolated::OOM_SCORE;
use super::news::News;
use super::program::Program;
use super::rights::{self, Call};
use crate::cell::INNER_ID;
use crate::helper::wire::StartRequest;
use crate::seccomp::Filter;
use crate::sys::{self, Fork};

/// Files that a fork server may have open: its own few and those of a birth.
const FILES: u64 = 1024;

/// A fork server's process. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct ForkServer {
    pidfd: OwnedFd,
    /// Where it is asked and answers, a message at a time.
    pub(crate) socket: OwnedFd,
}

/// What it is asked: one birth. Beside it are, as descriptors, the cell's first process, its groups' entrances, and the
/// program's files.
#[derive(Serialize)]
struct Birth<'a> {
    calls: &'a [Call],
    entrances: usize,
    awaits_files: bool,
}

/// What it says.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Word {
    /// It takes births.
    Ready,
    /// The program is there, with this number inside its cell.
    Forked { pid: i32 },
    /// There is no program; nothing of the attempt is left.
    Refused { reason: String },
}

/// The message that asks for the program of a cell with `entrances` groups, which may have to wait for its files.
///
/// # Errors
/// When the rights of a program cannot be named.
pub(crate) fn birth(
    files: u64,
    filter: &Filter,
    entrances: usize,
    awaits_files: bool,
) -> Result<Vec<u8>, String> {
    let mut calls = rights::becoming_the_user((INNER_ID, INNER_ID));
    calls.extend(rights::giving_up(files, filter)?);
    serde_json::to_vec(&Birth { calls: &calls, entrances, awaits_files })
        .map_err(failed("asking for a birth"))
}

impl ForkServer {
    /// Starts one with this command, in the root, environment and folder of the cells that it shall serve.
    ///
    /// # Errors
    /// The step that failed on the helper's side; what fails later ends the process, and closes the socket with it.
    pub(crate) fn start(
        home: &Home,
        tree: BorrowedFd<'_>,
        command: &[String],
        cell: &StartRequest,
    ) -> Result<Self, String> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(failed("making a socket"))?;
        let null = || {
            let file = std::fs::File::options().read(true).write(true).open("/dev/null");
            file.map(OwnedFd::from).map_err(failed("opening /dev/null"))
        };
        let complaints =
            || std::io::stderr().as_fd().try_clone_to_owned().map_err(failed("sharing a stream"));
        let program =
            Program::new(command, &cell.env, &cell.cwd, vec![null()?, null()?, complaints()?, theirs])?;
        let words = complaints()?;
        let born = Home::enter_mounts(tree).and_then(|()| {
            sys::fork(libc::CLONE_NEWNET | libc::CLONE_NEWIPC, None).map_err(failed("making a fork server"))
        });
        if let Ok(Fork::Child) = born {
            live(program, &words);
        }
        home.come_back(false);
        let Fork::Parent { pid, pidfd } = born? else { return Err("the child came back".to_owned()) };
        let server = Self { pidfd, socket };
        // What it bears inherits that.
        home.write_proc(&format!("{pid}/oom_score_adj"), OOM_SCORE)?;
        Ok(server)
    }
}

impl Drop for ForkServer {
    fn drop(&mut self) {
        // Dead already is as good.
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// The child's few steps up to the program.
#[allow(unsafe_code)]
fn live(program: Program, words: &OwnedFd) -> ! {
    let mut keep: Vec<i32> = program.file_numbers().chain([words.as_raw_fd()]).collect();
    // SAFETY: this child leaves everything it inherited alone but what is kept, and ends with `exit_now` or `exec`.
    unsafe { sys::close_all_but(&mut keep) };
    let ready = set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(failed("binding to the helper's life"))
        .and_then(|()| rustix::process::setsid().map(|_| ()).map_err(failed("making a session")))
        .and_then(|()| rights::perform(&rights::limiting_resources(FILES)))
        .and_then(|()| rights::dropping_bounds(joining()))
        .and_then(|calls| rights::perform(&calls));
    let reason = match ready.map(|()| program.run()) {
        Ok(News::Failed(reason) | News::NotExecutable(reason)) | Err(reason) => reason,
        Ok(_) => String::new(),
    };
    // Whether that can be written or not, the helper sees the end.
    let _ = rustix::io::write(words, format!("fork server: {reason}\n").as_bytes());
    sys::exit_now(1)
}

/// What joining a cell takes: entering namespaces of another owner, its root, and those of a first process that is hidden.
fn joining() -> CapabilitySet {
    CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT | CapabilitySet::SYS_PTRACE
}
