//! Making a backup.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chasen_entity::Millis;
use chasen_telemetry::clock;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::manifest::{ACTIVATIONS, ATTACHMENTS, DATABASES, EVENTS, KEYS, PLAIN, may_hold};
use super::sink::Sink;
use super::{BackupError, Stage, Watch};
use crate::activations::records;
use crate::event_log::CHECKPOINT;
use crate::event_log::copy::LogCopy;
use crate::sqlite::{self, Migrations};
use crate::{OpenError, dead_letters, entities, files, format, idempotency, subjects};

/// Pages of a database that are copied at a time.
const PAGES: i32 = 1024;
/// Room that a copy of a database takes beside its own length, in bytes.
const SPARE: u64 = 1 << 20;
/// Pause before a database is asked again that could not be read just now.
const BUSY: Duration = Duration::from_millis(20);

/// How a backup is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupOptions {
    /// Leave the keys out.
    pub without_keys: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Everything that was accepted before this moment is in the backup.
    pub taken_at: Millis,
    /// Number of files.
    pub files: usize,
    /// Their length together.
    pub bytes: u64,
    /// What was found to be wrong with the data, and is in the backup as it was found.
    pub problems: Vec<String>,
}

/// Makes a backup of a data folder, whether a node runs on it or not: a folder, or an archive if the name ends in `.tar`,
/// `.tar.gz` or `.tgz`. It is readable by its owner alone. Blocks.
pub fn take(
    data: &Path,
    to: &Path,
    options: &BackupOptions,
    watch: &dyn Watch,
) -> Result<Taken, BackupError> {
    let data = data_folder(data)?;
    if lies_in(to, &data) {
        return Err(BackupError::Inside(to.to_owned()));
    }
    fill(&data, Sink::new(to)?, options, watch)
}

/// The same as an archive that is written as it is made; without its end it is none. Blocks.
pub fn stream(
    data: &Path,
    to: Box<dyn Write + Send>,
    options: &BackupOptions,
    watch: &dyn Watch,
) -> Result<Taken, BackupError> {
    fill(&data_folder(data)?, Sink::stream(to)?, options, watch)
}

fn data_folder(path: &Path) -> Result<PathBuf, BackupError> {
    let data = path.canonicalize().map_err(|_| BackupError::NoData(path.to_owned()))?;
    if !data.join(subjects::FILE).is_file() {
        return Err(BackupError::NoData(data));
    }
    format::require_known(&data)?;
    Ok(data)
}

fn fill(
    data: &Path,
    mut sink: Sink,
    options: &BackupOptions,
    watch: &dyn Watch,
) -> Result<Taken, BackupError> {
    let moment = Moment::seize(data, &sink, watch)?;
    let taken_at = moment.at;
    watch.begin(Stage::Log);
    let log = moment.log.len();
    for (done, segment) in moment.log.iter().enumerate() {
        watch.at(done, log);
        sink.add(&name(EVENTS, segment), segment, watch)?;
        remove(segment)?;
    }
    watch.begin(Stage::Databases);
    let scratch = sink.scratch("databases")?;
    let mut named = BTreeSet::new();
    let databases = moment.databases.len();
    for (done, (file, snapshot)) in moment.databases.into_iter().enumerate() {
        watch.at(done, databases);
        let copy = scratch.join(file);
        snapshot.copy(&copy, watch)?;
        if file == subjects::FILE {
            named = codes(&copy)?;
        }
        sink.add(file, &copy, watch)?;
        remove(&copy)?;
    }
    watch.begin(Stage::Records);
    copy_records(data, &scratch, &mut sink, watch)?;
    watch.begin(Stage::Code);
    let problems = copy_code(data, named, &mut sink, watch)?;
    for file in PLAIN.into_iter().chain(KEYS.into_iter().filter(|_| !options.without_keys)) {
        let path = data.join(file);
        if path.is_file() {
            sink.add(file, &path, watch)?;
        }
    }
    if watch.is_stopped() {
        return Err(BackupError::Stopped);
    }
    let (files, bytes) = sink.finish(taken_at, !options.without_keys)?;
    Ok(Taken { taken_at, files, bytes, problems })
}

/// True if this path would be made in the folder.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().is_ok_and(|parent| parent.starts_with(folder))
}

