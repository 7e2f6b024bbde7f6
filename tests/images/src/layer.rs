//! One layer: a tar archive, of entries that may be anything.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// A layer in the making, and its bytes.
pub struct Layer(Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(Builder::new(Vec::new()))
    }
}

impl Layer {
    /// A folder.
    #[must_use]
    pub fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, |_| {}, &[])
    }

    /// A file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, mode, |_| {}, content)
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, |header| set_link(header, target), &[])
    }

    /// Another name of a file.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, 0o644, |header| set_link(header, target), &[])
    }

    /// Extended attributes of the entry that follows.
    #[must_use]
    pub fn attributes(mut self, attributes: &[(&str, &str)]) -> Self {
        let records: Vec<(String, &[u8])> = attributes
            .iter()
            .map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_bytes()))
            .collect();
        let records = records.iter().map(|(name, value)| (name.as_str(), *value));
        self.0.append_pax_extensions(records).unwrap();
        self
    }

    /// Says that a path of a layer beneath is gone.
    #[must_use]
    pub fn whiteout(self, folder: &str, name: &str) -> Self {
        let folder = folder.trim_end_matches('/');
        let path = if folder.is_empty() { format!(".wh.{name}") } else { format!("{folder}/.wh.{name}") };
        self.file(&path, 0o644, &[])
    }

    /// Any entry. The path is taken as it is, if it fits into a header; what is claimed about the content is up to `change`.
    #[must_use]
    pub fn entry(
        mut self,
        kind: EntryType,
        path: &str,
        mode: u32,
        change: impl FnOnce(&mut Header),
        content: &[u8],
    ) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let name = &mut header.as_old_mut().name;
        assert!(path.len() <= name.len(), "{path} is too long for a header");
        name.fill(0);
        for (to, from) in name.iter_mut().zip(path.bytes()) {
            *to = from;
        }
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// The archive.
    #[must_use]
    pub fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// Where a link leads, taken as it is.
pub fn set_link(header: &mut Header, target: &str) {
    let name = &mut header.as_old_mut().linkname;
    assert!(target.len() <= name.len(), "{target} is too long for a header");
    name.fill(0);
    for (to, from) in name.iter_mut().zip(target.bytes()) {
        *to = from;
    }
}

/// `sha256:…` of these bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes, packed.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
