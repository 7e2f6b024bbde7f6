//! The helper's own namespaces: where it lives, and how it visits others and comes back.

use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use chasen_runtime::walls::{self, Wall};
use rustix::fs::{CWD, Mode, OFlags, Uid};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{
    LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space, set_capabilities,
    set_thread_res_uid,
};

use crate::cell::INNER_ID;
use crate::sys::{self, Fork};

/// The namespaces that the helper returns to.
#[derive(Debug)]
pub(crate) struct Home {
    /// The host's `/proc`, reachable from everywhere.
    proc: OwnedFd,
    mounts: OwnedFd,
    network: OwnedFd,
    /// Whether the helper is the host's root; otherwise it is root only in a user namespace of its own.
    privileged: bool,
}

/// Names a failed step for whoever reads the report.
pub(crate) fn failed<E: Display>(step: impl Display) -> impl FnOnce(E) -> String {
    move |error| format!("{step}: {error}")
}

impl Home {
    /// Moves the helper into a private copy of the host's mounts, and without root into an own user namespace.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn settle() -> Result<Self, String> {
        let privileged = rustix::process::geteuid().is_root();
        if privileged {
            sys::unshare(UnshareFlags::NEWNS).map_err(failed("leaving the host's mount namespace"))?;
            rustix::thread::set_thread_groups(&[]).map_err(failed("leaving all groups"))?;
        } else {
            become_own_root()?;
        }
        let from_host = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", from_host).map_err(failed("keeping mounts private"))?;
        let open = |path: &str, flags: OFlags| {
            rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed(format!("opening {path}")))
        };
        Ok(Self {
            proc: open("/proc", OFlags::PATH | OFlags::DIRECTORY)?,
            mounts: open("/proc/self/ns/mnt", OFlags::RDONLY)?,
            network: open("/proc/self/ns/net", OFlags::RDONLY)?,
            privileged,
        })
    }

    pub(crate) fn privileged(&self) -> bool {
        self.privileged
    }

    /// The number, in the helper's user namespace, of the cell user number `index` above `base`.
    pub(crate) fn outer_id(&self, base: u32, index: u32) -> u32 {
        match self.privileged {
            true if walls::stand(Wall::UserNamespace) => base.saturating_add(index),
            // Inside and outside are the same then.
            true => INNER_ID,
            false => 0,
        }
    }

    /// Opens a file of the host's `/proc`, such as `self/ns/mnt`.
    pub(crate) fn open_proc(&self, path: &str, flags: OFlags) -> Result<OwnedFd, String> {
        rustix::fs::openat(&self.proc, path, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(failed(format!("opening /proc/{path}")))
    }

    /// Writes a file of the host's `/proc`.
    pub(crate) fn write_proc(&self, path: &str, text: &str) -> Result<(), String> {
        let file = self.open_proc(path, OFlags::WRONLY)?;
        rustix::io::write(&file, text.as_bytes()).map_err(failed(format!("writing /proc/{path}")))?;
        Ok(())
    }

    /// Enters a mount namespace.
    pub(crate) fn enter_mounts(namespace: BorrowedFd<'_>) -> Result<(), String> {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Mount))
            .map_err(failed("entering a mount namespace"))
    }

    /// Enters a network namespace.
    pub(crate) fn enter_network(namespace: BorrowedFd<'_>) -> Result<(), String> {
        move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
            .map_err(failed("entering the prepared network namespace"))
    }

    /// Forks a cell's first process as [`sys::fork`] does. A user namespace that is made for it belongs to the cell's own
    /// number on the host, and not to root: what the kernel counts by user (watches of files, signals that wait, bytes in
    /// queues) it counts for whoever the namespace belongs to as well, so that one cell could use up what all have.
    ///
    /// # Errors
    /// The step that the kernel refused.
    pub(crate) fn fork_as(
        &self,
        owner: u32,
        namespaces: i32,
        group: Option<BorrowedFd<'_>>,
    ) -> Result<Fork, String> {
        let is_owner = self.privileged && namespaces & libc::CLONE_NEWUSER != 0;
        let is_prepared = if is_owner { become_for_a_moment(owner) } else { Ok(()) };
        let born = is_prepared
            .and_then(|()| sys::fork(namespaces, group).map_err(failed("making the cell's namespaces")));
        let stays_behind = is_owner && !matches!(born, Ok(Fork::Child));
        // With this user all rights come back.
        if stays_behind && set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).is_err() {
            sys::exit_now(crate::helper::EXIT_ASTRAY);
        }
        born
    }

    /// Comes back from every visit. A helper that cannot must not go on: it would act in the wrong place.
    pub(crate) fn come_back(&self, network_too: bool) {
        let back = Self::enter_mounts(self.mounts.as_fd())
            .and_then(|()| if network_too { Self::enter_network(self.network.as_fd()) } else { Ok(()) });
        if back.is_err() {
            sys::exit_now(crate::helper::EXIT_ASTRAY);
        }
    }
}

/// Makes a user of the host the effective one, without a loss of rights.
fn become_for_a_moment(user: u32) -> Result<(), String> {
    let rights = capabilities(None).map_err(failed("reading the helper's rights"))?;
    set_thread_res_uid(Uid::ROOT, Uid::from_raw(user), Uid::ROOT)
        .map_err(failed("acting as the cell's user"))?;
    set_capabilities(None, rights).map_err(failed("keeping rights as the cell's user"))
}

/// Makes an unprivileged helper root in a user namespace of its own, which is what mounting needs.
fn become_own_root() -> Result<(), String> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(failed("making a user namespace"))?;
    let write =
        |path: &str, text: String| std::fs::write(path, text).map_err(failed(format!("writing {path}")));
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}
