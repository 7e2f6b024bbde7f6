//! The helper's side of the birth of an isolated cell.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use chasen_runtime::walls::{self, Wall};
use rustix::pipe::{PipeFlags, pipe_with};

use super::home::{Home, failed};
use super::inside::{self, Inside};
use super::news::Listener;
use super::program::Program;
use crate::cgroup::Entrances;
use crate::helper::wire::StartRequest;
use crate::seccomp::Filter;
use crate::sys::{Fork, cell_namespaces};

/// How eagerly the kernel picks a cell's processes when the whole machine runs out of memory (0 is neutral, 1000 first).
pub(super) const OOM_SCORE: &str = "600";

/// A process that has been born and will tell how it goes on.
#[derive(Debug)]
pub(crate) struct Newborn {
    /// Its number on the host.
    pub(crate) pid: i32,
    /// Stands for it.
    pub(crate) pidfd: OwnedFd,
    /// Where it tells.
    pub(crate) listener: Listener,
    /// The way back into its mount namespace, for a helper whose rights over the hidden process do not suffice.
    pub(crate) mounts: Option<OwnedFd>,
    /// Where it is told, if it waits for that, which process is its program: see [`let_go_on`].
    pub(crate) gate: Option<OwnedFd>,
}

/// Lets a newborn go on that waits for its program: `program` is its number inside the cell, or the newborn starts it
/// itself. A newborn that has died meanwhile needs no word.
pub(crate) fn let_go_on(gate: &OwnedFd, program: Option<i32>) {
    let _ = rustix::io::write(gate, &program.unwrap_or(inside::NO_PROGRAM).to_be_bytes());
}

/// Everything around the birth of one cell.
pub(crate) struct Cradle<'a> {
    pub(crate) home: &'a Home,
    /// The mount namespace of its root.
    pub(crate) tree: BorrowedFd<'a>,
    /// Its prepared network, if any.
    pub(crate) network: Option<OwnedFd>,
    pub(crate) entrances: Entrances,
    pub(crate) filter: &'a Filter,
    /// Its user and group number as the helper sees it.
    pub(crate) outer_id: u32,
    /// Whether a fork server shall bear its program.
    pub(crate) is_forked: bool,
}

/// Gives birth to a cell.
///
/// # Errors
/// The step that failed on the helper's side; what fails inside is told by the newborn.
pub(crate) fn bear(
    cradle: Cradle<'_>,
    request: &StartRequest,
    files: Vec<OwnedFd>,
) -> Result<Newborn, String> {
    let program = Program::new(&request.argv, &request.env, &request.cwd, files)?;
    let program = if request.awaits_files { program.awaiting_files() } else { program };
    let (listener, teller) = Listener::pair().map_err(failed("making a pipe"))?;
    let (gate, opener) = pipe_with(PipeFlags::CLOEXEC).map_err(failed("making a pipe"))?;
    let Cradle { home, tree, network, entrances, filter, outer_id, is_forked } = cradle;

    let hosts_network = !walls::stand(Wall::NetworkNamespace);
    let network = network.filter(|_| !hosts_network);
    let own_network = network.is_none() && !hosts_network;
    let namespaces = cell_namespaces() | if own_network { libc::CLONE_NEWNET } else { 0 };
    let born = Home::enter_mounts(tree)
        .and_then(|()| network.as_ref().map_or(Ok(()), |network| Home::enter_network(network.as_fd())))
        .and_then(|()| home.fork_as(outer_id, namespaces, entrances.born_into.as_ref().map(AsFd::as_fd)));
    if let Ok(Fork::Child) = born {
        drop(opener);
        inside::live(Inside {
            teller,
            gate,
            entrances: entrances.by_writing,
            own_network,
            hostname: &request.hostname,
            root: &request.root,
            limits: &request.limits,
            filter,
            program,
            is_forked,
        });
    }
    home.come_back(network.is_some());
    let Fork::Parent { pid, pidfd } = born? else { return Err("the child came back".to_owned()) };

    let mapped = map_user(home, pid, request.root.user(), outer_id)
        .and_then(|()| home.write_proc(&format!("{pid}/oom_score_adj"), OOM_SCORE))
        .and_then(|()| {
            // As long as the newborn waits it is not hidden yet.
            if home.privileged() {
                return Ok(None);
            }
            home.open_proc(&format!("{pid}/ns/mnt"), rustix::fs::OFlags::RDONLY).map(Some)
        })
        .and_then(|mounts| {
            rustix::io::write(&opener, b"g").map(|_| mounts).map_err(failed("letting the newborn go on"))
        });
    match mapped {
        Ok(mounts) => Ok(Newborn { pid, pidfd, listener, mounts, gate: is_forked.then_some(opener) }),
        Err(error) => {
            let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
            let _ = rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            );
            Err(error)
        }
    }
}

/// Makes a number of the host the one user, and the one group, that the newborn knows.
fn map_user(home: &Home, pid: i32, (user, group): (u32, u32), outer_id: u32) -> Result<(), String> {
    if !walls::stand(Wall::UserNamespace) {
        return Ok(());
    }
    home.write_proc(&format!("{pid}/uid_map"), &format!("{user} {outer_id} 1"))?;
    home.write_proc(&format!("{pid}/gid_map"), &format!("{group} {outer_id} 1"))
}
