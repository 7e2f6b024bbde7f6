//! Writing a layer's files: every path is resolved by the kernel inside the layer's folder, links included.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::{LayerError, access, whiteout};
use crate::store::space::Space;

/// What the owner may do in any case. Everything belongs to the one user of a sandbox, who has no right beyond what
/// modes give; an engine's root would read and change what its mode forbids.
const OWNER_FILE: u32 = 0o600;
const OWNER_FOLDER: u32 = 0o700;
/// Bits of a mode that are kept: what gives other users' rights is not.
const KEPT: u32 = 0o1777;
/// How often a path is resolved anew when the machine's folders move meanwhile.
const RETRIES: u32 = 1000;

/// What is known of a file beside its content.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// Seconds.
    pub(super) modified: u64,
    /// Extended attributes that may be kept.
    pub(super) extended: Vec<(String, Vec<u8>)>,
}

/// A layer that is being written.
pub(super) struct Tree {
    root: OwnedFd,
    /// Whether everybody may what the owner may.
    for_everybody: bool,
    /// Folders above one another, the layer's own included, where links may lead deeper than names can say.
    depth: usize,
    /// Folders that were made because something lies in them.
    made: Cell<u64>,
    buffer: Box<[u8]>,
}

impl Tree {
    /// Opens the new, empty folder of a layer, which shall get no more than `depth` folders above one another.
    pub(super) fn open(folder: &Path, depth: usize) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let root = rustix::fs::openat(CWD, folder, flags, Mode::empty())?;
        let for_everybody = access::for_everybody(&root)?;
        let depth = depth.saturating_add(depth_of(&root)?);
        let buffer = vec![0; 128 << 10].into_boxed_slice();
        let tree = Self { root, for_everybody, depth, made: Cell::new(0), buffer };
        rustix::fs::fchmod(&tree.root, tree.folder_mode(0o755))?;
        Ok(tree)
    }

    /// How many folders were made since this was asked that no entry stands for.
    pub(super) fn take_made(&self) -> u64 {
        self.made.take()
    }

    /// The layer's own folder. Who runs the image sees by it whether the layer is open to everybody.
    pub(super) fn top(&self, attributes: &Attributes) -> Result<(), LayerError> {
        Ok(rustix::fs::fchmod(&self.root, self.folder_mode(attributes.mode & !0o002))
            .map_err(io::Error::from)?)
    }

    /// A folder; one that is there stays, with what it holds.
    pub(super) fn folder(&self, path: &Path, attributes: &Attributes) -> Result<(), LayerError> {
        let (parent, name) = self.parent(path)?;
        let mut hides = false;
        match lookup(&parent, &name)? {
            Some(found) if is_folder(&found) => {}
            found => {
                // The name below is gone, and a new folder has it: nothing of the old one may shine through.
                hides = found.as_ref().is_some_and(whiteout::is_whiteout);
                self.clear(&parent, &name)?;
                rustix::fs::mkdirat(&parent, &name, Mode::from(0o755)).map_err(|error| clash(error, path))?;
            }
        }
        let folder = open_folder(&parent, &name).map_err(|error| clash(error, path))?;
        self.not_too_deep(&folder, path)?;
        rustix::fs::fchmod(&folder, self.folder_mode(attributes.mode)).map_err(io::Error::from)?;
        if hides {
            whiteout::make_opaque(&folder)?;
        }
        extend(&folder, attributes)
    }

    /// A file; whatever had its name goes.
    pub(super) fn file(
        &mut self,
        path: &Path,
        attributes: &Attributes,
        content: &mut dyn Read,
        space: &mut Space,
    ) -> Result<(), LayerError> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, &name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, &name, flags, Mode::from(0o600));
        let mut file = File::from(file.map_err(|error| clash(error, path))?);
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(LayerError::Bad(format!("it is damaged: {}: {error}", path.display())));
                }
            };
            space.spend(count as u64)?;
            file.write_all(self.buffer.get(..count).unwrap_or_default())?;
        }
        let mode = self.mode((attributes.mode & KEPT & 0o777) | OWNER_FILE);
        rustix::fs::fchmod(&file, mode).map_err(io::Error::from)?;
        extend(&file, attributes)?;
        let modified =
            Timespec { tv_sec: i64::try_from(attributes.modified).unwrap_or(i64::MAX), tv_nsec: 0 };
        let times = Timestamps { last_access: modified, last_modification: modified };
        // A time that the disk cannot keep is not worth a refusal.
        let _ = rustix::fs::futimens(&file, &times);
        Ok(())
    }

    /// A symbolic link. Where it leads is for the sandbox to see, whose root it cannot leave.
    pub(super) fn symlink(&self, path: &Path, to: &OsStr) -> Result<(), LayerError> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, &name)?;
        rustix::fs::symlinkat(to, &parent, &name).map_err(|error| clash(error, path))
    }

    /// Another name of a file of this layer.
    pub(super) fn hard_link(&self, path: &Path, to: &Path) -> Result<(), LayerError> {
        let missing = || {
            LayerError::Bad(format!(
                "{} is a hard link to {}, which it does not hold",
                path.display(),
                to.display()
            ))
        };
        let name_of = to.file_name().ok_or_else(missing)?;
        let folder = self.resolve(to.parent().unwrap_or(Path::new(""))).map_err(|_| missing())?;
        match lookup(&folder, name_of)? {
            Some(found) if is_folder(&found) || whiteout::is_whiteout(&found) => return Err(missing()),
            Some(_) => {}
            None => return Err(missing()),
        }
        let (parent, name) = self.parent(path)?;
        if path != to {
            self.clear(&parent, &name)?;
            rustix::fs::linkat(&folder, name_of, &parent, &name, AtFlags::empty())
                .map_err(|error| clash(error, path))?;
        }
        Ok(())
    }

    /// Marks a name of the layers below as gone, unless this layer has it itself.
    pub(super) fn whiteout(&self, path: &Path) -> Result<(), LayerError> {
        let (parent, name) = self.parent(path)?;
        if lookup(&parent, &name)?.is_none() {
            whiteout::make(&parent, &name)?;
        }
        Ok(())
    }

    /// Hides what the layers below have in a folder.
    pub(super) fn opaque(&self, path: &Path) -> Result<(), LayerError> {
        let (parent, _) = self.parent(&path.join("x"))?;
        let parent = open_folder(&parent, OsStr::new(".")).map_err(io::Error::from)?;
        Ok(whiteout::make_opaque(parent)?)
    }

    /// The folder that a path lies in, made if need be, and the path's last part.
    fn parent(&self, path: &Path) -> Result<(OwnedFd, OsString), LayerError> {
        let name = path.file_name().map(OsStr::to_owned).unwrap_or_default();
        let above = path.parent().unwrap_or(Path::new(""));
        match self.resolve(above) {
            Ok(folder) => return Ok((folder, name)),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(clash(error, path)),
        }
        let mut so_far = std::path::PathBuf::new();
        let mut folder = self.resolve(&so_far).map_err(io::Error::from)?;
        for part in above {
            so_far.push(part);
            folder = match self.resolve(&so_far) {
                Ok(folder) => folder,
                Err(Errno::NOENT) => {
                    rustix::fs::mkdirat(&folder, part, Mode::from(0o755))
                        .map_err(|error| clash(error, path))?;
                    let made = open_folder(&folder, part).map_err(|error| clash(error, path))?;
                    rustix::fs::fchmod(&made, self.folder_mode(0o755)).map_err(io::Error::from)?;
                    self.made.set(self.made.get() + 1);
                    made
                }
                Err(error) => return Err(clash(error, path)),
            };
        }
        self.not_too_deep(&folder, path)?;
        Ok((folder, name))
    }

    /// Refuses folders that lie deeper than their names say, by way of links: nobody could remove them again.
    fn not_too_deep(&self, folder: &OwnedFd, path: &Path) -> Result<(), LayerError> {
        match depth_of(folder) {
            Ok(depth) if depth <= self.depth => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::InvalidFilename => Err(LayerError::Disk(error)),
            // Also what is too long to be told.
            _ => Err(LayerError::Bad(format!("the entry {:?} lies too deep", path.display().to_string()))),
        }
    }

    /// Opens a folder, following links as if the layer's folder were the whole world.
    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        for _ in 0..RETRIES {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), inside) {
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
        Err(Errno::AGAIN)
    }

    fn folder_mode(&self, mode: u32) -> Mode {
        self.mode((mode & KEPT) | OWNER_FOLDER)
    }

    fn mode(&self, mode: u32) -> Mode {
        let owner = mode & 0o700;
        Mode::from_raw_mode(if self.for_everybody { mode | owner >> 3 | owner >> 6 } else { mode })
    }

    /// Makes room for a name.
    fn clear(&self, parent: &OwnedFd, name: &OsStr) -> Result<(), LayerError> {
        match lookup(parent, name)? {
            None => Ok(()),
            Some(found) if is_folder(&found) => Ok(remove_folder(parent, name)?),
            Some(_) => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(io::Error::from)?),
        }
    }
}

