//! Looking for damage in a data folder, whether a node runs on it or not. Changes nothing.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use chasen_entity::{Parameters, RawJson};
use chasen_spi::ParameterLock;
use rusqlite::Connection;

use super::manifest::{ACTIVATIONS, ATTACHMENTS, DATABASES, EVENTS};
use super::take::{codes, listed, migrations, require_known};
use super::{BackupError, Stage, Watch, copy};
use crate::activations::records;
use crate::event_log::copy::look_into;
use crate::event_log::payload::Payloads;
use crate::node_key::{self, KeyFile, NodeKey};
use crate::parameter_keys::{self, ParameterKeys, ParameterKeysConfig};
use crate::sqlite::{self, Migrations, store_error};
use crate::{OpenError, dead_letters, format, subjects};

/// Most lines of what SQLite finds in one file.
const MOST_LINES: u32 = 10;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which file, below the data folder.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// Advice, where several findings have the same.
const RESTORE: &str = "restore a backup from before the damage, and check the disk";
const NEWER: &str = "run the release that wrote it, or restore an older backup";
const KEY: &str = "put the right key file back from where keys are kept";
const CODE: &str = "update the actions that use it with their code";

/// Looks into every file that keeps something, and says what is wrong. Blocks.
pub fn check(data: &Path, watch: &dyn Watch) -> Result<Vec<Finding>, BackupError> {
    if !data.join(subjects::FILE).is_file() {
        return Err(BackupError::NoData(data.to_owned()));
    }
    let mut findings = Findings { data, list: Vec::new() };
    if let Err(error) = format::require_known(data) {
        findings.refused(&data.join(format::FILE), error);
    }
    watch.begin(Stage::Log);
    let key = findings.node_key()?;
    let payloads = key.clone().map(Payloads::new);
    let events = data.join(EVENTS);
    if events.is_dir() {
        look_into(&events, |path, text| match text {
            Ok(text) => text.problems(payloads.as_ref()).into_iter().for_each(|problem| {
                findings.add(path, problem, "what it says of activations is lost; check the disk");
            }),
            Err(error) => findings.refused(path, error),
        })?;
    }
    watch.begin(Stage::Databases);
    for (done, file) in DATABASES.into_iter().enumerate() {
        watch.at(done, DATABASES.len());
        findings.database(&data.join(file), migrations(file));
    }
    if let Some(key) = &key {
        findings.secrets(key)?;
    }
    findings.parameters()?;
    watch.begin(Stage::Records);
    let files = listed(&data.join(ACTIVATIONS))?;
    for (done, path) in files.iter().enumerate() {
        watch.at(done, files.len());
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("db") => findings.database(path, records::MIGRATIONS),
            Some("damaged") => findings.add(
                path,
                "it was damaged and set aside; its records are not shown".to_owned(),
                "remove it, or keep it for a repair by hand",
            ),
            _ => {}
        }
    }
    watch.begin(Stage::Code);
    findings.code(watch)?;
    Ok(findings.list)
}

