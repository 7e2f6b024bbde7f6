//! The root of a cell that runs an image: the image's layers, never written, beneath a private layer in memory.
//!
//! Unlike other roots it is made for one cell: programs in images expect to write everywhere. All files of an image
//! lie on disk as the node's own; a helper with the machine's root shows them to the cell as files of the cell's one
//! user, by mounts that map owners, so that this user may do what an engine's root may: read and change any of them.
//! Where kernel or disk cannot map owners, the files are open to everybody instead.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::mount::{MountAttrFlags, MountFlags, UnmountFlags, unmount};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::thread::UnshareFlags;

use super::home::{Home, failed};
use super::tree::{DEVICES, attach_in, file_at, folder_at, link_at, processes, read_only};
use crate::mounts::{self, harmless};
use crate::root::{Entry, ImageRoot};
use crate::sys::{self, Fork};

/// Folders that the private layer has in any case, with their modes.
const FOLDERS: [(&str, u32); 4] = [("dev", 0o755), ("etc", 0o755), ("proc", 0o755), ("tmp", 0o1777)];
/// Links of `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// What a tree is made from.
pub(crate) struct Tree<'a> {
    pub(crate) image: &'a ImageRoot,
    /// Files that the node gives every cell.
    pub(crate) entries: &'a [Entry],
    /// The cell's user and group number as the helper sees it.
    pub(crate) owner: u32,
    /// Size of the private layer.
    pub(crate) writable: u64,
}

/// Builds the tree: the mount namespace for one cell. `workbench` is any folder of the host.
///
/// # Errors
/// The step that failed; nothing is left then.
pub(crate) fn build(home: &Home, tree: &Tree<'_>, workbench: &Path) -> Result<OwnedFd, String> {
    let built = lay(home, tree, workbench);
    home.come_back(false);
    built
}

