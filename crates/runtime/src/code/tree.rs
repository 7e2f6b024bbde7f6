//! Writing an archive's entries into a fresh folder, whatever the archive says.
//!
//! The folder is new and private, and symbolic links are made last: while files are written no link exists
//! that could lead a path elsewhere. Sizes are counted as bytes are written; what headers claim is not used.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{BadCode, Bounds, UnpackError};
use crate::walls::{self, Wall};

/// Cells run under users of their own: everybody may read and write their copies.
const FOLDER_MODE: u32 = 0o777;
const FILE_MODE: u32 = 0o666;
const PROGRAM_MODE: u32 = 0o777;
/// The file that executables and plain sources are; always a program, as a stub of that name would have been.
pub const EXEC: &str = "exec";

/// Bytes of the disk that a file, folder or link takes beside its content, more or less.
const ENTRY: u64 = 4096;

/// Writes one tree.
pub(super) struct TreeWriter {
    root: PathBuf,
    bounds: Bounds,
    /// Bytes that may be written in all, by the total bound and by the ratio bound.
    allowance: u64,
    written: u64,
    /// Files, folders and links, those among them that nothing but a longer name speaks of.
    entries: u64,
    links: Vec<(PathBuf, PathBuf)>,
    buffer: Box<[u8]>,
}

impl TreeWriter {
    /// A writer into `root`, a new empty folder, for an archive of `archive_len` bytes.
    pub(super) fn new(root: PathBuf, bounds: Bounds, archive_len: usize) -> Self {
        let by_ratio = (archive_len as u64).saturating_mul(bounds.ratio).saturating_add(bounds.ratio_free);
        Self {
            root,
            bounds,
            allowance: bounds.total.min(by_ratio),
            written: 0,
            entries: 0,
            links: Vec::new(),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
        }
    }

    /// Makes a folder and those above it.
    pub(super) fn folder(&mut self, name: &Path) -> Result<(), UnpackError> {
        let path = self.admit(name)?;
        self.make_folder(name, &path, true)
    }

    /// Writes a file; a later entry of the same name replaces the earlier one.
    pub(super) fn file(
        &mut self,
        name: &Path,
        program: bool,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let path = self.admit(name)?;
        if let Some(parent) = path.parent() {
            self.make_folder(name, parent, false)?;
        }
        let mode = if program || path == self.root.join(EXEC) { PROGRAM_MODE } else { FILE_MODE };
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(|error| clash_or_disk(error, name))?;
        self.copy(content, &mut file, name)?;
        // The process's umask took bits away.
        file.set_permissions(Permissions::from_mode(mode)).map_err(UnpackError::Disk)
    }

    /// Remembers a symbolic link, made by [`TreeWriter::finish`].
    pub(super) fn link(&mut self, name: &Path, to: &Path) -> Result<(), UnpackError> {
        let path = self.admit(name)?;
        let text = to.as_os_str().as_encoded_bytes();
        if text.is_empty() || text.len() > self.bounds.path_len || text.contains(&0) {
            return Err(BadCode::Link(name.to_path_buf()).into());
        }
        self.links.push((path, to.to_path_buf()));
        Ok(())
    }

    /// Makes the links and checks that none of them leads out of the tree, unless to the system. Returns the bytes
    /// that the tree takes.
    pub(super) fn finish(mut self) -> Result<u64, UnpackError> {
        let links = std::mem::take(&mut self.links);
        // All parents first: a link can then never stand where another one's parent is needed.
        for (path, _) in &links {
            if let Some(parent) = path.parent() {
                self.make_folder(path, parent, false)?;
            }
        }
        let make = |(path, to): &(PathBuf, PathBuf)| {
            std::os::unix::fs::symlink(to, path).map_err(|error| clash_or_disk(error, self.inner_name(path)))
        };
        let (to_system, inner): (Vec<_>, Vec<_>) = links.iter().partition(|(_, to)| is_of_system(to));
        inner.iter().copied().try_for_each(make)?;
        let root = File::open(&self.root).map_err(UnpackError::Disk)?;
        for (path, _) in &inner {
            self.check_link(&root, path)?;
        }
        // After them: now others may lead to the system by way of these, but on no way back out of it.
        to_system.into_iter().try_for_each(make)?;
        for (path, _) in inner.iter().filter(|(_, to)| goes_up(to)) {
            self.check_link(&root, path)?;
        }
        Ok(self.written.saturating_add(self.entries.saturating_mul(ENTRY)))
    }

