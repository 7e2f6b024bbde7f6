//! Small steps on mounts, shared by the root trees, the newborn cells and the code layers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use chasen_runtime::walls::{self, Wall};
use rustix::fs::CWD;
use rustix::io;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

/// What one file takes at least of a file system in memory, bytes: it may hold no more of them than its size says, so
/// that empty ones do not take more of the kernel's memory than full ones would.
const LEAST_FILE: u64 = 2048;
/// Files that even the smallest file system in memory may hold.
const LEAST_FILES: u64 = 1024;

/// Neither set-user-id programs nor devices: holds for every mount a cell sees, but for the few device files.
pub(crate) fn harmless() -> MountAttrFlags {
    if walls::stand(Wall::HarmlessMounts) {
        MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV)
    } else {
        MountAttrFlags::empty()
    }
}

/// Makes a file system in memory of at most `bytes`, with room for as many files as that is worth, whose top has this
/// octal mode.
///
/// # Errors
/// What the kernel says.
pub(crate) fn make_scratch(bytes: u64, mode: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    if !walls::stand(Wall::ScratchLimit) {
        return make("tmpfs", &[("mode", mode)], attributes);
    }
    let (size, files) = (bytes.to_string(), (bytes / LEAST_FILE).max(LEAST_FILES).to_string());
    make("tmpfs", &[("size", &size), ("nr_inodes", &files), ("mode", mode)], attributes)
}

/// Makes a file system that is mounted nowhere yet. An option with an empty value is a flag.
///
/// # Errors
/// What the kernel says.
pub(crate) fn make(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *key)?;
        } else {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Takes a second, unattached view of what is at `path`, with everything mounted below it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn view(path: &Path) -> io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags)
}

/// Attaches an unattached mount at `path`, which must not be a link.
///
/// # Errors
/// What the kernel says.
pub(crate) fn attach(mount: &OwnedFd, path: &Path) -> io::Result<()> {
    move_mount(mount, "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Attaches an unattached mount over what `target` (opened with `O_PATH`) stands for.
///
/// # Errors
/// What the kernel says.
pub(crate) fn attach_at(mount: &OwnedFd, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}
