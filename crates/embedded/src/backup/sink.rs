//! Where the files of a backup go: a folder or an archive, under its own name only when it is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chasen_entity::Millis;
use tempfile::TempDir;

use super::manifest::{DIGEST, Entry, FORMAT, MANIFEST, Manifest};
use super::{BackupError, Watch, beside, copy};
use crate::files;

/// What is at the end of an archive's name.
const ARCHIVE: &str = "tar";

/// A backup that is being made.
pub(super) struct Sink {
    place: PathBuf,
    /// Gone when this is dropped before its end.
    scratch: TempDir,
    form: Form,
    files: BTreeMap<String, Entry>,
}

enum Form {
    Folder(PathBuf),
    Archive(PathBuf, Box<tar::Builder<BufWriter<File>>>),
}

impl Sink {
    /// A backup that will be in this place, where nothing is: an archive if its name ends so, else a folder.
    pub(super) fn new(place: &Path) -> Result<Self, BackupError> {
        if place.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(place.to_owned()));
        }
        let scratch = beside(place)?;
        let form = if place.extension().is_some_and(|extension| extension == ARCHIVE) {
            let path = scratch.path().join("archive");
            let file =
                files::private().create_new(true).open(&path).map_err(BackupError::io("write", &path))?;
            Form::Archive(path, Box::new(tar::Builder::new(BufWriter::new(file))))
        } else {
            let path = scratch.path().join("folder");
            files::create_folder(&path)?;
            Form::Folder(path)
        };
        Ok(Self { place: place.to_owned(), scratch, form, files: BTreeMap::new() })
    }

    /// A folder for what has to be prepared. It is gone with the sink.
    pub(super) fn scratch(&self, name: &str) -> Result<PathBuf, BackupError> {
        let path = self.scratch.path().join(name);
        files::create_folder(&path)?;
        Ok(path)
    }

    /// Adds a file under this path. Gives its digest.
    pub(super) fn add(&mut self, path: &str, from: &Path, watch: &dyn Watch) -> Result<String, BackupError> {
        let mut file = File::open(from).map_err(BackupError::io("open", from))?;
        let bytes = file.metadata().map_err(BackupError::io("read", from))?.len();
        // What grows meanwhile is not for us; what shrinks is noticed.
        let mut limited = Read::by_ref(&mut file).take(bytes);
        let copied = match &mut self.form {
            Form::Folder(folder) => {
                let target = folder.join(path);
                let mut writer = create(&target)?;
                let copied =
                    copy(&mut limited, &mut writer, watch).map_err(|error| error.between(from, &target))?;
                writer.sync_all().map_err(BackupError::io("write", &target))?;
                copied
            }
            Form::Archive(target, archive) => {
                let failed = BackupError::io("write", target);
                let mut entry = Appended::begin(archive, path, bytes).map_err(failed)?;
                copy(&mut limited, &mut entry, watch).map_err(|error| error.between(from, target))?
            }
        };
        let (copied, sha256) = copied.ok_or(BackupError::Stopped)?;
        if copied != bytes {
            let error = std::io::Error::other("it became shorter while it was read");
            return Err(BackupError::io("read", from)(error));
        }
        if let Form::Archive(target, archive) = &mut self.form {
            pad(archive.get_mut(), bytes).map_err(BackupError::io("write", target))?;
        }
        self.files.insert(path.to_owned(), Entry { bytes, sha256: sha256.clone() });
        Ok(sha256)
    }

    /// Writes the manifest and puts the backup in its place. Gives how many files and bytes are in it.
    pub(super) fn finish(mut self, taken_at: Millis, keys: bool) -> Result<(usize, u64), BackupError> {
        let counted = (self.files.len(), self.files.values().map(|entry| entry.bytes).sum());
        let release = env!("CARGO_PKG_VERSION").to_owned();
        let manifest = Manifest { format: FORMAT, release, taken_at, keys, files: self.files };
        let texts = manifest
            .to_texts()
            .map_err(|error| BackupError::io("write", Path::new(MANIFEST))(std::io::Error::other(error)))?;
        for (name, text) in [(MANIFEST, &texts.0), (DIGEST, &texts.1)] {
            match &mut self.form {
                Form::Folder(folder) => {
                    let path = folder.join(name);
                    let write = || {
                        let mut file = files::private().create_new(true).open(&path)?;
                        file.write_all(text.as_bytes())?;
                        file.sync_all()
                    };
                    write().map_err(BackupError::io("write", &path))?;
                }
                Form::Archive(target, archive) => {
                    let bytes = text.len() as u64;
                    let mut write = || {
                        Appended::begin(archive, name, bytes)?.write_all(text.as_bytes())?;
                        pad(archive.get_mut(), bytes)
                    };
                    write().map_err(BackupError::io("write", target))?;
                }
            }
        }
        let whole = match self.form {
            Form::Folder(folder) => folder,
            Form::Archive(path, archive) => {
                let finish = || {
                    let file = archive.into_inner()?.into_inner().map_err(|error| error.into_error())?;
                    file.sync_all()
                };
                finish().map_err(BackupError::io("write", &path))?;
                path
            }
        };
        if self.place.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(self.place));
        }
        fs::rename(&whole, &self.place).map_err(BackupError::io("make", &self.place))?;
        if let Some(parent) = self.scratch.path().parent() {
            files::sync_folder(parent).map_err(BackupError::io("write", parent))?;
        }
        Ok(counted)
    }
}

/// A new file, with the folders that it lies in.
pub(super) fn create(path: &Path) -> Result<File, BackupError> {
    if let Some(folder) = path.parent() {
        files::create_folder(folder)?;
    }
    files::private().create_new(true).open(path).map_err(BackupError::io("write", path))
}

/// The contents of an entry, written behind its head.
struct Appended<'a>(&'a mut BufWriter<File>);

impl<'a> Appended<'a> {
    fn begin(
        archive: &'a mut tar::Builder<BufWriter<File>>,
        path: &str,
        bytes: u64,
    ) -> std::io::Result<Self> {
        let mut header = tar::Header::new_ustar();
        header.set_path(path)?;
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        header.set_mtime(now.as_secs());
        header.set_cksum();
        let writer = archive.get_mut();
        writer.write_all(header.as_bytes())?;
        Ok(Self(writer))
    }
}

impl Write for Appended<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// Fills the last block of an entry.
fn pad(writer: &mut impl Write, bytes: u64) -> std::io::Result<()> {
    const BLOCK: u64 = 512;
    let missing = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes).unwrap_or_default();
    writer.write_all([0; 512].get(..missing).unwrap_or_default())
}
