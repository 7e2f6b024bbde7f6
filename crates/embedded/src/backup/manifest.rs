//! What a backup says of itself: which files, how long, with which digests. And which files there may be at all.
//!
//! `manifest.json` lists every file but itself, and `manifest.sha256` has its digest, in the form of `sha256sum`.

use std::collections::BTreeMap;

use chasen_entity::Millis;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::BackupError;
use crate::{dead_letters, idempotency, node_key, parameter_keys, subjects};

/// Version of the format of backups.
pub(super) const FORMAT: u32 = 1;
/// Name of the manifest.
pub(super) const MANIFEST: &str = "manifest.json";
/// Name of the file with its digest.
pub(super) const DIGEST: &str = "manifest.sha256";
/// Longest manifest that is read, in bytes: that of a million files.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// Folder of the log.
pub(super) const EVENTS: &str = "events";
/// Folder of the files of records.
pub(super) const ACTIVATIONS: &str = "activations";
/// Folder of code.
pub(super) const ATTACHMENTS: &str = "attachments";
/// The manifest of kinds that an operator has put in force.
const KINDS: &str = "runtimes.json";

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    /// See [`FORMAT`].
    pub(super) format: u32,
    /// Release that made the backup.
    pub(super) release: String,
    /// When it was made: everything that was accepted before is in it.
    pub(super) taken_at: Millis,
    /// The keys are among the files.
    pub(super) keys: bool,
    /// By path below the folder.
    pub(super) files: BTreeMap<String, Entry>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Its length.
    pub(super) bytes: u64,
    /// Its digest, in hex.
    pub(super) sha256: String,
}

/// As much as is read of a manifest before its format is known.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Manifest {
    /// The manifest and the file with its digest, as texts.
    pub(super) fn to_texts(&self) -> Result<(String, String), serde_json::Error> {
        let text = serde_json::to_string_pretty(self)?;
        let digest = format!("{:x}  {MANIFEST}\n", Sha256::digest(&text));
        Ok((text, digest))
    }

    /// Reads a manifest whose digest is in the other text. The error is what is wrong with it.
    pub(super) fn read(text: &[u8], digest: &[u8]) -> Result<Self, BackupError> {
        let expected = format!("{:x}", Sha256::digest(text));
        let given = std::str::from_utf8(digest).ok().and_then(|line| line.split_whitespace().next());
        if given != Some(expected.as_str()) {
            return Err(BackupError::Damaged {
                file: MANIFEST.to_owned(),
                why: format!("its digest is not the one in {DIGEST}"),
            });
        }
        let damaged = |error: serde_json::Error| {
            // It quotes the manifest, which may hold commands for terminals.
            let why = error.to_string().escape_debug().to_string();
            BackupError::Damaged { file: MANIFEST.to_owned(), why }
        };
        let head: Head = serde_json::from_slice(text).map_err(damaged)?;
        if head.format > FORMAT {
            return Err(BackupError::Newer { found: head.format, supported: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(damaged)?;
        match manifest.files.keys().find(|path| !may_hold(path)) {
            Some(path) => Err(BackupError::Foreign { file: path.clone() }),
            None => Ok(manifest),
        }
    }
}

/// Files at the root of a data folder that are in every backup.
pub(super) const PLAIN: [&str; 1] = [KINDS];
/// The keys.
pub(super) const KEYS: [&str; 2] = [node_key::FILE, parameter_keys::FILE];
/// Databases at the root of a data folder.
pub(super) const DATABASES: [&str; 3] = [subjects::FILE, dead_letters::FILE, idempotency::FILE];

/// True for the paths that a backup may hold. No other one is ever written below a data folder.
pub(super) fn may_hold(path: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    };
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        [name] => PLAIN.contains(name) || KEYS.contains(name) || DATABASES.contains(name),
        [EVENTS, name] => {
            *name == crate::event_log::CHECKPOINT
                || name.strip_suffix(".log").is_some_and(|number| hex(number, 16))
        }
        [ACTIVATIONS, name] => name.strip_suffix(".db").is_some_and(|created| {
            (1..=20).contains(&created.len()) && created.bytes().all(|digit| digit.is_ascii_digit())
        }),
        [ATTACHMENTS, shelf, name] => hex(shelf, 2) && hex(name, 64) && name.starts_with(shelf),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(path: &str) -> Manifest {
        let entry = Entry { bytes: 1, sha256: "0".repeat(64) };
        let files = BTreeMap::from([(path.to_owned(), entry)]);
        Manifest { format: FORMAT, release: "0.1.0".to_owned(), taken_at: 1, keys: true, files }
    }

    #[test]
    fn manifests_are_read_as_they_were_written_or_not_at_all() {
        let written = manifest("entities.db");
        let (text, digest) = written.to_texts().unwrap();
        assert_eq!(Manifest::read(text.as_bytes(), digest.as_bytes()).unwrap(), written);
        let changed = text.replace("\"bytes\": 1", "\"bytes\": 2");
        let error = Manifest::read(changed.as_bytes(), digest.as_bytes()).unwrap_err();
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
        let (text, digest) = Manifest { format: FORMAT + 1, ..written }.to_texts().unwrap();
        let error = Manifest::read(text.as_bytes(), digest.as_bytes()).unwrap_err();
        assert!(matches!(error, BackupError::Newer { .. }), "{error}");
        let text = r#"{"format": "\u001b[2J"}"#;
        let digest = format!("{:x}", Sha256::digest(text));
        let error = Manifest::read(text.as_bytes(), digest.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("[2J") && !error.contains(char::is_control), "{error:?}");
        let (text, digest) = manifest("../entities.db").to_texts().unwrap();
        let error = Manifest::read(text.as_bytes(), digest.as_bytes()).unwrap_err();
        assert!(matches!(error, BackupError::Foreign { .. }), "{error}");
    }

    #[test]
    fn backups_hold_what_data_folders_do_and_nothing_else() {
        let code = format!("attachments/ab/ab{}", "0".repeat(62));
        let log = "events/0000000000000001.log";
        for path in ["entities.db", "node.key", "runtimes.json", "activations/1700000000000.db", log, &code] {
            assert!(may_hold(path), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "..",
            "../entities.db",
            "events/../node.key",
            "events/x.log",
            "activations/.db",
            "activations/a/b.db",
            "attachments/ab/cd",
            "admin.json",
            "node.lock",
            "./entities.db",
            "entities.db/",
        ] {
            assert!(!may_hold(path), "{path}");
        }
        assert!(!may_hold(&format!("attachments/cd/ab{}", "0".repeat(62))));
    }
}
