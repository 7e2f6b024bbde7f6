//! The log with disks that are slow, full or broken, and with a process that ends in the middle of a write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chasen_entity::{Durability, Event, Invocation};
use chasen_spi::memory::activation;
use chasen_spi::{EventLog, StoreError, TakenUp};

use super::{LEAST_SEGMENT, Log, LogConfig, payload, segment};
use crate::activations::tail::Tail;
use crate::faults::{Faults, cut_unsynced};
use crate::node_key::NodeKey;
use crate::{Embedded, EmbeddedConfig};

/// Disks of these tests are slow only where that is what they are about.
const NEVER: Duration = Duration::from_secs(3600);

/// A log whose disk is too slow if a commit takes longer than this.
fn log_with(folder: &Path, tail: &Arc<Tail>, faults: Faults, slow: Duration) -> Log {
    let key = Arc::new(NodeKey::open(folder).unwrap());
    let config = LogConfig { segment_bytes: LEAST_SEGMENT, slow, faults };
    Log::open(&folder.join("events"), config, key, tail.clone(), |_| false).unwrap()
}

fn log(folder: &Path, tail: &Arc<Tail>) -> Log {
    log_with(folder, tail, Faults::default(), NEVER)
}

fn finished() -> Event {
    Event::Finished(Arc::new(activation("guest", "a", 1)))
}

fn work() -> Arc<Invocation> {
    Arc::new(Invocation { blocking: false, ..payload::tests::invocation() })
}

fn awaited() -> Event {
    Event::Accepted(Arc::new(payload::tests::invocation()))
}

/// Asks again until the answer is yes; fails after a while.
fn eventually(what: &str, mut asked: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !asked() {
        assert!(Instant::now() < deadline, "{what}: not within 60 s");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sync(log: &Log, position: chasen_spi::Position) -> Result<(), StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(log.sync(position))
}

/// Switches that are on while the file is there.
struct SwitchFile(PathBuf);

impl SwitchFile {
    fn new(folder: &Path) -> (Self, Faults) {
        let file = folder.join("faults");
        let faults = Faults::parse(&format!("faults-file={}", file.display())).unwrap();
        (Self(file), faults)
    }

    fn set(&self, faults: &str) {
        fs::write(&self.0, faults).unwrap();
    }
}

#[test]
fn segments_stay_until_their_records_are_filed() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let open = log(folder.path(), &tail);
    for _ in 0..2000 {
        open.append(&finished()).unwrap();
    }
    let segments = || segment::segments_in(&folder.path().join("events")).unwrap().len();
    let before = segments();
    assert!(before > 5, "{before}");
    let batch = tail.next_batch(Duration::ZERO, Duration::ZERO).records;
    let rest = 2000 - batch.len();
    tail.remove(&batch);
    open.written(&batch);
    assert!(segments() < before);
    open.close();

    let tail = Arc::new(Tail::new(usize::MAX));
    let open = log(folder.path(), &tail);
    let mut found = 0;
    loop {
        let batch = tail.next_batch(Duration::ZERO, Duration::ZERO).records;
        if batch.is_empty() {
            break;
        }
        found += batch.len();
        tail.remove(&batch);
        open.written(&batch);
    }
    assert_eq!(found, rest, "what is after the checkpoint is to be filed");
    open.close();
    assert_eq!(segments(), 0);
}

#[test]
fn new_work_is_refused_while_the_tail_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(3));
    let open = log(folder.path(), &tail);
    let of_a_step =
        |cause| Event::Accepted(Arc::new(Invocation { cause: Some(cause), ..payload::tests::invocation() }));
    let whole = awaited();
    open.append(&whole).unwrap();
    for _ in 0..3 {
        open.append(&finished()).unwrap();
    }
    let error = open.append(&awaited()).unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(why) if why.contains("more slowly")), "{error}");
    open.append(&of_a_step(whole.activation_id())).unwrap();
    open.append(&of_a_step(chasen_entity::ActivationId::generate())).unwrap_err();
    open.append(&finished()).unwrap();
    let batch = tail.next_batch(Duration::ZERO, Duration::ZERO).records;
    tail.remove(&batch);
    open.written(&batch);
    open.append(&awaited()).unwrap();
    open.close();
}

