//! Backups: of a folder in use, of one moment, whole or not at all; restored as they were, or not at all.

use std::collections::HashSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chasen_embedded::backup::{
    BackupError, BackupOptions, Finding, Stage, Watch, check, restore, restore_stream, stream, take,
};
use chasen_embedded::lock::NodeLock;
use chasen_embedded::{Embedded, OpenError, ParameterKeysConfig};
use chasen_entity::{ActivationId, AuthKey, EntityName, Event, Invocation, RawJson, Subject};
use chasen_spi::{
    Collection, DeadLetter, Document, DocumentId, ParameterLock, SubjectDocument, SubjectNamespace, TakenUp,
};

use crate::disk_full::TinyDisk;
use crate::fixture::{SECRET, config, events, invocation, newest, open, record};

/// Follows nothing and stops when it is told to, or after so many looks.
#[derive(Default)]
struct Quiet {
    stopped: AtomicBool,
    looks: AtomicUsize,
    most: Option<usize>,
}

impl Watch for Quiet {
    fn begin(&self, _stage: Stage) {}

    fn at(&self, _done: usize, _of: usize) {}

    fn is_stopped(&self) -> bool {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        self.stopped.load(Ordering::Relaxed) || self.most.is_some_and(|most| looks >= most)
    }
}

fn quiet() -> Quiet {
    Quiet::default()
}

/// The words of a parameter, as an owner and nobody else knows them.
const WORD: &str = "a-word-that-nobody-knows";

