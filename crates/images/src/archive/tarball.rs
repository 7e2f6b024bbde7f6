//! A tar file as a store of blobs: where each content lies, found in one pass over the headers.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::{Blob, Blobs};

/// Most members of an archive.
const MAX_MEMBERS: usize = 20_000;
/// Most bytes between the contents of two members.
const MAX_HEADER: u64 = 64 << 10;
/// Links that are followed from one member to the next.
const MAX_LINKS: usize = 8;

/// The file and its contents.
pub(super) struct Tarball {
    file: File,
    members: HashMap<String, Member>,
}

enum Member {
    Content {
        at: u64,
        length: u64,
    },
    /// The path of another one: older archives share layers like this.
    Link(String),
}

impl Tarball {
    /// Finds every content.
    pub(super) fn index(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        let end = file.metadata()?.len();
        let left = Rc::new(Cell::new(MAX_HEADER));
        let mut archive = tar::Archive::new(Bounded { file: &file, left: Rc::clone(&left) });
        let mut members = HashMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            left.set(MAX_HEADER);
            let kind = entry.header().entry_type();
            let path = entry.path()?.into_owned();
            let member = if kind.is_file() {
                let (at, length) = (entry.raw_file_position(), entry.size());
                if at.checked_add(length).is_none_or(|reach| reach > end) {
                    return Err(io::Error::other(format!("{} is cut off", path.display())));
                }
                Member::Content { at, length }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let to = entry.link_name()?.map(std::borrow::Cow::into_owned).unwrap_or_default();
                let from = path.parent().filter(|_| kind.is_symlink()).unwrap_or(Path::new(""));
                Member::Link(plain(&from.join(to)))
            } else {
                continue;
            };
            if members.len() >= MAX_MEMBERS {
                return Err(io::Error::other(format!("it has more than {MAX_MEMBERS} members")));
            }
            members.insert(plain(&path), member);
        }
        drop(archive);
        Ok(Self { file, members })
    }
}

/// A path as text, without `.` and with `..` taken away; only ever compared with other such paths.
fn plain(path: &Path) -> String {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => {
                parts.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts.to_string_lossy().into_owned()
}

impl Blobs for Tarball {
    fn open(&self, name: &str) -> io::Result<Option<Blob<'_>>> {
        let mut name = plain(Path::new(name));
        for _ in 0..MAX_LINKS {
            match self.members.get(&name) {
                Some(Member::Content { at, length }) => {
                    let reader = Section { file: &self.file, at: *at, end: at + length };
                    return Ok(Some(Blob { reader: Box::new(reader), length: *length }));
                }
                Some(Member::Link(to)) => name.clone_from(to),
                None => return Ok(None),
            }
        }
        Err(io::Error::other(format!("the links from {name} lead nowhere")))
    }
}

/// A part of the file.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read_at(buffer.get_mut(..room).unwrap_or_default(), self.at)?;
        if count == 0 && room > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += count as u64;
        Ok(count)
    }
}

/// The file, of which no more than `left` bytes are read on end: the archive reader keeps long names in memory,
/// however long they are.
struct Bounded<'a> {
    file: &'a File,
    left: Rc<Cell<u64>>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("a member's header is too long"))?);
        Ok(count)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_an_archive_stay_within() {
        for (path, plain_path) in [
            ("./a/b", "a/b"),
            ("x/../layer.tar", "layer.tar"),
            ("../../etc/passwd", "etc/passwd"),
            ("/a", "a"),
        ] {
            assert_eq!(plain(Path::new(path)), plain_path);
        }
    }
}
