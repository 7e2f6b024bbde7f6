//! `kill -9` at any moment: whatever an append has returned for is there in the next life.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use chasen_entity::{ActivationId, Event};

use crate::fixture::{events, newest, open, record, take_up_all};

const FOLDER: &str = "CHASEN_CRASH_FOLDER";
const ROUNDS: u64 = 12;

/// Not a test of its own: what the tests below start and kill. Tells on stdout each append that returned, and which
/// work it is about to end without a record.
#[test]
#[ignore = "started by the tests beside it"]
fn victim() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let node = open(&folder);
    let out = Mutex::new(std::io::stdout());
    let tell = |what: char, id: ActivationId| {
        out.lock().unwrap().write_all(format!("@{what} {id}\n").as_bytes()).unwrap();
    };
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (log, tell) = (node.event_log(), &tell);
            scope.spawn(move || {
                for round in 0.. {
                    let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat((round * 37 % 900) as usize));
                    let [accepted, started, finished] = events(&arguments, round);
                    let id = accepted.activation_id();
                    for (what, event) in [('a', accepted), ('s', started)] {
                        log.append(&event).unwrap();
                        tell(what, id);
                    }
                    // Some work stays open, some ends without a record.
                    if round % 5 == thread {
                        tell('d', id);
                        log.append(&Event::Ended(id)).unwrap();
                        tell('e', id);
                    } else if round % 7 != thread {
                        log.append(&finished).unwrap();
                        tell('f', id);
                    }
                }
            });
        }
    });
}

fn start(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::victim", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets it run for a while, kills it, and gives what it told.
fn run_and_kill(folder: &Path, time: Duration) -> Vec<(char, ActivationId)> {
    let mut victim = start(folder);
    let mut told = BufReader::new(victim.stdout.take().unwrap());
    let mut text = Vec::new();
    while !text.ends_with(b"\n") || !text.contains(&b'@') {
        assert!(told.read_until(b'\n', &mut text).unwrap() > 0, "the victim ended by itself");
    }
    let reader = std::thread::spawn(move || {
        while told.read_until(b'\n', &mut text).is_ok_and(|read| read > 0) {}
        text
    });
    std::thread::sleep(time);
    victim.kill().unwrap();
    victim.wait().unwrap();
    let text = String::from_utf8(reader.join().unwrap()).unwrap();
    let line = |line: &str| {
        let (what, id) = line.get(line.find('@')? + 1..)?.split_once(' ')?;
        Some((what.chars().next()?, ActivationId::parse(id).ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[tokio::test]
async fn nothing_appended_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut finished: HashSet<ActivationId> = HashSet::new();
    let mut dropped: HashSet<ActivationId> = HashSet::new();
    let mut open_work: HashMap<ActivationId, bool> = HashMap::new();
    for round in 0..ROUNDS {
        let (mut ended_now, mut about_to_drop) = (Vec::new(), HashSet::new());
        for (what, id) in run_and_kill(folder.path(), Duration::from_millis(round * 53 % 400)) {
            match what {
                'a' => drop(open_work.insert(id, false)),
                's' => drop(open_work.insert(id, true)),
                'd' => drop(about_to_drop.insert(id)),
                'e' => {
                    open_work.remove(&id);
                    dropped.insert(id);
                }
                _ => {
                    open_work.remove(&id);
                    ended_now.push(id);
                }
            }
        }
        let node = open(folder.path());
        let records = node.activation_store();
        for id in &ended_now {
            assert!(records.get("guest", id).await.unwrap().is_some(), "round {round}: record {id} is lost");
        }
        finished.extend(ended_now);
        let unfinished: HashMap<_, _> = take_up_all(&*node.event_log())
            .into_iter()
            .map(|open| (open.invocation.activation_id, open.started.is_some()))
            .collect();
        for (id, started) in open_work.drain() {
            // The last word of each thread may have been appended without being told.
            match unfinished.get(&id) {
                Some(known) => assert!(*known || !started, "round {round}: start of {id} is lost"),
                None if about_to_drop.contains(&id) => drop(dropped.insert(id)),
                None => {
                    assert!(records.get("guest", &id).await.unwrap().is_some(), "round {round}: {id} is lost")
                }
            }
        }
        assert!(
            unfinished.keys().all(|id| !finished.contains(id) && !dropped.contains(id)),
            "round {round}: what ended is open again"
        );
        let mut ended = unfinished.into_keys();
        for id in ended.by_ref().take(20) {
            node.event_log().append(&Event::Finished(record(id, 1))).unwrap();
            finished.insert(id);
        }
        open_work.extend(ended.map(|id| (id, false)));
        if round % 2 == 0 {
            node.close().await;
        }
    }
    let node = open(folder.path());
    let kept = node.activation_store().list(&newest(u64::MAX)).await.unwrap();
    let kept: HashSet<_> = kept.iter().map(|record| record.activation_id).collect();
    assert!(finished.is_subset(&kept), "records of earlier lives are lost");
    assert!(kept.is_disjoint(&dropped), "what ended without a record has one");
    let (finished, dropped, open) = (finished.len(), dropped.len(), open_work.len());
    assert!(dropped > 0);
    eprintln!("{ROUNDS} kills: {finished} records, {dropped} ends without one, {open} open, none lost");
    node.close().await;
}
