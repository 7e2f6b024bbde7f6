//! From the text of an action's code to a tree of files: source, archive or single executable.

use std::cell::Cell;
use std::fs::File;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use zip::ZipArchive;

use super::tree::{EXEC, TreeWriter};
use super::{BadCode, Bounds, Shape, UnpackError};

/// Most bytes between the contents of two files of a tar archive.
const MAX_HEADER: u64 = 1 << 20;

/// The bytes that a text of base64 stands for.
///
/// # Errors
/// [`BadCode::Base64`] where it is none.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, BadCode> {
    let text = text.trim_ascii();
    STANDARD.decode(text).map_err(|error| {
        BadCode::Base64(match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => text.len(),
        })
    })
}

/// Unpacks `text` into `root`, a new empty folder. Returns what it was and how many bytes it takes.
/// Blocks on the disk.
///
/// # Errors
/// [`UnpackError`]; what was written by then stays.
pub fn unpack(text: &[u8], binary: bool, root: PathBuf, bounds: Bounds) -> Result<(Shape, u64), UnpackError> {
    if binary {
        return unpack_binary(&decode(text)?, root, bounds);
    }
    let mut tree = TreeWriter::new(root, bounds, text.len());
    tree.file(Path::new(EXEC), false, &mut &*text)?;
    Ok((Shape::Source, tree.finish()?))
}

/// The same for code that is not base64, or no longer.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_binary(code: &[u8], root: PathBuf, bounds: Bounds) -> Result<(Shape, u64), UnpackError> {
    let mut tree = TreeWriter::new(root, bounds, code.len());
    let shape = match code {
        code if is_zip(code) => {
            unzip(code, &mut tree, bounds)?;
            Shape::Archive
        }
        [0x1f, 0x8b, 8, ..] => {
            untar(flate2::read::MultiGzDecoder::new(code), &mut tree)?;
            Shape::Archive
        }
        other => {
            tree.file(Path::new(EXEC), true, &mut &*other)?;
            Shape::Executable
        }
    };
    Ok((shape, tree.finish()?))
}

/// Unpacks a tar archive, as it comes, into `root`, a new empty folder. Returns how many bytes it takes.
/// Blocks on the reader and on the disk.
///
/// # Errors
/// As [`unpack`].
pub fn unpack_tar(mut archive: impl Read, root: PathBuf, bounds: Bounds) -> Result<u64, UnpackError> {
    // Nothing is compressed: there is no ratio to look at.
    let mut tree = TreeWriter::new(root, bounds, usize::MAX);
    untar(&mut archive, &mut tree)?;
    // Archives are padded beyond their end, and whoever packs one into a pipe must get rid of all of it.
    std::io::copy(&mut archive.take(MAX_HEADER), &mut std::io::sink())
        .map_err(|error| BadCode::Damaged(error.to_string()))?;
    tree.finish()
}

/// True if `exec` in `folder` is a program as it is: for this kind of machine, or a script that names its
/// interpreter.
#[must_use]
pub fn is_executable(folder: &Path) -> bool {
    /// Bytes of the header of the smallest ELF program.
    const ELF_HEADER: usize = 52;
    let mut start = Vec::new();
    let read = open_within(folder, EXEC).and_then(|file| file.take(64).read_to_end(&mut start));
    read.is_ok()
        && (start.starts_with(b"\x7fELF") && start.len() > ELF_HEADER
            || start.starts_with(b"#!") && start.len() > 2)
}

/// Opens a file of unpacked code for reading. Links are followed only as far as they stay within `folder`: whoever
/// made them must not have the node read its own files.
///
/// # Errors
/// When there is no such file there.
pub fn open_within(folder: &Path, name: &str) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let top = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let file = File::from(rustix::fs::openat2(top, name, flags, Mode::empty(), inside)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(std::io::ErrorKind::InvalidInput.into()) }
}

/// True for what begins as a zip archive does.
#[must_use]
pub fn is_zip(code: &[u8]) -> bool {
    matches!(code, [b'P', b'K', 3 | 5 | 7, 4 | 6 | 8, ..])
}

/// True if `code` is a zip archive with the file `name`.
///
/// # Errors
/// [`BadCode`] where the archive cannot be read.
pub fn holds_file(code: &[u8], name: &str, bounds: Bounds) -> Result<bool, BadCode> {
    Ok(is_zip(code) && open_zip(code, bounds)?.index_for_name(name).is_some())
}

/// Opens a zip archive that has no more entries than allowed.
fn open_zip(code: &[u8], bounds: Bounds) -> Result<ZipArchive<Cursor<&[u8]>>, BadCode> {
    // The reader makes room for every entry of the directory at once: count them before it does.
    let directory = code.windows(4).filter(|window| *window == b"PK\x01\x02").count() as u64;
    if directory > bounds.entries {
        return Err(BadCode::TooManyEntries(bounds.entries));
    }
    ZipArchive::new(Cursor::new(code)).map_err(|error| BadCode::Damaged(error.to_string()))
}