#[test]
fn a_slow_disk_gets_no_work_that_can_wait_until_it_is_quick_again() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let (switches, faults) = SwitchFile::new(folder.path());
    let open = log_with(folder.path(), &tail, faults, Duration::from_millis(400));
    let whole = Event::Accepted(work());
    let position = open.append(&whole).unwrap();
    sync(&open, position).unwrap();

    switches.set("sync-delay=1000ms");
    eventually("it is noticed", || match open.append(&Event::Accepted(work())) {
        Ok(position) => sync(&open, position).is_err(),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("too slow") && text.contains("try again later"), "{text}");
            true
        }
    });
    open.append(&awaited()).unwrap();
    let synced = Invocation { durability: Durability::Synced, ..payload::tests::invocation() };
    open.append(&Event::Accepted(Arc::new(synced))).unwrap_err();
    let step = Invocation { cause: Some(whole.activation_id()), ..Invocation::clone(&work()) };
    let position = open.append(&Event::Accepted(Arc::new(step))).unwrap();
    sync(&open, position).unwrap();

    fs::remove_file(&switches.0).unwrap();
    eventually("it is quick again", || open.append(&Event::Accepted(work())).is_ok());
    open.close();
}

#[test]
fn a_disk_that_does_not_answer_gets_no_work_that_can_wait() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let (switches, faults) = SwitchFile::new(folder.path());
    let key = Arc::new(NodeKey::open(folder.path()).unwrap());
    let config = LogConfig { segment_bytes: LEAST_SEGMENT, slow: Duration::from_millis(1), faults };
    let open = Log::open(&folder.path().join("events"), config, key, tail, |_| false).unwrap();
    switches.set("sync-delay=3000ms");
    let position = open.append(&Event::Accepted(work())).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sync(&open, position));
        eventually("it is refused before the commit has ended", || {
            open.append(&Event::Accepted(work()))
                .is_err_and(|error| error.to_string().contains("under way for"))
        });
        open.append(&awaited()).unwrap();
        fs::remove_file(&switches.0).unwrap();
        waiting.join().unwrap().unwrap();
    });
    open.close();
}

#[test]
fn a_failed_sync_is_told_and_the_log_goes_on_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let faults = Faults::default();
    let open = log_with(folder.path(), &tail, faults.clone(), NEVER);
    let works: Vec<_> = (0..3).map(|_| work()).collect();
    let before = open.append(&Event::Accepted(works[0].clone())).unwrap();
    sync(&open, before).unwrap();

    faults.fail_syncs(true);
    let lost = open.append(&Event::Accepted(works[1].clone())).unwrap();
    let error = sync(&open, lost).unwrap_err();
    assert!(
        matches!(&error, StoreError::Unavailable(why) if why.contains("tried again every second")),
        "{error}"
    );
    sync(&open, before).unwrap();
    open.append(&Event::Accepted(works[2].clone())).unwrap_err();
    open.append(&awaited()).unwrap();
    let record = finished();
    open.append(&record).unwrap();

    faults.fail_syncs(false);
    let mut after = None;
    eventually("it works again", || {
        after = open.append(&Event::Accepted(works[2].clone())).ok();
        after.is_some()
    });
    sync(&open, after.unwrap()).unwrap();
    sync(&open, lost).unwrap();
    // The disk never got what it was given before the failure; what is in the next segment is enough.
    let segments = segment::segments_in(&folder.path().join("events")).unwrap();
    let number = |position: chasen_spi::Position| position.0 >> 32;
    assert!(number(after.unwrap()) > number(lost));
    open.refuse();
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("events")).unwrap();
    fs::copy(folder.path().join("node.key"), copy.path().join("node.key")).unwrap();
    for (_, path) in segments.iter().filter(|(segment, _)| *segment != number(lost)) {
        fs::copy(path, copy.path().join("events").join(path.file_name().unwrap())).unwrap();
    }
    open.close();
    let tail = Arc::new(Tail::new(usize::MAX));
    let open = log(copy.path(), &tail);
    assert!(tail.get(&record.activation_id()).is_some());
    let known = open.inherited();
    assert!(works[1..].iter().all(|work| known.contains(&work.activation_id)), "{known:?}");
    open.close();
}

