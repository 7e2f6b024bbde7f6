//! Laying code over a living cell: an overlay of the shared, read-only layer and a private upper layer in memory.
//!
//! The helper owns the overlay, so that copies of the layer's files keep their owner; the cell may write because the
//! layer's files are open to everybody. The upper layer's memory is charged to whoever fills it: the cell.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use chasen_runtime::walls::{self, Wall};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::mount::{UnmountFlags, unmount};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::home::{Home, failed};
use crate::cell::ACTION_FOLDER;
use crate::mounts::{self, harmless};

/// What to lay, and over whom.
pub(crate) struct Code<'a> {
    /// The shared layer, a folder of the host.
    pub(crate) layer: &'a Path,
    /// Size of the upper layer.
    pub(crate) upper_bytes: u64,
    /// Who shall own the upper layer's root, as the helper counts.
    pub(crate) owner: u32,
    /// Stands for the cell's first process.
    pub(crate) cell: &'a OwnedFd,
    /// Its mount namespace, where it was opened in time.
    pub(crate) mounts: Option<&'a OwnedFd>,
}

/// Lays the code. `workbench` is any folder of the host.
///
/// # Errors
/// The step that failed; the cell is as it was.
pub(crate) fn lay(home: &Home, workbench: &Path, code: &Code<'_>) -> Result<(), String> {
    let overlay = if !walls::stand(Wall::PrivateCode) {
        mounts::view(code.layer).map_err(failed("sharing the layer"))?
    } else {
        let layer =
            rustix::fs::open(code.layer, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(failed(format!("opening {}", code.layer.display())))?;
        let upper = upper_layer(code)?;
        // An overlay takes its layers only from attached mounts; once it stands it needs the place no more.
        mounts::attach(&upper, workbench).map_err(failed("attaching the upper layer"))?;
        let overlay = stack(home, &layer, &upper);
        unmount(workbench, UnmountFlags::DETACH).map_err(failed("detaching the upper layer"))?;
        overlay?
    };
    let entered = match code.mounts {
        Some(mounts) => Home::enter_mounts(mounts.as_fd()),
        None => move_into_thread_name_spaces(code.cell.as_fd(), ThreadNameSpaceType::MOUNT)
            .map_err(failed("entering the cell")),
    };
    let attached = entered.and_then(|()| {
        mounts::attach(&overlay, Path::new(ACTION_FOLDER)).map_err(failed("attaching the code"))
    });
    home.come_back(false);
    attached
}

/// A file system in memory with the two folders that an overlay wants.
fn upper_layer(code: &Code<'_>) -> Result<OwnedFd, String> {
    let upper = mounts::make_scratch(code.upper_bytes, "0755", harmless())
        .map_err(failed("making the upper layer"))?;
    for folder in ["upper", "work"] {
        rustix::fs::mkdirat(&upper, folder, Mode::from(0o755))
            .map_err(failed("making the upper layer's folders"))?;
    }
    let (user, group) = (Uid::from_raw(code.owner), Gid::from_raw(code.owner));
    rustix::fs::chownat(&upper, "upper", Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("giving the upper layer to the cell"))?;
    Ok(upper)
}

/// Stacks the upper layer over the shared one. Paths go through descriptors: a layer's name may hold any character.
fn stack(home: &Home, layer: &OwnedFd, upper: &OwnedFd) -> Result<OwnedFd, String> {
    let of = |fd: &OwnedFd, below: &str| format!("/proc/self/fd/{}{below}", fd.as_raw_fd());
    let (lower, over, work) = (of(layer, ""), of(upper, "/upper"), of(upper, "/work"));
    let mut options =
        vec![("source", "overlay"), ("lowerdir", lower.as_str()), ("upperdir", &over), ("workdir", &work)];
    if !home.privileged() {
        // Without the host's root only attributes of users can be set on files.
        options.push(("userxattr", ""));
    }
    mounts::make("overlay", &options, harmless()).map_err(failed("stacking the layers"))
}
