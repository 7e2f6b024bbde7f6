//! Making a data folder of a backup. Nothing of the backup is trusted: not its paths, not its kinds of files, not its
//! lengths. The folder has its name only when everything in it is verified.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use chasen_entity::Millis;
use flate2::bufread::MultiGzDecoder;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::manifest::{
    ACTIVATIONS, DATABASES, DIGEST, EVENTS, Entry, MANIFEST, MOST_BYTES, Manifest, may_hold,
};
use super::sink::create;
use super::take::{listed, migrations, require_known};
use super::{BackupError, STREAM, Stage, Watch, beside, copy};
use crate::activations::records;
use crate::event_log::copy::look_into;
use crate::{OpenError, files, lock};

/// How what gzip has packed begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Most files of a backup.
const MOST_FILES: usize = 4_000_000;
/// Longest digest file, in bytes.
const MOST_DIGEST: u64 = 4096;

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Release that made the backup.
    pub release: String,
    /// Everything that was accepted before this moment is there.
    pub taken_at: Millis,
    /// The keys are there, too.
    pub keys: bool,
    /// Number of files.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
}

/// Makes a data folder, which must be empty or not there, of a backup: a folder or an archive. Blocks.
pub fn restore(from: &Path, data: &Path, watch: &dyn Watch) -> Result<Restored, BackupError> {
    let kind = fs::metadata(from).map_err(BackupError::io("open", from))?;
    if !kind.is_dir() && !kind.is_file() {
        let why = "it is neither a folder nor a file; `-` reads an archive from stdin".to_owned();
        return Err(BackupError::NoBackup { file: from.to_owned(), why });
    }
    unpacked(data, watch, |folder| match kind.is_dir() {
        true => of_folder(from, folder, watch),
        false => {
            let file = File::open(from).map_err(BackupError::io("open", from))?;
            of_archive(file, from, folder, watch)
        }
    })
}

/// The same of an archive that comes from somewhere. Blocks until that ends.
pub fn restore_stream(from: impl Read, data: &Path, watch: &dyn Watch) -> Result<Restored, BackupError> {
    unpacked(data, watch, |folder| of_archive(from, Path::new(STREAM), folder, watch))
}

fn unpacked(
    data: &Path,
    watch: &dyn Watch,
    unpack: impl FnOnce(&Path) -> Result<(Manifest, Found), BackupError>,
) -> Result<Restored, BackupError> {
    require_empty(data)?;
    if let Some(parent) = data.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        files::create_folder(parent)?;
    }
    let scratch = beside(data)?;
    let folder = scratch.path().join("data");
    files::create_folder(&folder)?;
    let (manifest, found) = unpack(&folder)?;
    compare(&manifest, &found)?;
    require_known_formats(&folder)?;
    sync(&folder)?;
    if watch.is_stopped() {
        return Err(BackupError::Stopped);
    }
    require_empty(data)?;
    fs::rename(&folder, data).map_err(BackupError::io("make", data))?;
    if let Some(parent) = scratch.path().parent() {
        files::sync_folder(parent).map_err(BackupError::io("write", parent))?;
    }
    Ok(Restored {
        release: manifest.release,
        taken_at: manifest.taken_at,
        keys: manifest.keys,
        files: found.len(),
        bytes: found.values().map(|entry| entry.bytes).sum(),
    })
}

/// Refuses a folder with anything in it; says so if a node runs there.
fn require_empty(data: &Path) -> Result<(), BackupError> {
    match fs::symlink_metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(BackupError::io("open", data)(error)),
        Ok(found) if !found.is_dir() => return Err(BackupError::Exists(data.to_owned())),
        Ok(_) => {}
    }
    if let Some(holder) = lock::holder_of(data)? {
        return Err(OpenError::Locked { folder: data.to_owned(), holder }.into());
    }
    match fs::read_dir(data).map_err(BackupError::io("read the folder", data))?.next() {
        None => Ok(()),
        Some(_) => Err(BackupError::NotEmpty(data.to_owned())),
    }
}

type Found = BTreeMap<String, Entry>;

/// Copies what the manifest of a folder names.
fn of_folder(from: &Path, to: &Path, watch: &dyn Watch) -> Result<(Manifest, Found), BackupError> {
    let root = File::open(from).map_err(BackupError::io("open", from))?;
    let text = |name: &str, most: u64| -> Result<Vec<u8>, BackupError> {
        match open_beneath(&root, name) {
            Ok(file) => bounded(file, most).map_err(BackupError::io("read", &from.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(BackupError::NoBackup { file: from.to_owned(), why: format!("it has no {name}") })
            }
            Err(error) => Err(BackupError::io("open", &from.join(name))(error)),
        }
    };
    let manifest = Manifest::read(&text(MANIFEST, MOST_BYTES)?, &text(DIGEST, MOST_DIGEST)?)?;
    let (mut found, mut progress) = (Found::new(), Progress::default());
    for (path, entry) in &manifest.files {
        progress.at(path, found.len(), manifest.files.len(), watch);
        let damaged = |why: String| BackupError::Damaged { file: path.clone(), why };
        let file = open_beneath(&root, path).map_err(|error| damaged(error.to_string()))?;
        let is_plain = file.metadata().is_ok_and(|file| file.is_file() && file.len() == entry.bytes);
        if !is_plain {
            return Err(damaged(format!("it is no file of {} bytes", entry.bytes)));
        }
        found.insert(path.clone(), place(file.take(entry.bytes), &from.join(path), to, path, watch)?);
    }
    Ok((manifest, found))
}

/// Opens a file of a folder without ever leaving it, whatever its links say.
fn open_beneath(root: &File, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(File::from(rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)?))
}