/// Builds a tree and leaves the helper inside it.
fn lay(home: &Home, tree: &Tree<'_>, workbench: &Path) -> Result<OwnedFd, String> {
    // Views are taken while the host's files can still be named.
    let owners = if home.privileged() { Some(owner_map(home, tree.owner)?) } else { None };
    let mut layers = Vec::new();
    for layer in &tree.image.layers {
        let view = read_only(layer, harmless())?;
        if let Some(owners) = &owners
            && !is_open(&view)
            && let Err(error) = sys::map_owners(view.as_fd(), owners.as_fd())
        {
            return Err(format!(
                "showing the files of {} as the cell's own: {error}; remove the image and import it again",
                layer.display()
            ));
        }
        layers.push(view);
    }
    let devices = devices()?;
    let proc = processes()?;

    sys::unshare(UnshareFlags::NEWNS).map_err(failed("making the root's mount namespace"))?;
    let bench = private_layer(tree)?;
    mounts::attach(&bench, workbench).map_err(failed("attaching the private layer"))?;
    rustix::process::fchdir(&bench).map_err(failed("entering the private layer"))?;
    let root = stack(home, &layers)?;
    lay_devices(&root, &devices)?;
    // A cell may only mount its own view of processes where one can be seen already.
    attach_in(&root, &proc, Path::new("proc"))?;
    working_folder(&root, &tree.image.working_dir, tree.owner)?;

    rustix::process::fchdir(&root).map_err(failed("entering the root"))?;
    rustix::process::pivot_root(".", ".").map_err(failed("turning the tree into the root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(failed("leaving the host's files behind"))?;
    home.open_proc("self/ns/mnt", OFlags::RDONLY)
}

/// True for a layer that was made for machines that cannot map owners: its files are open to everybody.
fn is_open(layer: &OwnedFd) -> bool {
    rustix::fs::fstat(layer).is_ok_and(|found| found.st_mode & 0o007 == 0o007)
}

/// A user namespace that shows files of the helper's user as those of `owner`.
fn owner_map(home: &Home, owner: u32) -> Result<OwnedFd, String> {
    match sys::fork(libc::CLONE_NEWUSER, None).map_err(failed("making a user namespace"))? {
        Fork::Child => loop {
            // Until it is ended: all that is wanted of it is its namespace.
            rustix::event::pause();
        },
        Fork::Parent { pid, pidfd } => {
            let map = format!("0 {owner} 1");
            let namespace = home
                .write_proc(&format!("{pid}/uid_map"), &map)
                .and_then(|()| home.write_proc(&format!("{pid}/gid_map"), &map))
                .and_then(|()| home.open_proc(&format!("{pid}/ns/user"), OFlags::RDONLY));
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
            namespace
        }
    }
}

/// Views of the devices that every cell gets.
fn devices() -> Result<Vec<(OwnedFd, &'static Path)>, String> {
    let view = |device: &&'static str| {
        let view = read_only(&Path::new("/dev").join(device), MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        Ok((view, Path::new(*device)))
    };
    DEVICES.iter().map(view).collect()
}

/// Lays `/dev`, a file system of its own that cannot be written.
fn lay_devices(root: &OwnedFd, devices: &[(OwnedFd, &'static Path)]) -> Result<(), String> {
    let dev = mounts::make("tmpfs", &[("mode", "0755"), ("size", "64k")], harmless())
        .map_err(failed("making /dev"))?;
    folder_at(&dev, Path::new("shm"))?;
    for (to, name) in DEVICE_LINKS {
        link_at(&dev, Path::new(to), Path::new(name))?;
    }
    // Mounts can be attached to what is attached itself.
    attach_in(root, &dev, Path::new("dev"))?;
    for (view, name) in devices {
        file_at(&dev, name, "")?;
        attach_in(&dev, view, name)?;
    }
    sys::set_mount_attributes(dev.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false)
        .map_err(failed("making /dev read-only"))
}

/// A file system in memory with what an overlay wants, and what the node gives every cell.
fn private_layer(tree: &Tree<'_>) -> Result<OwnedFd, String> {
    let bench = mounts::make_scratch(tree.writable, "0755", harmless())
        .map_err(failed("making the private layer"))?;
    for folder in ["upper", "work", "root", "layers"] {
        rustix::fs::mkdirat(&bench, folder, Mode::from(0o755))
            .map_err(failed("making the private layer's folders"))?;
    }
    let upper = open_folder(&bench, "upper")?;
    own(&upper, ".", tree.owner)?;
    for (folder, mode) in FOLDERS {
        rustix::fs::mkdirat(&upper, folder, Mode::from(0o755))
            .map_err(failed(format!("making /{folder}")))?;
        rustix::fs::chmodat(&upper, folder, Mode::from_raw_mode(mode), AtFlags::empty())
            .map_err(failed(format!("opening /{folder}")))?;
        own(&upper, folder, tree.owner)?;
    }
    for entry in tree.entries {
        if let Entry::File { content, target } = entry {
            let target = target.strip_prefix("/").unwrap_or(target);
            file_at(&upper, target, content)?;
            own(&upper, target, tree.owner)?;
        }
    }
    Ok(bench)
}

/// Stacks the layers in the current folder, which is that of the private layer. Gives the overlay's own top.
fn stack(home: &Home, layers: &[OwnedFd]) -> Result<OwnedFd, String> {
    let mut lower = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        // An overlay takes its layers only from attached mounts; once it stands it needs the places no more.
        let place = format!("layers/{index}");
        rustix::fs::mkdirat(rustix::fs::CWD, &place, Mode::from(0o755))
            .map_err(failed("making a layer's place"))?;
        mounts::attach(layer, Path::new(&place)).map_err(failed("attaching a layer"))?;
        lower.push(place);
    }
    lower.reverse();
    // Without the host's root only attributes of users can be set on files.
    let attributes = if home.privileged() { "" } else { ",userxattr" };
    let options = format!("lowerdir={},upperdir=upper,workdir=work{attributes}", lower.join(":"));
    let options = CString::new(options).map_err(failed("naming the layers"))?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("overlay", "root", "overlay", flags, options.as_c_str())
        .map_err(failed("stacking the layers"))?;
    rustix::fs::open("root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed("opening the root"))
}

/// Makes the image's working folder where it is missing, as engines do.
fn working_folder(root: &OwnedFd, folder: &Path, owner: u32) -> Result<(), String> {
    let mut so_far = std::path::PathBuf::new();
    for component in folder.components() {
        let part = match component {
            Component::Normal(part) => part,
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => {
                return Err(format!("the working folder {} is not a plain path", folder.display()));
            }
        };
        let parent = open_folder(root, if so_far.as_os_str().is_empty() { Path::new(".") } else { &so_far })?;
        match rustix::fs::mkdirat(&parent, part, Mode::from(0o755)) {
            Ok(()) => own(&parent, part, owner)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(format!("making the working folder {}: {error}", folder.display())),
        }
        so_far.push(part);
    }
    Ok(())
}

fn open_folder(root: &OwnedFd, path: impl AsRef<Path>) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path.as_ref(), flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(failed(format!("opening {} in the image", path.as_ref().display())))
}

fn own(folder: &OwnedFd, path: impl AsRef<Path>, owner: u32) -> Result<(), String> {
    let (user, group) = (Uid::from_raw(owner), Gid::from_raw(owner));
    rustix::fs::chownat(folder, path.as_ref(), Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed(format!("giving {} to the cell", path.as_ref().display())))
}