/// An entity with code and a locked parameter, a subject, an activation that has ended, one that is open, a letter.
async fn fill(node: &Embedded) -> [ActivationId; 3] {
    let code = node.attachment_store().put("function main() {}".into()).await.unwrap();
    let keys = node.parameter_keys(&with_node_key()).unwrap();
    let (algorithm, locked) = keys.lock(&RawJson::from_value(WORD)).unwrap().unwrap();
    let parameters = serde_json::json!([{"key": "w", "value": locked, "encryption": algorithm}]);
    let document = Document {
        id: DocumentId { path: "guest".to_owned(), name: "hello".to_owned() },
        collection: Collection::Actions,
        revision: 0,
        updated: 1,
        public: false,
        attachment: Some(code.digest),
        body: serde_json::json!({ "parameters": parameters }).to_string(),
    };
    node.artifact_store().put(document).await.unwrap();
    let namespace = SubjectNamespace {
        name: EntityName::new("guest").unwrap(),
        auth_key: AuthKey { uuid: "23bc46b1-71f6-4ed5-8c54-816aa4f8c502".into(), key: SECRET.into() },
    };
    let subject = SubjectDocument {
        subject: Subject::new("guest").unwrap(),
        blocked: false,
        namespaces: vec![namespace],
    };
    node.subject_store().put(&subject).await.unwrap();
    let log = node.event_log();
    let [accepted, started, finished] = events("{}", 1);
    for event in [&accepted, &started, &finished] {
        log.append(event).unwrap();
    }
    let (pending, dead) = (invocation(r#"{"text":"pending"}"#), invocation("{}"));
    log.append(&Event::Accepted(pending.clone())).unwrap();
    let letter = DeadLetter { invocation: dead.clone(), attempts: 3, died_at: 7 };
    node.dead_letter_store().put(&letter).await.unwrap();
    [finished.activation_id(), pending.activation_id, dead.activation_id]
}

fn with_node_key() -> ParameterKeysConfig {
    ParameterKeysConfig { current: "node".to_owned(), ..ParameterKeysConfig::default() }
}

/// What [`fill`] has put there.
async fn expect_filled(folder: &Path, [ended, pending, dead]: [ActivationId; 3]) {
    let node = open(folder);
    let guest = EntityName::new("guest").unwrap();
    let id = DocumentId { path: "guest".to_owned(), name: "hello".to_owned() };
    let action = node.artifact_store().get(&id).await.unwrap().unwrap();
    let code = chasen_entity::Code { digest: action.attachment.unwrap(), length: 18 };
    assert_eq!(node.attachment_store().get(&code).await.unwrap().unwrap(), "function main() {}");
    let keys = node.parameter_keys(&with_node_key()).unwrap();
    let body: serde_json::Value = serde_json::from_str(&action.body).unwrap();
    let locked = RawJson::from_value(&body["parameters"][0]["value"]);
    let open = keys.unlock(body["parameters"][0]["encryption"].as_str().unwrap(), &locked).unwrap();
    assert_eq!(open.read::<String>().unwrap(), WORD);
    let identity = node.subject_store().identity_of_namespace("guest").await.unwrap().unwrap();
    assert_eq!(&*identity.auth_key.key, SECRET);
    assert!(node.activation_store().get("guest", &ended).await.unwrap().is_some());
    assert_eq!(node.event_log().inherited(), [pending]);
    let TakenUp::Taken(work) = node.event_log().take_up(&pending).unwrap() else { panic!("it is there") };
    assert_eq!(work.invocation.arguments.as_str(), r#"{"text":"pending"}"#);
    let letter = node.dead_letter_store().get(&guest, &dead).await.unwrap().unwrap();
    assert_eq!((letter.attempts, letter.died_at), (3, 7));
    node.close().await;
}

#[tokio::test]
async fn everything_is_there_again_from_a_folder_and_from_an_archive() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    let ids = fill(&node).await;
    for (name, running) in
        [("a.tar", true), ("folder", true), ("c.tar.gz", true), ("D.TGZ", true), ("b.tar", false)]
    {
        if !running {
            fs::create_dir(home.path().join("elsewhere")).unwrap();
        }
        let place = home.path().join(name);
        let taken = take(&data, &place, &BackupOptions::default(), &quiet()).unwrap();
        assert!(taken.problems.is_empty() && taken.files >= 8, "{taken:?}");
        let mode = place.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name} is its owner's alone");
        let error = take(&data, &place, &BackupOptions::default(), &quiet()).unwrap_err();
        assert!(matches!(error, BackupError::Exists(_)), "{error}");

        let restored = home.path().join("restored").join(name).join("data");
        let told = restore(&place, &restored, &quiet()).unwrap();
        assert_eq!((told.files, told.bytes, told.keys), (taken.files, taken.bytes, true));
        assert_eq!(check(&restored, &quiet()).unwrap(), []);
        assert_eq!(restored.join("node.key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        expect_filled(&restored, ids).await;
        let again = restore(&place, &restored, &quiet()).unwrap_err();
        assert!(matches!(again, BackupError::NotEmpty(_)), "{again}");
    }
    let begins = |name: &str| fs::read(home.path().join(name)).unwrap()[..2].to_owned();
    assert_eq!([begins("c.tar.gz"), begins("D.TGZ")], [[0x1f, 0x8b]; 2], "packed");
    for name in ["a.zip", "a.tar.xz", "a.gz", "a.tar.zst"] {
        let refused = take(&data, &home.path().join(name), &BackupOptions::default(), &quiet()).unwrap_err();
        assert!(matches!(refused, BackupError::NoForm(_)), "{name}: {refused}");
    }
    let partial = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!partial.into_iter().any(|name| name.to_string_lossy().contains("partial")));
    let inside = take(&data, &data.join("backup"), &BackupOptions::default(), &quiet()).unwrap_err();
    assert!(matches!(inside, BackupError::Inside(_)), "{inside}");
    let none = take(home.path(), &home.path().join("x"), &BackupOptions::default(), &quiet()).unwrap_err();
    assert!(matches!(none, BackupError::NoData(_)), "{none}");
    node.close().await;
}

#[tokio::test]
async fn a_backup_goes_from_one_machine_to_another_without_lying_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    let ids = fill(&node).await;
    let (reader, writer) = std::io::pipe().unwrap();
    let taking = std::thread::spawn(move || {
        stream(&data, Box::new(writer), &BackupOptions::default(), &quiet()).unwrap()
    });
    let restored = home.path().join("restored");
    let told = restore_stream(reader, &restored, &quiet()).unwrap();
    let taken = taking.join().unwrap();
    assert_eq!((told.files, told.bytes), (taken.files, taken.bytes));
    expect_filled(&restored, ids).await;
    // One that ends early is none.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[0x1f, 0x8b, 8]).unwrap();
    drop(writer);
    let cut = restore_stream(reader, &home.path().join("cut"), &quiet()).unwrap_err();
    assert!(matches!(cut, BackupError::NoBackup { .. }), "{cut}");
    // Nobody waits for what is no backup.
    let fifo = home.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for place in [&fifo, Path::new("/dev/null")] {
        let refused = restore(place, &home.path().join("none"), &quiet()).unwrap_err();
        assert!(refused.to_string().contains("neither a folder nor a file"), "{refused}");
    }
    node.close().await;
}

#[tokio::test]
async fn without_keys_nothing_opens_until_they_are_put_back() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    let ids = fill(&node).await;
    let place = home.path().join("backup");
    take(&data, &place, &BackupOptions { without_keys: true }, &quiet()).unwrap();
    assert!(!place.join("node.key").exists() && !place.join("parameters.key").exists());
    let restored = home.path().join("restored");
    assert!(!restore(&place, &restored, &quiet()).unwrap().keys);
    for key in ["node.key", "parameters.key"] {
        let Err(error) = Embedded::open(config(&restored)) else { panic!("it opened without {key}") };
        assert!(matches!(&error, OpenError::MissingKey { file } if file.ends_with(key)), "{error}");
        let findings = check(&restored, &quiet()).unwrap();
        assert!(
            findings.iter().any(|one| one.file == key && one.problem.contains("missing")),
            "{findings:?}"
        );
        fs::copy(data.join(key), restored.join(key)).unwrap();
    }
    expect_filled(&restored, ids).await;
    node.close().await;
}