/// Unpacks an archive, which may be packed with gzip.
fn of_archive(
    input: impl Read,
    from: &Path,
    to: &Path,
    watch: &dyn Watch,
) -> Result<(Manifest, Found), BackupError> {
    let no_backup = |why: &str| BackupError::NoBackup { file: from.to_owned(), why: why.to_owned() };
    let damaged = |error: io::Error| BackupError::NoBackup {
        file: from.to_owned(),
        // What reads archives quotes them, and they may hold commands for terminals.
        why: format!("it cannot be read as an archive: {}", error.to_string().escape_debug()),
    };
    let mut input = BufReader::new(input);
    let is_packed = input.fill_buf().map_err(damaged)?.starts_with(&GZIP);
    let mut archive: tar::Archive<Box<dyn Read + '_>> = tar::Archive::new(match is_packed {
        true => Box::new(MultiGzDecoder::new(input)),
        false => Box::new(input),
    });
    let (mut found, mut texts) = (Found::new(), BTreeMap::new());
    let mut progress = Progress::default();
    // Raw: long names and other extensions are entries then, which no backup has.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let entry = entry.map_err(damaged)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(BackupError::Foreign { file: path });
        }
        let bytes = entry.size();
        if path == MANIFEST || path == DIGEST {
            let most = if path == MANIFEST { MOST_BYTES } else { MOST_DIGEST };
            texts.insert(path, bounded(entry, most).map_err(damaged)?);
            continue;
        }
        if !may_hold(&path) || found.contains_key(&path) || found.len() >= MOST_FILES {
            return Err(BackupError::Foreign { file: path });
        }
        progress.at(&path, found.len(), found.len() + 1, watch);
        let placed = place(entry, from, to, &path, watch)?;
        if placed.bytes != bytes {
            return Err(BackupError::Damaged { file: path, why: "the archive ends in it".to_owned() });
        }
        found.insert(path, placed);
    }
    match (texts.get(MANIFEST), texts.get(DIGEST)) {
        (Some(text), Some(digest)) => Ok((Manifest::read(text, digest)?, found)),
        _ => Err(no_backup("it has no manifest, or ends before it")),
    }
}

fn bounded(from: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {most} bytes")));
    }
    Ok(bytes)
}

/// Writes one file.
fn place(
    mut from: impl Read,
    source: &Path,
    folder: &Path,
    path: &str,
    watch: &dyn Watch,
) -> Result<Entry, BackupError> {
    let target = folder.join(path);
    let mut file = create(&target)?;
    let copied = copy(&mut from, &mut file, watch).map_err(|error| error.between(source, &target))?;
    let (bytes, sha256) = copied.ok_or(BackupError::Stopped)?;
    file.sync_all().map_err(BackupError::io("write", &target))?;
    Ok(Entry { bytes, sha256 })
}

/// Tells which stage a file belongs to.
#[derive(Default)]
struct Progress(Option<Stage>);

impl Progress {
    fn at(&mut self, path: &str, done: usize, of: usize, watch: &dyn Watch) {
        let stage = match path.split_once('/').map(|(folder, _)| folder) {
            Some(EVENTS) => Stage::Log,
            Some(ACTIVATIONS) => Stage::Records,
            Some(_) => Stage::Code,
            None => Stage::Databases,
        };
        if self.0.replace(stage) != Some(stage) {
            watch.begin(stage);
        }
        watch.at(done, of);
    }
}

/// Everything that the manifest names must be there as it says, and nothing else.
fn compare(manifest: &Manifest, found: &Found) -> Result<(), BackupError> {
    for (path, entry) in &manifest.files {
        let why = match found.get(path) {
            None => "it is missing",
            Some(found) if found != entry => "its digest is not that of the manifest",
            Some(_) => continue,
        };
        return Err(BackupError::Damaged { file: path.clone(), why: why.to_owned() });
    }
    match found.keys().find(|path| !manifest.files.contains_key(*path)) {
        Some(path) => Err(BackupError::Foreign { file: path.clone() }),
        None => Ok(()),
    }
}

/// Refuses what this release could not open.
fn require_known_formats(folder: &Path) -> Result<(), BackupError> {
    for file in DATABASES {
        let path = folder.join(file);
        if path.is_file() {
            require_known(&path, migrations(file))?;
            settle(&path)?;
        }
    }
    for path in listed(&folder.join(ACTIVATIONS))? {
        if path.extension().is_some_and(|extension| extension == "db") {
            require_known(&path, records::MIGRATIONS)?;
            settle(&path)?;
        }
    }
    let events = folder.join(EVENTS);
    let mut newer = None;
    if events.is_dir() {
        look_into(&events, |_, text| newer = newer.take().or(text.err()))?;
    }
    newer.map_or(Ok(()), |error| Err(error.into()))
}

/// Removes what SQLite leaves beside a file that was only looked into.
fn settle(path: &Path) -> Result<(), BackupError> {
    for side in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(side);
        files::remove(Path::new(&name)).map_err(BackupError::io("remove", path))?;
    }
    Ok(())
}

/// Makes the names in a folder, and in those below it, durable.
fn sync(folder: &Path) -> Result<(), BackupError> {
    for path in listed(folder)? {
        if path.is_dir() {
            sync(&path)?;
        }
    }
    files::sync_folder(folder).map_err(BackupError::io("write", folder))
}