/// What is as it was at one moment.
struct Moment {
    at: Millis,
    /// Copies of the log's files.
    log: Vec<PathBuf>,
    databases: Vec<(&'static str, Snapshot)>,
}

impl Moment {
    fn seize(data: &Path, sink: &Sink, watch: &dyn Watch) -> Result<Self, BackupError> {
        let events = data.join(EVENTS);
        let target = sink.scratch(EVENTS)?;
        let has_log = events.is_dir();
        let mut log = LogCopy::new(&events, &target);
        if has_log {
            log.begin()?;
        }
        if watch.is_stopped() {
            return Err(BackupError::Stopped);
        }
        let letters = data.join(dead_letters::FILE);
        let held = letters.is_file().then(|| Held::new(&letters)).transpose()?;
        let at = clock::now();
        let mut databases = Vec::new();
        for file in DATABASES {
            let path = data.join(file);
            if path.is_file() {
                databases.push((file, Snapshot::of(&path, migrations(file))?));
            }
        }
        // It may lag behind the files of records, which are copied later; it must not lead.
        let checkpoint = events.join(CHECKPOINT);
        let mut copies = Vec::new();
        if checkpoint.is_file() {
            let copy = target.join(CHECKPOINT);
            fs::copy(&checkpoint, &copy).map_err(BackupError::io("copy", &checkpoint))?;
            copies.push(copy);
        }
        if has_log {
            copies.extend(log.finish()?);
        }
        drop(held);
        Ok(Self { at, log: copies, databases })
    }
}

/// The schema of one of [`DATABASES`].
pub(super) fn migrations(file: &str) -> Migrations {
    match file {
        dead_letters::FILE => dead_letters::MIGRATIONS,
        idempotency::FILE => idempotency::MIGRATIONS,
        _ => entities::MIGRATIONS,
    }
}

/// A database that nobody else may write to.
struct Held(Connection);

impl Held {
    fn new(path: &Path) -> Result<Self, BackupError> {
        let connection = Connection::open(path).map_err(BackupError::store(path))?;
        connection
            .busy_timeout(Duration::from_secs(10))
            .and_then(|()| connection.execute_batch("BEGIN IMMEDIATE"))
            .map_err(BackupError::store(path))?;
        Ok(Self(connection))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.0.execute_batch("ROLLBACK") {
            tracing::debug!(%error, "a transaction without changes was not ended in order");
        }
    }
}

/// A database as it was at one moment.
pub(super) struct Snapshot {
    path: PathBuf,
    connection: Connection,
}

impl Snapshot {
    /// Reads the database as it is now, whatever is written to it from here on.
    fn of(path: &Path, migrations: Migrations) -> Result<Self, BackupError> {
        require_known(path, migrations)?;
        let refused = |source| OpenError::Store { file: path.to_owned(), source };
        let connection = sqlite::open_reader(path).map_err(refused)?;
        connection
            .execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")
            .map_err(BackupError::store(path))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Refuses to begin what there is no room for: SQLite would only speak of an error of input or output.
    fn require_room(&self, to: &Path) -> Result<(), BackupError> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let pages = pragma("page_count").map_err(BackupError::store(&self.path))?;
        let page = pragma("page_size").map_err(BackupError::store(&self.path))?;
        let needed = sqlite::unsigned(pages.saturating_mul(page)).saturating_add(SPARE);
        let folder = to.parent().unwrap_or(to);
        let found = rustix::fs::statvfs(folder)
            .map_err(|error| BackupError::io("look for room in", folder)(error.into()))?;
        if found.f_bavail.saturating_mul(found.f_frsize) < needed {
            return Err(BackupError::io("write", to)(std::io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    /// Copies it into a new file, which is whole without any other.
    fn copy(&self, to: &Path, watch: &dyn Watch) -> Result<(), BackupError> {
        self.require_room(to)?;
        files::private().create_new(true).open(to).map_err(BackupError::io("write", to))?;
        let mut target = Connection::open(to).map_err(BackupError::store(to))?;
        {
            let copy = Backup::new(&self.connection, &mut target).map_err(BackupError::store(&self.path))?;
            loop {
                if watch.is_stopped() {
                    return Err(BackupError::Stopped);
                }
                match copy.step(PAGES).map_err(BackupError::store(to))? {
                    StepResult::Done => break,
                    StepResult::Busy | StepResult::Locked => std::thread::sleep(BUSY),
                    _ => {}
                }
            }
        }
        target
            .pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
            .map_err(BackupError::store(to))?;
        target.close().map_err(|(_, error)| BackupError::store(to)(error))
    }
}

/// Refuses a database whose schema is of a later release.
pub(super) fn require_known(path: &Path, migrations: Migrations) -> Result<(), BackupError> {
    let refused = |source| OpenError::Store { file: path.to_owned(), source };
    let connection = sqlite::open_reader(path).map_err(refused)?;
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(BackupError::store(path))?;
    let supported = u32::try_from(migrations.len()).unwrap_or(u32::MAX);
    if found > supported {
        return Err(OpenError::Newer { file: path.to_owned(), found, supported }.into());
    }
    Ok(())
}

/// Copies the files of records. One that has had its time meanwhile is left out.
fn copy_records(data: &Path, scratch: &Path, sink: &mut Sink, watch: &dyn Watch) -> Result<(), BackupError> {
    let files = listed(&data.join(ACTIVATIONS))?;
    let of = files.len();
    for (done, path) in files.into_iter().enumerate() {
        watch.at(done, of);
        let name = name(ACTIVATIONS, &path);
        if !may_hold(&name) {
            continue;
        }
        let copy = scratch.join(path.file_name().unwrap_or_default());
        let copied =
            Snapshot::of(&path, records::MIGRATIONS).and_then(|snapshot| snapshot.copy(&copy, watch));
        match copied {
            Ok(()) => {
                sink.add(&name, &copy, watch)?;
            }
            Err(BackupError::Stopped) => return Err(BackupError::Stopped),
            Err(_) if !path.exists() => {}
            Err(error) => return Err(error),
        }
        remove(&copy)?;
    }
    Ok(())
}

/// Copies all code there is: that of entities, and that of work that was accepted before its action changed.
fn copy_code(
    data: &Path,
    mut named: BTreeSet<String>,
    sink: &mut Sink,
    watch: &dyn Watch,
) -> Result<Vec<String>, BackupError> {
    let shelves = listed(&data.join(ATTACHMENTS))?;
    let files: Vec<PathBuf> = shelves
        .iter()
        .map(|shelf| listed(shelf))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    let of = files.len();
    let mut problems = Vec::new();
    for (done, path) in files.into_iter().enumerate() {
        watch.at(done, of);
        let (Some(digest), Some(shelf)) =
            (path.file_name().and_then(|name| name.to_str()), path.parent().and_then(Path::file_name))
        else {
            continue;
        };
        let name = format!("{ATTACHMENTS}/{}/{digest}", shelf.to_string_lossy());
        if !may_hold(&name) {
            continue;
        }
        match sink.add(&name, &path, watch) {
            Ok(found) => {
                named.remove(digest);
                if found != digest {
                    problems
                        .push(format!("{name} is damaged: update the actions that use it with their code"));
                }
            }
            Err(BackupError::Stopped) => return Err(BackupError::Stopped),
            // Nobody needs it any more.
            Err(_) if !path.exists() && !named.contains(digest) => {}
            Err(error) => return Err(error),
        }
    }
    let missing =
        |digest| format!("{ATTACHMENTS}/{digest} is missing: update the actions that use it with their code");
    problems.extend(named.iter().map(missing));
    Ok(problems)
}

/// Digests of the code that entities name.
pub(super) fn codes(database: &Path) -> Result<BTreeSet<String>, BackupError> {
    let read = || {
        let connection = Connection::open(database)?;
        let mut statement =
            connection.prepare("SELECT DISTINCT attachment FROM documents WHERE attachment IS NOT NULL")?;
        statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()
    };
    read().map_err(BackupError::store(database))
}

/// What lies in a folder, in the order of names; nothing if there is none, or it is no folder.
pub(super) fn listed(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    let mut entries = entries.map_err(BackupError::io("read the folder", folder))?;
    entries.sort_unstable();
    Ok(entries)
}

fn name(folder: &str, path: &Path) -> String {
    format!("{folder}/{}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn remove(path: &Path) -> Result<(), BackupError> {
    files::remove(path).map_err(BackupError::io("remove", path))
}