/// Everything that was accepted before is there, and nothing is there twice: it has its record, or it is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_busy_node_is_of_one_moment() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    let stop = Arc::new(AtomicBool::new(false));
    let (log, seen) = (node.event_log(), stop.clone());
    let accepted = Arc::new(parking(Vec::new()));
    let told = accepted.clone();
    let busy = std::thread::spawn(move || {
        let mut number = 0u64;
        while !seen.load(Ordering::Relaxed) {
            number += 1;
            let text = "x".repeat((number % 7) as usize * 500);
            // Somebody waits for it: a slow disk is no reason to refuse it.
            let one = Invocation::clone(&invocation(&format!(r#"{{"text":"{text}"}}"#)));
            let one = Arc::new(Invocation { blocking: true, ..one });
            let id = one.activation_id;
            if log.append(&Event::Accepted(one)).is_err() {
                // Records are written more slowly than they come: the tail is full for a while.
                std::thread::yield_now();
                continue;
            }
            told.lock().unwrap().push(id);
            if !number.is_multiple_of(10) {
                log.append(&Event::Finished(record(id, number))).unwrap();
            }
        }
    });
    for round in 0..3 {
        while accepted.lock().unwrap().len() < (round + 1) * 1000 {
            std::thread::yield_now();
        }
        let before = accepted.lock().unwrap().clone();
        let place = home.path().join(format!("{round}.tar"));
        take(&data, &place, &BackupOptions::default(), &quiet()).unwrap();
        let restored = home.path().join(format!("restored-{round}"));
        restore(&place, &restored, &quiet()).unwrap();
        let again = open(&restored);
        let open: HashSet<_> = again.event_log().inherited().into_iter().collect();
        let records = again.activation_store();
        for id in before {
            let has_record = records.get("guest", &id).await.unwrap().is_some();
            assert!(has_record != open.contains(&id), "{id}: record {has_record}");
        }
        let listed = records.list(&newest(1_000_000)).await.unwrap();
        let ids: HashSet<_> = listed.iter().map(|record| record.activation_id).collect();
        assert_eq!(ids.len(), listed.len(), "no record twice");
        again.close().await;
    }
    stop.store(true, Ordering::Relaxed);
    busy.join().unwrap();
    node.close().await;
}

fn parking<T>(value: T) -> std::sync::Mutex<T> {
    std::sync::Mutex::new(value)
}

#[tokio::test]
async fn who_stops_or_has_no_room_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    fill(&node).await;
    node.close().await;
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    take(&data, &home.path().join("whole.tar"), &BackupOptions::default(), &quiet()).unwrap();
    let before = names(home.path());
    let mut stopped = 0;
    for most in (0..40).step_by(3) {
        for name in ["new.tar", "new"] {
            let watch = Quiet { most: Some(most), ..quiet() };
            match take(&data, &home.path().join(name), &BackupOptions::default(), &watch) {
                Err(BackupError::Stopped) => stopped += 1,
                Err(error) => panic!("{error}"),
                Ok(_) if name == "new" => fs::remove_dir_all(home.path().join(name)).unwrap(),
                Ok(_) => fs::remove_file(home.path().join(name)).unwrap(),
            }
            assert_eq!(names(home.path()), before);
        }
        let watch = Quiet { most: Some(most), ..quiet() };
        match restore(&home.path().join("whole.tar"), &home.path().join("restored"), &watch) {
            Err(BackupError::Stopped) => {}
            Err(error) => panic!("{error}"),
            Ok(_) => fs::remove_dir_all(home.path().join("restored")).unwrap(),
        }
        assert_eq!(names(home.path()), before);
    }
    assert!(stopped > 5, "{stopped}");

    let Some(disk) = TinyDisk::mount("64k") else {
        eprintln!("SKIPPED: mounting a small disk needs root");
        return;
    };
    for name in ["full.tar", "full"] {
        let error = take(&data, &disk.path().join(name), &BackupOptions::default(), &quiet()).unwrap_err();
        assert!(error.to_string().contains("room") || error.to_string().contains("space"), "{error}");
        assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
    }
    let error = restore(&home.path().join("whole.tar"), &disk.path().join("data"), &quiet()).unwrap_err();
    assert!(error.to_string().contains("room") || error.to_string().contains("space"), "{error}");
    assert_eq!(fs::read_dir(disk.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_folder_in_use_is_not_restored_into() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    open(&data).close().await;
    let place = home.path().join("backup");
    take(&data, &place, &BackupOptions::default(), &quiet()).unwrap();
    let other = home.path().join("other");
    fs::create_dir(&other).unwrap();
    restore(&place, &other, &quiet()).unwrap();
    fs::remove_dir_all(&other).unwrap();
    fs::create_dir(&other).unwrap();
    let lock = NodeLock::acquire(&other, "127.0.0.1:1").unwrap();
    let error = restore(&place, &other, &quiet()).unwrap_err();
    assert!(error.to_string().contains("in use by another node"), "{error}");
    drop(lock);
    assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "nothing was written");
}

/// An archive of these entries: path, kind, content.
fn archive(path: &Path, entries: &[(&str, tar::EntryType, &[u8])]) {
    let mut file = fs::File::create(path).unwrap();
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o4777);
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(content).unwrap();
        file.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()]).unwrap();
    }
    file.write_all(&[0; 1024]).unwrap();
}

