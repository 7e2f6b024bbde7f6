//! Archives with code: as they come, and well-formed ones with the names, kinds and sizes that the input says.

use std::fs;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chasen_sandbox::layer::{Bounds, LayerError, Layers, Retention};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// What an archive may become here: little, so that an input is done with soon.
const BOUNDS: Bounds =
    Bounds { total: 1 << 20, entries: 100, ratio: 10, ratio_free: 64 << 10, depth: 8, path_len: 200 };

struct Store {
    runtime: Runtime,
    folder: TempDir,
    layers: Layers,
    count: u64,
}

thread_local! {
    static STORE: std::cell::RefCell<Store> = std::cell::RefCell::new(Store::new());
}

impl Store {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let retention = Retention { total: 0, age: Duration::ZERO };
        let layers = Layers::open(folder.path().join("layers"), BOUNDS, retention).unwrap();
        Self { runtime, folder, layers, count: 0 }
    }

    fn unpack(&mut self, code: &[u8]) {
        self.count += 1;
        let text = BASE64_STANDARD.encode(code).into();
        let layer = self.runtime.block_on(self.layers.layer(&self.count.to_string(), &text, true));
        match layer {
            Ok(layer) => check(layer.path()),
            Err(LayerError::Code(_)) => {}
            Err(disk) => panic!("{disk}"),
        }
        // Whatever the archive said, nothing lies beside the store.
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(name == "layers" || name == "layers.old", "{name:?}");
        }
    }
}

/// Unpacks the input, as it is if it looks like an archive, otherwise as the description of one.
pub(crate) fn unpack(input: &[u8]) {
    STORE.with_borrow_mut(|store| match input {
        [b'P', b'K', ..] | [0x1f, 0x8b, ..] => store.unpack(input),
        [b'z', entries @ ..] => store.unpack(&zip(entries)),
        [b't', entries @ ..] => store.unpack(&tar(entries)),
        _ => {}
    });
}

/// A tree holds files, folders, and links that stay inside or lead to the system's programs; and no more bytes than allowed.
fn check(root: &Path) {
    let mut total = 0;
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            if found.is_dir() {
                open.push(path);
            } else if found.is_symlink() {
                let allowed = [root, Path::new("/usr"), Path::new("/bin")];
                let leads_out =
                    path.canonicalize().is_ok_and(|to| !allowed.iter().any(|folder| to.starts_with(folder)));
                assert!(!leads_out, "{} leads to {:?}", path.display(), fs::read_link(&path));
            } else {
                assert!(found.is_file() && found.nlink() == 1 && found.mode() & 0o7000 == 0, "{found:?}");
                total += found.len();
            }
        }
    }
    assert!(total <= BOUNDS.total, "{total} bytes");
}

/// One entry of a described archive: kind, mode, name, content; each length is one byte.
pub(crate) struct Entry<'a> {
    pub(crate) kind: u8,
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) content: &'a [u8],
}

pub(crate) fn entries(mut input: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    while let [kind, mode, name_length, content_length, rest @ ..] = input {
        let (name, rest) = rest.split_at(rest.len().min(usize::from(*name_length)));
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*content_length)));
        entries.push(Entry { kind: *kind, mode: u32::from(*mode) << 4, name, content });
        input = rest;
    }
    entries
}

fn zip(input: &[u8]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for entry in entries(input) {
        let name = String::from_utf8_lossy(entry.name).into_owned();
        let options = SimpleFileOptions::default().unix_permissions(entry.mode);
        // The writer refuses what it finds nonsensical, such as two entries of one name.
        let _ = match entry.kind % 4 {
            0 => archive.add_directory(name, options),
            1 => archive.add_symlink(name, String::from_utf8_lossy(entry.content), options),
            _ => archive
                .start_file(name, options)
                .and_then(|()| archive.write_all(entry.content).map_err(Into::into)),
        };
    }
    archive.finish().map(Cursor::into_inner).unwrap_or_default()
}

fn tar(input: &[u8]) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gzip);
    for entry in entries(input) {
        let mut header = tar::Header::new_gnu();
        let fields = header.as_old_mut();
        let length = entry.name.len().min(fields.name.len());
        fields.name[..length].copy_from_slice(&entry.name[..length]);
        let length = entry.content.len().min(fields.linkname.len());
        fields.linkname[..length].copy_from_slice(&entry.content[..length]);
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(entry.mode);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        let _ = archive.append(&header, entry.content);
    }
    archive.into_inner().and_then(flate2::write::GzEncoder::finish).unwrap_or_default()
}
