//! The entries of a layer's archive, one after the other.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::tree::{Attributes, Tree};
use super::whiteout::{self, Meaning};
use super::{Bounded, LayerError, Unpacked};
use crate::Bounds;
use crate::store::space::Space;

/// Most bytes between the contents of two files: names, attributes and padding.
const MAX_HEADER: u64 = 1 << 20;
/// Bytes that an entry takes beside its content, more or less, whatever it is.
const ENTRY: u64 = 4096;
/// How attributes of files are named in archives.
const ATTRIBUTE: &str = "SCHILY.xattr.";

/// Unpacks every entry into `folder`.
pub(super) fn entries(
    reader: impl Read,
    folder: &Path,
    bounds: &Bounds,
    space: &mut Space,
) -> Result<Unpacked, LayerError> {
    let left = Rc::new(Cell::new(MAX_HEADER));
    let mut archive = tar::Archive::new(Bounded { inner: reader, left: Rc::clone(&left) });
    let mut work = Work { tree: Tree::open(folder, bounds.depth)?, bounds, space, done: Unpacked::default() };
    let mut count = 0;
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        // One entry may bring many folders with it that have none of their own.
        let made = 1 + work.tree.take_made();
        work.space.spend(made * ENTRY)?;
        count += made;
        if count > bounds.entries {
            return Err(LayerError::Bad(format!("it has more than {} entries", bounds.entries)));
        }
        // Contents are counted as they are written.
        left.set(u64::MAX);
        work.entry(&mut entry)?;
        left.set(MAX_HEADER);
    }
    Ok(work.done)
}

fn damaged(error: io::Error) -> LayerError {
    LayerError::Bad(format!("it is damaged: {error}"))
}

struct Work<'a> {
    tree: Tree,
    bounds: &'a Bounds,
    space: &'a mut Space,
    done: Unpacked,
}

impl Work<'_> {
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> Result<(), LayerError> {
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            return Ok(());
        }
        let said = entry.path_bytes().into_owned();
        let path = self.path(&said)?;
        let attributes = attributes(entry)?;
        let Some(name) = path.file_name().map(OsStr::to_owned) else {
            // The top itself.
            return if kind.is_dir() { self.tree.top(&attributes) } else { Err(bad("has no name", &said)) };
        };
        match whiteout::meaning(&name) {
            Meaning::Plain => {}
            Meaning::Gone(gone) => return self.tree.whiteout(&path.with_file_name(gone)),
            Meaning::Opaque => return self.tree.opaque(path.parent().unwrap_or(Path::new(""))),
            Meaning::Nothing => return Ok(()),
            Meaning::Nonsense => return Err(bad("removes a name that cannot be", &said)),
        }
        match kind {
            kind if kind.is_dir() => self.tree.folder(&path, &attributes),
            kind if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
                self.file(entry, &path, &attributes)
            }
            kind if kind.is_symlink() => {
                let to = self.link(entry, &said)?;
                self.tree.symlink(&path, OsStr::from_bytes(&to))
            }
            kind if kind.is_hard_link() => {
                let to = self.link(entry, &said)?;
                if to.starts_with(b"/") {
                    return Err(bad("is a hard link to an absolute path", &said));
                }
                let to = self.path(&to)?;
                self.tree.hard_link(&path, &to)
            }
            kind if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() => {
                self.done.left_out += 1;
                Ok(())
            }
            _ => Err(bad("is of an unknown kind", &said)),
        }
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        path: &Path,
        attributes: &Attributes,
    ) -> Result<(), LayerError> {
        let length = entry.size();
        if length > self.bounds.file {
            let most = self.bounds.file;
            return Err(bad(&format!("has {length} bytes, more than {most}"), path.as_os_str().as_bytes()));
        }
        if self.done.bytes.saturating_add(length) > self.bounds.total {
            return Err(LayerError::Bad(super::too_much(self.bounds.total)));
        }
        self.done.bytes += length;
        self.tree.file(path, attributes, entry, self.space)
    }

    /// What a link says.
    fn link<R: Read>(&self, entry: &tar::Entry<'_, R>, said: &[u8]) -> Result<Vec<u8>, LayerError> {
        let to = entry.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default();
        if to.is_empty() || to.len() > self.bounds.path_len || to.contains(&0) {
            return Err(bad("is a link to nothing, or to more than a path", said));
        }
        Ok(to)
    }

    /// A path below the layer's folder. A leading slash means the same folder.
    fn path(&self, said: &[u8]) -> Result<PathBuf, LayerError> {
        if said.len() > self.bounds.path_len || said.contains(&0) {
            return Err(bad("has too long a name, or none that could be", said));
        }
        let mut path = PathBuf::new();
        let mut depth = 0;
        for component in Path::new(OsStr::from_bytes(said)).components() {
            match component {
                Component::Normal(part) if part.len() <= 255 => path.push(part),
                Component::CurDir | Component::RootDir => continue,
                Component::ParentDir => return Err(bad("leads upwards with `..`", said)),
                Component::Normal(_) | Component::Prefix(_) => return Err(bad("has too long a name", said)),
            }
            depth += 1;
        }
        if depth > self.bounds.depth {
            return Err(bad("lies too deep", said));
        }
        Ok(path)
    }
}

/// A refused entry, by its name as far as it can be shown.
fn bad(why: &str, name: &[u8]) -> LayerError {
    let shown: String = String::from_utf8_lossy(name).chars().take(200).collect();
    LayerError::Bad(format!("the entry {shown:?} {why}"))
}

/// What an entry says of its file beside the content.
fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Attributes, LayerError> {
    let header = entry.header();
    let mode = header.mode().unwrap_or(0o644);
    let modified = header.mtime().unwrap_or(0);
    let mut attributes = Attributes { mode, modified, extended: Vec::new() };
    let Some(extensions) = entry.pax_extensions().map_err(damaged)? else { return Ok(attributes) };
    for extension in extensions {
        let extension = extension.map_err(damaged)?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix(ATTRIBUTE));
        if let Some(name) = name.filter(|name| whiteout::is_allowed_attribute(name)) {
            attributes.extended.push((name.to_owned(), extension.value_bytes().to_vec()));
        }
    }
    Ok(attributes)
}
