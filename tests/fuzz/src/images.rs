//! Archives of images: as they come, and well-formed ones around a layer that is as it comes or as the input says.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use chasen_images::{Bounds, Images};
use chasen_spi::ImageStore as _;
use chasen_test_images::Image;
use tempfile::TempDir;

use crate::archive::entries;

/// What a layer may become here: little, so that an input is done with soon.
const BOUNDS: Bounds = Bounds {
    entries: 100,
    total: 1 << 20,
    file: 1 << 20,
    path_len: 200,
    depth: 8,
    ratio: 10,
    ratio_free: 64 << 10,
    reserve: 1,
};
const NAME: &str = "fuzz/image:1";

struct Store {
    folder: TempDir,
    images: Images,
}

thread_local! {
    static STORE: Store = Store::new();
}

impl Store {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let images = Images::new(folder.path().join("images"), BOUNDS);
        Self { folder, images }
    }

    fn import(&self, archive: &[u8]) {
        let file = self.folder.path().join("archive");
        fs::write(&file, archive).unwrap();
        if self.images.import(&file, Some(NAME), &()).is_ok() {
            let held = self.images.hold(NAME).unwrap().unwrap();
            held.layers.iter().for_each(|layer| check(layer));
            drop(held);
            self.images.remove(NAME).unwrap();
        }
        // Whatever the archive said, nothing lies beside the store, and nothing is left in it.
        let names = |folder: PathBuf| fs::read_dir(folder).map_or(0, Iterator::count);
        assert!(names(self.folder.path().to_owned()) <= 2);
        assert_eq!(names(self.folder.path().join("images/layers")), 0);
        assert_eq!(names(self.folder.path().join("images/scratch")), 0);
    }
}

/// Imports the input.
pub(crate) fn import(input: &[u8]) {
    STORE.with(|store| match input {
        [b'l', layer @ ..] => store.import(&image(layer)),
        [b't', described @ ..] => store.import(&image(&layer(described))),
        [b'a', archive @ ..] => store.import(archive),
        _ => {}
    });
}

/// A layer holds files, folders, links and marks of removal, and no more bytes than allowed.
fn check(root: &Path) {
    let mut total = 0;
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            let kind = found.file_type();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_char_device() {
                assert_eq!(found.rdev(), 0, "{}", path.display());
            } else if kind.is_file() {
                assert!(found.mode() & 0o6000 == 0, "{found:?}");
                total += found.len() / found.nlink();
            } else {
                assert!(kind.is_symlink(), "{found:?}");
            }
        }
    }
    assert!(total <= BOUNDS.total, "{total} bytes");
}

/// A layer of described entries.
fn layer(described: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for entry in entries(described) {
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
    archive.into_inner().unwrap_or_default()
}

/// An archive with one image of this layer.
fn image(layer: &[u8]) -> Vec<u8> {
    Image { layers: vec![layer.to_owned()], ..Image::new(NAME) }.docker_archive()
}