#[tokio::test]
async fn hostile_backups_are_refused_and_write_nothing() {
    let home = tempfile::tempdir().unwrap();
    let place = |name: &str| home.path().join(name);
    let refused = |from: &Path, text: &str| {
        let into = place("into");
        let error = restore(from, &into, &quiet()).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(!error.contains(char::is_control), "a command for a terminal: {error:?}");
        assert!(!into.exists() && !place("entities.db").exists());
    };
    use tar::EntryType as Kind;
    let bad = place("bad.tar");
    for entry in [
        ("../entities.db", Kind::Regular, &b"x"[..]),
        ("/tmp/entities.db", Kind::Regular, b"x"),
        ("events/../../entities.db", Kind::Regular, b"x"),
        ("entities.db", Kind::Symlink, b""),
        ("entities.db", Kind::Link, b""),
        ("entities.db", Kind::Fifo, b""),
        ("entities.db", Kind::Char, b""),
        ("entities.db", Kind::Directory, b""),
        ("entities.db", Kind::GNUSparse, b"x"),
        ("long", Kind::GNULongName, b"entities.db"),
        ("pax", Kind::XHeader, b"20 path=entities.db\n"),
        ("admin.json", Kind::Regular, b"{}"),
    ] {
        archive(&bad, &[entry]);
        refused(&bad, "no backup of a data folder does");
    }
    archive(&bad, &[("entities.db", Kind::Regular, b"1"), ("entities.db", Kind::Regular, b"2")]);
    refused(&bad, "no backup of a data folder does");
    archive(&bad, &[("entities.db", Kind::Regular, b"1")]);
    refused(&bad, "it has no manifest");
    fs::write(&bad, b"no archive at all, however long it is").unwrap();
    refused(&bad, "is no backup");
    fs::write(&bad, b"\x1b]0;title\x07".repeat(400)).unwrap();
    refused(&bad, "is no backup");

    // What was a good one.
    let data = place("data");
    let node = open(&data);
    fill(&node).await;
    node.close().await;
    take(&data, &place("good.tar"), &BackupOptions::default(), &quiet()).unwrap();
    let good = fs::read(place("good.tar")).unwrap();
    for cut in [600, good.len() / 2, good.len() - 4096] {
        fs::write(&bad, &good[..cut]).unwrap();
        let error = restore(&bad, &place("into"), &quiet()).unwrap_err();
        assert!(!place("into").exists(), "{error}");
    }
    let mut flipped = good.clone();
    flipped[515] ^= 1;
    fs::write(&bad, &flipped).unwrap();
    refused(&bad, "its digest is not that of the manifest");

    let folder = place("folder");
    let fresh = || {
        let _ = fs::remove_dir_all(&folder);
        take(&data, &folder, &BackupOptions::default(), &quiet()).unwrap();
    };
    fresh();
    fs::write(folder.join("entities.db"), b"short").unwrap();
    refused(&folder, "it is no file of");
    fresh();
    fs::rename(folder.join("entities.db"), place("moved")).unwrap();
    symlink(place("moved"), folder.join("entities.db")).unwrap();
    refused(&folder, "damaged");
    fresh();
    fs::rename(folder.join("attachments"), place("shelves")).unwrap();
    symlink(place("shelves"), folder.join("attachments")).unwrap();
    refused(&folder, "damaged");
    fresh();
    fs::remove_file(folder.join("manifest.json")).unwrap();
    refused(&folder, "it has no manifest.json");
    fresh();
    let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
    fs::write(folder.join("manifest.json"), text.replace("\"keys\": true", "\"keys\": false")).unwrap();
    refused(&folder, "its digest is not the one");
    refused(&place("nowhere"), "cannot open");
}

