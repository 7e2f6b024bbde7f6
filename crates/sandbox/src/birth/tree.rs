//! Root trees: for each [`RootSpec`] one mount namespace whose `/` is the finished, read-only root.
//!
//! A cell is born into a copy of it, so the host's files are out of reach by construction: there is no old root to
//! leave. Only what is private to the cell is mounted at birth.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::Arc;

use chasen_runtime::walls::{self, Wall};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use rustix::thread::UnshareFlags;

use super::home::{Home, failed};
use crate::helper::wire;
use crate::mounts::{self, harmless};
use crate::root::{Entry, RootSpec};
use crate::sys::{self, Fork};

/// Most different roots that one helper keeps: kinds of a node, with room to spare.
const MAX_TREES: usize = 256;
/// Devices that a cell gets; all harmless and without state.
pub(super) const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Where the cell's own mounts will be attached, and folders that programs expect.
const FOLDERS: [&str; 6] = ["proc", "tmp", "dev/shm", "action", "etc", "var"];
/// Links that programs expect.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/proc/mounts", "etc/mtab"),
    ("/tmp", "var/tmp"),
];

/// The trees made so far.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    built: HashMap<Arc<RootSpec>, OwnedFd>,
}

impl Trees {
    /// The mount namespace for this root, made now if it is new. `workbench` is any folder of the host.
    ///
    /// # Errors
    /// The step that failed; nothing is kept then.
    pub(crate) fn get(
        &mut self,
        home: &Home,
        spec: &Arc<RootSpec>,
        workbench: &Path,
    ) -> Result<BorrowedFd<'_>, String> {
        if !self.built.contains_key(spec) {
            if self.built.len() >= MAX_TREES {
                return Err(format!("{MAX_TREES} different roots are in use, no more are kept"));
            }
            let tree = build(home, spec, workbench);
            home.come_back(false);
            self.built.insert(Arc::clone(spec), tree?);
        }
        self.built.get(spec).map(AsFd::as_fd).ok_or_else(|| "the root was not kept".to_owned())
    }
}