    /// Refuses a link that leads out of the tree as it is at the moment.
    fn check_link(&self, root: &File, path: &Path) -> Result<(), UnpackError> {
        if !walls::stand(Wall::ArchiveNames) {
            return Ok(());
        }
        let name = self.inner_name(path);
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match rustix::fs::openat2(root, name, flags, Mode::empty(), ResolveFlags::BENEATH) {
            // A link to nothing leads nowhere.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            Err(Errno::XDEV | Errno::LOOP) => Err(BadCode::Link(name.to_path_buf()).into()),
            Err(error) => Err(UnpackError::Disk(error.into())),
        }
    }

    fn inner_name<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    /// Counts an entry and makes its name a path below the root; `.` components are dropped.
    fn admit(&mut self, name: &Path) -> Result<PathBuf, UnpackError> {
        self.count()?;
        let bad = || BadCode::Name(name.to_path_buf());
        let mut path = self.root.clone();
        let mut depth = 0;
        for component in name.components() {
            match component {
                Component::Normal(part) if part.len() <= 255 => path.push(part),
                Component::CurDir => continue,
                Component::ParentDir if !walls::stand(Wall::ArchiveNames) => path.push(component),
                Component::Normal(_) | Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(bad().into());
                }
            }
            depth += 1;
        }
        let too_long = name.as_os_str().len() > self.bounds.path_len || depth > self.bounds.depth;
        if too_long || name.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(bad().into());
        }
        Ok(path)
    }

    fn count(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > self.bounds.entries {
            return Err(BadCode::TooManyEntries(self.bounds.entries).into());
        }
        Ok(())
    }

    /// Makes a folder and those above it; one that is no entry itself is counted like one.
    fn make_folder(&mut self, name: &Path, path: &Path, is_entry: bool) -> Result<(), UnpackError> {
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        if let Some(parent) = path.parent()
            && parent != self.root
            && path != self.root
        {
            self.make_folder(name, parent, false)?;
        }
        if !is_entry {
            self.count()?;
        }
        DirBuilder::new().mode(FOLDER_MODE).create(path).map_err(|error| clash_or_disk(error, name))?;
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map_err(UnpackError::Disk)
    }

    fn copy(&mut self, from: &mut dyn Read, to: &mut File, name: &Path) -> Result<(), UnpackError> {
        loop {
            let count = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The archive lies in memory: what cannot be read is broken in itself.
                Err(error) => return Err(BadCode::Damaged(format!("{}: {error}", name.display())).into()),
            };
            self.written += count as u64;
            if self.written > self.allowance {
                return Err(BadCode::TooLarge(self.allowance).into());
            }
            to.write_all(self.buffer.get(..count).unwrap_or_default()).map_err(UnpackError::Disk)?;
        }
    }
}

/// True for what every sandbox sees anyway: archives with a virtual environment link to its interpreter.
fn is_of_system(to: &Path) -> bool {
    ["/usr", "/bin"].iter().any(|folder| to.starts_with(folder)) && !goes_up(to)
}

fn goes_up(to: &Path) -> bool {
    to.components().any(|component| component == Component::ParentDir)
}

/// Entries that stand in each other's way are the archive's fault, everything else is the disk's.
fn clash_or_disk(error: io::Error, name: &Path) -> UnpackError {
    match error.raw_os_error() {
        Some(libc::EEXIST | libc::EISDIR | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
            BadCode::Clash(name.to_path_buf()).into()
        }
        _ => UnpackError::Disk(error),
    }
}