fn unzip(code: &[u8], tree: &mut TreeWriter, bounds: Bounds) -> Result<(), UnpackError> {
    let damaged = |error: zip::result::ZipError| BadCode::Damaged(error.to_string());
    let mut archive = open_zip(code, bounds)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let mode = entry.unix_mode().unwrap_or(0);
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(entry.name_raw()));
        let kind = mode & libc::S_IFMT;
        if entry.is_symlink() {
            let target = link_target(&mut entry, bounds, &name)?;
            tree.link(&name, &target)?;
        } else if entry.is_dir() || name.as_os_str().as_bytes().ends_with(b"/") {
            tree.folder(&name)?;
        } else if kind == 0 || kind == libc::S_IFREG {
            tree.file(&name, mode & 0o111 != 0, &mut entry)?;
        } else {
            return Err(BadCode::Kind(name).into());
        }
    }
    Ok(())
}

fn link_target(entry: &mut dyn Read, bounds: Bounds, name: &Path) -> Result<PathBuf, UnpackError> {
    let mut target = Vec::new();
    entry
        .take(bounds.path_len as u64 + 1)
        .read_to_end(&mut target)
        .map_err(|error| BadCode::Damaged(format!("{}: {error}", name.display())))?;
    Ok(PathBuf::from(std::ffi::OsStr::from_bytes(&target)))
}

fn untar(archive: impl Read, tree: &mut TreeWriter) -> Result<(), UnpackError> {
    let damaged = |error: std::io::Error| BadCode::Damaged(error.to_string());
    let left = Rc::new(Cell::new(MAX_HEADER));
    let mut archive = tar::Archive::new(Bounded { inner: archive, left: Rc::clone(&left) });
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let name = entry.path().map_err(damaged)?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            tree.folder(&name)?;
        } else if kind.is_symlink() {
            let target = entry.link_name().map_err(damaged)?.map(std::borrow::Cow::into_owned);
            tree.link(&name, &target.unwrap_or_default())?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let mode = entry.header().mode().unwrap_or(0);
            // The tree counts what it writes.
            left.set(u64::MAX);
            tree.file(&name, mode & 0o111 != 0, &mut entry)?;
        } else if !kind.is_pax_global_extensions() {
            return Err(BadCode::Kind(name).into());
        }
        left.set(MAX_HEADER);
    }
    Ok(())
}

/// A reader that fails instead of giving more than `left` bytes: the archive reader keeps headers and long names
/// in memory, however long they are.
struct Bounded<R> {
    inner: R,
    left: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| std::io::Error::other("an entry's header is too long"))?);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_by_their_first_bytes() {
        let base = tempfile::tempdir().unwrap();
        let long = [b"\x7fELF".as_slice(), &[0; 60]].concat();
        for (content, executable) in [
            (long.as_slice(), true),
            (b"\x7fELF", false),
            (b"#!/bin/sh", true),
            (b"#!", false),
            (b"def main", false),
            (b"", false),
        ] {
            std::fs::write(base.path().join(EXEC), content).unwrap();
            assert_eq!(is_executable(base.path()), executable, "{content:?}");
        }
    }

    #[test]
    fn files_are_opened_within_the_folder_alone() {
        let base = tempfile::tempdir().unwrap();
        let code = base.path().join("code");
        std::fs::create_dir(&code).unwrap();
        std::fs::write(base.path().join("secret"), "#!/bin/sh").unwrap();
        std::fs::write(code.join("run"), "#!/bin/sh").unwrap();
        for (to, opens) in [
            ("run", true),
            ("../secret", false),
            (base.path().join("secret").to_str().unwrap(), false),
            (".", false),
        ] {
            std::os::unix::fs::symlink(to, code.join(EXEC)).unwrap();
            assert_eq!((open_within(&code, EXEC).is_ok(), is_executable(&code)), (opens, opens), "{to}");
            std::fs::remove_file(code.join(EXEC)).unwrap();
        }
        assert!(open_within(&code, "nothing").is_err());
    }

    #[test]
    fn archives_are_unpacked_as_they_come() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir(base.path().join("in")).unwrap();
        std::fs::write(base.path().join("in/exec"), "#!/bin/sh").unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_dir_all(".", base.path().join("in")).unwrap();
        let archive = builder.into_inner().unwrap();
        let out = base.path().join("out");
        std::fs::create_dir(&out).unwrap();
        let padded = [archive.as_slice(), &[0; 10_000]].concat();
        let mut rest = padded.as_slice();
        let bytes = unpack_tar(&mut rest, out.clone(), Bounds::default()).unwrap();
        assert!(rest.is_empty(), "it was read to its end");
        assert!((9 + 4096..9 + 4 * 4096).contains(&bytes), "{bytes}: what is small takes room, too");
        assert!(is_executable(&out));
        let cut = &archive[..600];
        std::fs::create_dir(base.path().join("cut")).unwrap();
        assert!(unpack_tar(cut, base.path().join("cut"), Bounds::default()).is_err());
    }
}