/// What `check` finds in a folder, by file.
fn found(folder: &Path) -> Vec<(String, String)> {
    let findings: Vec<Finding> = check(folder, &quiet()).unwrap();
    assert!(findings.iter().all(|finding| !finding.advice.is_empty()));
    findings.into_iter().map(|finding| (finding.file, finding.problem)).collect()
}

#[tokio::test]
async fn a_check_names_what_is_damaged_and_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let node = open(&data);
    fill(&node).await;
    assert_eq!(found(&data), [], "beside its node");
    node.close().await;
    assert_eq!(found(&data), []);

    let damaged = |name: &str, damage: &dyn Fn(&Path)| -> Vec<(String, String)> {
        let copy = home.path().join(name);
        let backup = home.path().join(format!("{name}-backup"));
        take(&data, &backup, &BackupOptions::default(), &quiet()).unwrap();
        restore(&backup, &copy, &quiet()).unwrap();
        damage(&copy);
        found(&copy)
    };
    let only = |findings: Vec<(String, String)>, file: &str, text: &str| {
        assert!(findings.iter().all(|(name, _)| name.starts_with(file)), "{findings:?}");
        assert!(findings.iter().any(|(_, problem)| problem.contains(text)), "{findings:?}");
    };
    let code = |folder: &Path| -> PathBuf {
        let shelves = fs::read_dir(folder.join("attachments")).unwrap().map(|entry| entry.unwrap().path());
        let shelf = shelves.into_iter().find(|path| path.file_name().unwrap().len() == 2).unwrap();
        fs::read_dir(shelf).unwrap().next().unwrap().unwrap().path()
    };
    only(
        damaged("code", &|copy| fs::write(code(copy), "other").unwrap()),
        "attachments",
        "not what its name says",
    );
    only(damaged("lost", &|copy| fs::remove_file(code(copy)).unwrap()), "attachments", "missing");
    only(
        damaged("key", &|copy| fs::write(copy.join("node.key"), [1; 32]).unwrap()),
        "node.key",
        "not the key that was used",
    );
    only(
        damaged("parameters", &|copy| fs::write(copy.join("parameters.key"), [1; 32]).unwrap()),
        "parameters.key",
        "not the key that was used",
    );
    let log = damaged("log", &|copy| {
        let segment = crate::fixture::files(&copy.join("events"), ".log").remove(0);
        let mut bytes = fs::read(&segment).unwrap();
        bytes[80] ^= 1;
        fs::write(&segment, bytes).unwrap();
    });
    only(log, "events", "are damaged");
    let database = damaged("database", &|copy| {
        let path = copy.join("dead-letters.db");
        let mut bytes = fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0xAA);
        fs::write(&path, bytes).unwrap();
    });
    assert!(
        database.iter().all(|(file, _)| file == "dead-letters.db") && !database.is_empty(),
        "{database:?}"
    );
    let no_data = check(home.path(), &quiet()).unwrap_err();
    assert!(matches!(no_data, BackupError::NoData(_)), "{no_data}");
}

#[tokio::test]
async fn data_of_a_later_release_are_neither_taken_nor_restored() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    open(&data).close().await;
    let backup = home.path().join("backup");
    take(&data, &backup, &BackupOptions::default(), &quiet()).unwrap();
    let ours = fs::read(data.join("format")).unwrap();
    fs::write(data.join("format"), "99\n").unwrap();
    let error = take(&data, &home.path().join("other"), &BackupOptions::default(), &quiet()).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::Newer { found: 99, .. })), "{error}");
    assert!(found(&data).iter().any(|(file, text)| file == "format" && text.contains("newer")));
    fs::write(data.join("format"), ours).unwrap();
    let connection = rusqlite::Connection::open(data.join("entities.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = take(&data, &home.path().join("other"), &BackupOptions::default(), &quiet()).unwrap_err();
    assert!(matches!(error, BackupError::Open(OpenError::Newer { found: 99, .. })), "{error}");
    let Err(error) = Embedded::open(config(&data)) else { panic!("it opened") };
    assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error}");
    assert!(found(&data).iter().any(|(file, text)| file == "entities.db" && text.contains("newer")));
}