fn lookup(parent: &OwnedFd, name: &OsStr) -> Result<Option<rustix::fs::Stat>, LayerError> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(LayerError::Disk(error.into())),
    }
}

/// How many folders an open one lies in, wherever that is.
fn depth_of(folder: &OwnedFd) -> io::Result<usize> {
    Ok(std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?.components().count())
}

fn is_folder(found: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

fn open_folder(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Removes a folder with all it holds; its depth is bounded by that of names in archives.
fn remove_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let folder = open_folder(parent, name)?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let inner = OsStr::from_bytes(entry.file_name().to_bytes());
        if inner == "." || inner == ".." {
            continue;
        }
        match rustix::fs::unlinkat(&folder, inner, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::ISDIR | Errno::PERM) => remove_folder(&folder, inner)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn extend(file: impl AsFd, attributes: &Attributes) -> Result<(), LayerError> {
    for (name, value) in &attributes.extended {
        match rustix::fs::fsetxattr(file.as_fd(), name.as_str(), value, XattrFlags::empty()) {
            Err(error) if !whiteout::is_without_attributes(error) => {
                return Err(LayerError::Disk(error.into()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Entries that stand in each other's way are the archive's fault, everything else is the disk's.
fn clash(error: Errno, path: &Path) -> LayerError {
    match error {
        Errno::EXIST
        | Errno::ISDIR
        | Errno::NOTDIR
        | Errno::LOOP
        | Errno::NAMETOOLONG
        | Errno::MLINK
        | Errno::XDEV
        | Errno::NOENT => {
            LayerError::Bad(format!("the entry {:?} stands in another one's way", path.display().to_string()))
        }
        other => LayerError::Disk(other.into()),
    }
}