/// Builds a tree and leaves the helper inside it.
fn build(home: &Home, spec: &RootSpec, workbench: &Path) -> Result<OwnedFd, String> {
    // Views are taken while the host's files can still be named.
    let mut pieces = Vec::new();
    for entry in spec.entries() {
        pieces.push(match entry {
            Entry::Bind { source, .. } => Some((read_only(source, harmless())?, source.is_dir())),
            Entry::Link { .. } | Entry::File { .. } => None,
        });
    }
    let mut devices = Vec::new();
    for device in DEVICES {
        let view = read_only(&Path::new("/dev").join(device), MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        devices.push((view, Path::new("dev").join(device)));
    }
    let proc = processes()?;

    sys::unshare(UnshareFlags::NEWNS).map_err(failed("making the root's mount namespace"))?;
    let root = mounts::make("tmpfs", &[("mode", "0755"), ("size", "4m")], harmless())
        .map_err(failed("making the root"))?;
    mounts::attach(&root, workbench).map_err(failed("attaching the root"))?;
    rustix::process::fchdir(&root).map_err(failed("entering the root"))?;

    for folder in FOLDERS {
        folder_at(&root, Path::new(folder))?;
    }
    for (to, target) in LINKS {
        link_at(&root, Path::new(to), Path::new(target))?;
    }
    for (device, target) in &devices {
        file_at(&root, target, "")?;
        attach_in(&root, device, target)?;
    }
    for (entry, piece) in spec.entries().iter().zip(&pieces) {
        lay(&root, entry, piece.as_ref())?;
    }
    // A cell may only mount its own view of processes where one can be seen already.
    attach_in(&root, &proc, Path::new("proc"))?;
    if !walls::stand(Wall::PrivateScratch) {
        for folder in ["tmp", "dev/shm"] {
            let shared = mounts::make("tmpfs", &[("mode", "1777")], harmless())
                .map_err(failed("making what all cells share"))?;
            attach_in(&root, &shared, Path::new(folder))?;
        }
    }

    sys::set_mount_attributes(root.as_fd(), unwritable(), false)
        .map_err(failed("making the root read-only"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("turning the tree into the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the host's files behind"))?;
    home.open_proc("self/ns/mnt", OFlags::RDONLY)
}

/// What keeps cells from writing what they share.
fn unwritable() -> MountAttrFlags {
    if walls::stand(Wall::ReadOnlyRoot) { MountAttrFlags::MOUNT_ATTR_RDONLY } else { MountAttrFlags::empty() }
}

/// A view of a host path that cannot be written.
pub(super) fn read_only(source: &Path, attributes: MountAttrFlags) -> Result<OwnedFd, String> {
    let view = mounts::view(source).map_err(failed(format!("reaching {}", source.display())))?;
    sys::set_mount_attributes(view.as_fd(), attributes | unwritable(), true)
        .map_err(failed(format!("making {} read-only", source.display())))?;
    Ok(view)
}

/// What a cell sees as processes before it mounts its own view of them.
pub(super) fn processes() -> Result<OwnedFd, String> {
    if walls::stand(Wall::PidNamespace) {
        hollow_proc()
    } else {
        mounts::view(Path::new("/proc")).map_err(failed("reaching /proc"))
    }
}

/// A view of processes in which there are none: that of a process namespace whose only member has ended.
fn hollow_proc() -> Result<OwnedFd, String> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(failed("making a socket"))?;
    match sys::fork(libc::CLONE_NEWPID, None).map_err(failed("making a process namespace"))? {
        Fork::Child => {
            let attributes = harmless() | MountAttrFlags::MOUNT_ATTR_NOEXEC;
            let sent = mounts::make("proc", &[], attributes)
                .is_ok_and(|proc| wire::send(theirs.as_fd(), b"null", &[proc.as_fd()]).is_ok());
            sys::exit_now(i32::from(!sent));
        }
        Fork::Parent { pidfd, .. } => {
            rustix::process::waitid(
                rustix::process::WaitId::PidFd(pidfd.as_fd()),
                rustix::process::WaitIdOptions::EXITED,
            )
            .map_err(failed("waiting for a process namespace to empty"))?;
            let (_, mut fds) = wire::Receiver::new()
                .receive::<()>(ours.as_fd())
                .map_err(|_| "mounting /proc in a new process namespace was refused".to_owned())?
                .unwrap_or_default();
            fds.pop().ok_or_else(|| "mounting /proc gave nothing".to_owned())
        }
    }
}

/// Lays one piece of a root.
fn lay(root: &OwnedFd, entry: &Entry, piece: Option<&(OwnedFd, bool)>) -> Result<(), String> {
    match (entry, piece) {
        (Entry::Bind { target, .. }, Some((view, is_folder))) => {
            let target = inner(target);
            if *is_folder {
                folder_at(root, target)?;
            } else {
                file_at(root, target, "")?;
            }
            attach_in(root, view, target)
        }
        (Entry::Bind { target, .. }, None) => Err(format!("{} has no source", target.display())),
        (Entry::Link { to, target }, _) => link_at(root, to, inner(target)),
        (Entry::File { content, target }, _) => file_at(root, inner(target), content),
    }
}

/// A target without its leading slash.
fn inner(target: &Path) -> &Path {
    target.strip_prefix("/").unwrap_or(target)
}

/// Opens a path of the tree; links are followed as the cell will follow them.
fn open_in(root: &OwnedFd, path: &Path, flags: OFlags) -> Result<OwnedFd, String> {
    let flags = flags | OFlags::CLOEXEC;
    let mode = if flags.contains(OFlags::CREATE) { Mode::from(0o644) } else { Mode::empty() };
    rustix::fs::openat2(root, path, flags, mode, ResolveFlags::IN_ROOT)
        .map_err(failed(format!("opening {} in the root", path.display())))
}

/// Makes a folder and those above it.
pub(super) fn folder_at(root: &OwnedFd, path: &Path) -> Result<OwnedFd, String> {
    let mut folder = open_in(root, Path::new("."), OFlags::PATH)?;
    let mut so_far = std::path::PathBuf::new();
    for component in path.components() {
        let Component::Normal(name) = component else {
            return Err(format!("{} is not a plain path", path.display()));
        };
        so_far.push(name);
        match rustix::fs::mkdirat(&folder, name, Mode::from(0o755)) {
            Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
            Err(error) => return Err(format!("making {} in the root: {error}", so_far.display())),
        }
        folder = open_in(root, &so_far, OFlags::PATH | OFlags::DIRECTORY)?;
    }
    Ok(folder)
}

fn parent_at(root: &OwnedFd, path: &Path) -> Result<OwnedFd, String> {
    folder_at(root, path.parent().unwrap_or(Path::new("")))
}

/// Makes a file with this content, or leaves the one that is there.
pub(super) fn file_at(root: &OwnedFd, path: &Path, content: &str) -> Result<(), String> {
    parent_at(root, path)?;
    if content.is_empty() && open_in(root, path, OFlags::PATH).is_ok() {
        return Ok(());
    }
    let file = open_in(root, path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
    std::io::Write::write_all(&mut std::fs::File::from(file), content.as_bytes())
        .map_err(failed(format!("writing {} in the root", path.display())))
}

pub(super) fn link_at(root: &OwnedFd, to: &Path, path: &Path) -> Result<(), String> {
    let parent = parent_at(root, path)?;
    let name = path.file_name().ok_or_else(|| format!("{} is not a name", path.display()))?;
    rustix::fs::symlinkat(to, &parent, name)
        .map_err(failed(format!("linking {} in the root", path.display())))
}

pub(super) fn attach_in(root: &OwnedFd, mount: &OwnedFd, path: &Path) -> Result<(), String> {
    let target = open_in(root, path, OFlags::PATH)?;
    mounts::attach_at(mount, target.as_fd()).map_err(failed(format!("attaching {}", path.display())))
}
