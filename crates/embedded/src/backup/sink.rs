//! Where the files of a backup go: a folder or an archive, under its own name only when it is whole, or a stream.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chasen_entity::Millis;
use flate2::Compression;
use flate2::write::GzEncoder;
use tempfile::TempDir;

use super::manifest::{DIGEST, Entry, FORMAT, MANIFEST, Manifest};
use super::{BackupError, STREAM, Watch, beside, copy};
use crate::files;

/// What is at the end of an archive's name.
const ARCHIVE: &str = ".tar";
/// The same of one that is packed.
const PACKED: [&str; 2] = [".tar.gz", ".tgz"];
/// What is at the end of names of archives that nobody makes here.
const OTHERS: [&str; 7] = [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".7z"];

/// A backup that is being made.
pub(super) struct Sink {
    /// Nowhere, of a stream.
    place: Option<PathBuf>,
    /// Gone when this is dropped before its end.
    scratch: TempDir,
    form: Form,
    files: BTreeMap<String, Entry>,
}

enum Form {
    Folder(PathBuf),
    Archive(PathBuf, Box<tar::Builder<Out>>),
}

/// Where the bytes of an archive go.
enum Out {
    Plain(BufWriter<File>),
    Packed(Box<GzEncoder<BufWriter<File>>>),
    Stream(BufWriter<Box<dyn Write + Send>>),
}

impl Out {
    fn finish(self) -> io::Result<()> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Packed(packed) => packed.finish()?,
            Self::Stream(mut stream) => return stream.flush(),
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.write(bytes),
            Self::Packed(packed) => packed.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.flush(),
            Self::Packed(packed) => packed.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

impl Sink {
    /// A backup that will be in this place, where nothing is: an archive if its name ends so, else a folder.
    pub(super) fn new(place: &Path) -> Result<Self, BackupError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let (is_plain, is_packed) = (ends(&[ARCHIVE]), ends(&PACKED));
        if !is_packed && ends(&OTHERS) {
            return Err(BackupError::NoForm(place.to_owned()));
        }
        if place.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(place.to_owned()));
        }
        let scratch = beside(place)?;
        let form = if is_plain || is_packed {
            let path = scratch.path().join("archive");
            let file =
                files::private().create_new(true).open(&path).map_err(BackupError::io("write", &path))?;
            let file = BufWriter::new(file);
            let out = match is_packed {
                true => Out::Packed(Box::new(GzEncoder::new(file, Compression::default()))),
                false => Out::Plain(file),
            };
            Form::Archive(path, Box::new(tar::Builder::new(out)))
        } else {
            let path = scratch.path().join("folder");
            files::create_folder(&path)?;
            Form::Folder(path)
        };
        Ok(Self { place: Some(place.to_owned()), scratch, form, files: BTreeMap::new() })
    }

    /// An archive that is written as it is made. What has to be prepared lies among the machine's temporary files.
    pub(super) fn stream(to: Box<dyn Write + Send>) -> Result<Self, BackupError> {
        let scratch = tempfile::Builder::new().prefix("chasen-backup-").tempdir();
        let scratch = scratch.map_err(BackupError::io("make a folder in", &std::env::temp_dir()))?;
        let out = Out::Stream(BufWriter::new(to));
        let form = Form::Archive(PathBuf::from(STREAM), Box::new(tar::Builder::new(out)));
        Ok(Self { place: None, scratch, form, files: BTreeMap::new() })
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
            let error = io::Error::other("it became shorter while it was read");
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
            .map_err(|error| BackupError::io("write", Path::new(MANIFEST))(io::Error::other(error)))?;
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
                archive.into_inner().and_then(Out::finish).map_err(BackupError::io("write", &path))?;
                path
            }
        };
        let Some(place) = self.place else { return Ok(counted) };
        if place.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(place));
        }
        fs::rename(&whole, &place).map_err(BackupError::io("make", &place))?;
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
struct Appended<'a>(&'a mut Out);

impl<'a> Appended<'a> {
    fn begin(archive: &'a mut tar::Builder<Out>, path: &str, bytes: u64) -> io::Result<Self> {
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
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Fills the last block of an entry.
fn pad(writer: &mut impl Write, bytes: u64) -> io::Result<()> {
    const BLOCK: u64 = 512;
    let missing = usize::try_from(bytes.next_multiple_of(BLOCK) - bytes).unwrap_or_default();
    writer.write_all([0; 512].get(..missing).unwrap_or_default())
}