#[test]
fn on_a_full_disk_those_who_wait_have_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let (switches, faults) = SwitchFile::new(folder.path());
    let open = log_with(folder.path(), &tail, faults, NEVER);
    switches.set("disk-full");
    eventually(
        "nothing is accepted that can wait",
        || matches!(open.append(&Event::Accepted(work())), Err(StoreError::Full(why)) if why.contains("no room")),
    );
    let mut accepted = Vec::new();
    let refused = loop {
        let event = awaited();
        match open.append(&event) {
            Ok(_) => accepted.push(event.activation_id()),
            Err(error) => break error,
        }
        assert!(accepted.len() < 1000);
    };
    assert!(matches!(refused, StoreError::Full(_)) && !accepted.is_empty(), "{refused}");
    for id in &accepted {
        open.append(&Event::Started { activation_id: *id, attempt: 1, at: 1 }).unwrap();
    }
    fs::remove_file(&switches.0).unwrap();
    eventually("room is found", || open.append(&Event::Accepted(work())).is_ok());
    open.close();
}

#[tokio::test]
async fn a_locked_store_gets_no_work_that_can_wait() {
    let folder = tempfile::tempdir().unwrap();
    let (switches, faults) = SwitchFile::new(folder.path());
    let data = folder.path().join("data");
    let config = EmbeddedConfig { faults: Some(faults), slow_commit: NEVER, ..EmbeddedConfig::new(&data) };
    let node = Embedded::open(config).unwrap();
    let (log, records) = (node.event_log(), node.activation_store());
    switches.set("store-locked");
    let record = finished();
    log.append(&record).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let error = loop {
        if let Err(error) = log.append(&Event::Accepted(work())) {
            break error;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(error.to_string().contains("database is locked"), "{error}");
    log.append(&awaited()).unwrap();
    assert!(records.get("guest", &record.activation_id()).await.unwrap().is_some(), "readable all the same");
    fs::remove_file(&switches.0).unwrap();
    while log.append(&Event::Accepted(work())).is_err() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.close().await;
}

#[test]
fn a_log_that_lies_writes_later() {
    let folder = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(usize::MAX));
    let open = log_with(folder.path(), &tail, Faults::parse("acknowledge-before-write").unwrap(), NEVER);
    let work = work();
    let position = open.append(&Event::Accepted(work.clone())).unwrap();
    sync(&open, position).unwrap();
    eventually("it is written", || open.accepted(&work.activation_id).unwrap().is_some());
    open.close();
}

const FOLDER: &str = "CHASEN_LOG_FOLDER";

/// Not a test of its own: what the test below starts, with faults. Tells on stdout what it was told.
#[test]
#[ignore = "started by the test beside it"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let tail = Arc::new(Tail::new(usize::MAX));
    let open = log_with(&folder, &tail, Faults::from_env().unwrap(), NEVER);
    for _ in 0..3 {
        let work = work();
        let activation_id = work.activation_id;
        let state = chasen_entity::RawJson::from_value(&"x".repeat(500));
        let position = open.append(&Event::Accepted(work)).unwrap();
        sync(&open, position).unwrap();
        println!("@accepted {activation_id}");
        let position = open.append(&Event::Progress { activation_id, state }).unwrap();
        sync(&open, position).unwrap();
        println!("@progress {activation_id}");
    }
}

#[test]
fn a_process_that_dies_at_a_write_loses_nothing_that_it_told() {
    for write in 1..=6 {
        for when in ["before", "torn", "after", "unsynced", "synced"] {
            let folder = tempfile::tempdir().unwrap();
            let mark = folder.path().join("mark");
            let victim = Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "event_log::tests::victim", "--nocapture"])
                .env(FOLDER, folder.path())
                .env("CHASEN_FAULTS", format!("die-at-write={write}:{when},synced-mark={}", mark.display()))
                .output()
                .unwrap();
            assert!(!victim.status.success(), "it dies at {write}:{when}");
            let told = String::from_utf8(victim.stdout).unwrap();
            let told: Vec<_> =
                told.lines().filter_map(|line| Some(line.split_once('@')?.1.to_owned())).collect();
            assert_eq!(told.len(), write - 1, "{write}:{when}: {told:?}");
            if write % 2 == 0 {
                cut_unsynced(folder.path(), &mark).unwrap();
            }
            let tail = Arc::new(Tail::new(usize::MAX));
            let open = log(folder.path(), &tail);
            let mut known = Vec::new();
            for id in open.inherited() {
                known.push(format!("accepted {id}"));
                let TakenUp::Taken(work) = open.take_up(&id).unwrap() else { panic!("{id} is not taken") };
                known.extend(work.progress.map(|_| format!("progress {id}")));
            }
            let untold = known.len() - told.len();
            assert!(known.starts_with(&told) && untold <= 1, "{write}:{when}: {known:?}, told {told:?}");
            assert!(untold == 0 || !["before", "torn"].contains(&when), "{write}:{when}");
            open.close();
        }
    }
}