struct Findings<'a> {
    data: &'a Path,
    list: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, path: &Path, problem: String, advice: &'static str) {
        let file = path.strip_prefix(self.data).unwrap_or(path).display().to_string();
        self.list.push(Finding { file, problem, advice });
    }

    fn refused(&mut self, path: &Path, error: OpenError) {
        match error {
            OpenError::Newer { found, supported, .. } => self.add(
                path,
                format!("a newer release wrote it (format {found}, this one reads up to {supported})"),
                NEWER,
            ),
            OpenError::Io { source, .. } => self.add(path, source.to_string(), RESTORE),
            error => self.add(path, error.to_string(), RESTORE),
        }
    }

    /// The node's key, if it is the right one.
    fn node_key(&mut self) -> Result<Option<Arc<NodeKey>>, BackupError> {
        if !self.is_right_key(node_key::FILE, subjects::NODE_KEY, "keys of subjects and open work")? {
            return Ok(None);
        }
        Ok(Some(Arc::new(NodeKey::open(self.data)?)))
    }

    /// True if a key's file is there and is the one that was used.
    fn is_right_key(&mut self, name: &str, fingerprint: &str, what: &str) -> Result<bool, BackupError> {
        let path = self.data.join(name);
        let used = match subjects::fingerprint(self.data, fingerprint) {
            Ok(used) => used,
            // The database itself is told of below.
            Err(OpenError::Store { .. } | OpenError::Newer { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let found = KeyFile::read(&path)?;
        let is_there = found.is_some();
        let found = found.and_then(|bytes| bytes.try_into().ok());
        let found = found.map(|bytes| KeyFile { file: path.clone(), bytes }.fingerprint());
        if found.is_some() && (used.is_none() || used == found) {
            return Ok(true);
        }
        if used.is_some() || is_there {
            let state = if is_there { "it is not the key that was used here" } else { "it is missing" };
            self.add(&path, format!("{state}: {what} cannot be opened"), KEY);
        }
        Ok(false)
    }

    /// What SQLite finds in a file.
    fn database(&mut self, path: &Path, migrations: Migrations) {
        if !path.is_file() {
            return;
        }
        match require_known(path, migrations) {
            Ok(()) => {}
            Err(BackupError::Open(error)) => return self.refused(path, error),
            Err(error) => return self.add(path, error.to_string(), RESTORE),
        }
        let lines =
            sqlite::open_reader(path).and_then(|connection| integrity(&connection).map_err(store_error));
        match lines {
            Ok(lines) => lines.into_iter().for_each(|line| self.add(path, line, RESTORE)),
            Err(_) if !path.exists() => {}
            Err(error) => self.add(path, error.to_string(), RESTORE),
        }
    }

    /// Whether the key opens what it should.
    fn secrets(&mut self, key: &NodeKey) -> Result<(), BackupError> {
        let path = self.data.join(subjects::FILE);
        let sealed = sqlite::open_reader(&path).and_then(|connection| subjects::unreadable(&connection, key));
        match sealed {
            Ok(subjects) => subjects.into_iter().for_each(|subject| {
                let problem = format!("the key of subject '{subject}' cannot be opened");
                self.add(&path, problem, "give it a new one: chasen admin user create NAME --revoke");
            }),
            Err(error) => self.add(&path, error.to_string(), RESTORE),
        }
        let path = self.data.join(dead_letters::FILE);
        if path.is_file() {
            let closed =
                sqlite::open_reader(&path).and_then(|connection| dead_letters::unreadable(&connection, key));
            match closed {
                Ok(ids) => ids.into_iter().for_each(|id| {
                    let problem = format!("the dead letter {id} cannot be opened");
                    self.add(&path, problem, "drop it: chasen dead-letter drop ID");
                }),
                Err(error) => self.add(&path, error.to_string(), RESTORE),
            }
        }
        Ok(())
    }

    /// Whether the node's key for parameters opens what is locked with it.
    fn parameters(&mut self) -> Result<(), BackupError> {
        if !self.is_right_key(parameter_keys::FILE, subjects::PARAMETER_KEY, "locked parameters")? {
            return Ok(());
        }
        let Some(Ok(bytes)) = KeyFile::read(&self.data.join(parameter_keys::FILE))?.map(<[u8; 32]>::try_from)
        else {
            return Ok(());
        };
        let config = ParameterKeysConfig::default();
        let Ok(keys) = ParameterKeys::new(&config) else { return Ok(()) };
        let keys = keys.with_node(&bytes, &config);
        let path = self.data.join(subjects::FILE);
        let walked = sqlite::open_reader(&path).and_then(|connection| {
            let mut statement =
                connection.prepare("SELECT path, name, body FROM documents").map_err(store_error)?;
            let mut rows = statement.query([]).map_err(store_error)?;
            while let Some(row) = rows.next().map_err(store_error)? {
                let read =
                    || Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
                let (folder, name, body) = read().map_err(store_error)?;
                if let Some(problem) = closed_parameters(&body, &keys) {
                    let advice = "update it with its parameters";
                    self.add(&path, format!("'{folder}/{name}': {problem}"), advice);
                }
            }
            Ok(())
        });
        if let Err(error) = walked {
            self.add(&path, error.to_string(), RESTORE);
        }
        Ok(())
    }

    /// Whether all code is there and is what it was.
    fn code(&mut self, watch: &dyn Watch) -> Result<(), BackupError> {
        let folder = self.data.join(ATTACHMENTS);
        // Asked before the files are looked at: nothing that it names goes meanwhile.
        let mut named = codes(&self.data.join(subjects::FILE)).unwrap_or_else(|_| BTreeSet::new());
        let mut files = Vec::new();
        for shelf in
            listed(&folder)?.into_iter().filter(|shelf| shelf.file_name().is_some_and(|name| name.len() == 2))
        {
            files.extend(listed(&shelf)?);
        }
        for (done, path) in files.iter().enumerate() {
            watch.at(done, files.len());
            let Some(digest) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let mut file = match File::open(path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    self.add(path, error.to_string(), CODE);
                    continue;
                }
            };
            match copy(&mut file, &mut io::sink(), watch) {
                Ok(None) => return Err(BackupError::Stopped),
                Ok(Some((_, found))) if found == digest => drop(named.remove(digest)),
                Ok(Some(_)) => {
                    named.remove(digest);
                    self.add(path, "its content is not what its name says".to_owned(), CODE);
                }
                Err(error) => {
                    let error = error.between(path, path);
                    self.add(path, error.to_string(), CODE);
                }
            }
        }
        for digest in named {
            self.add(&folder.join(&digest), "an action names it, and it is missing".to_owned(), CODE);
        }
        Ok(())
    }
}

/// What SQLite says of a file; nothing if it is sound.
fn integrity(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({MOST_LINES})"))?;
    let lines: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// What is wrong with the parameters of a document.
fn closed_parameters(body: &str, keys: &ParameterKeys) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Document {
        parameters: Option<Parameters>,
    }
    let document: Document = match serde_json::from_str(body) {
        Ok(document) => document,
        Err(error) => return Some(format!("it cannot be read: {error}")),
    };
    let opens = |algorithm: &str, value: &RawJson| {
        !keys.is_transparent(algorithm) || keys.unlock(algorithm, value).is_ok()
    };
    let closed: Vec<_> = document
        .parameters
        .iter()
        .flat_map(Parameters::iter)
        .filter(|one| one.encryption.as_deref().is_some_and(|algorithm| !opens(algorithm, &one.value)))
        .map(|one| one.key.as_str())
        .collect();
    (!closed.is_empty()).then(|| format!("parameters that cannot be unlocked: {}", closed.join(", ")))
}
