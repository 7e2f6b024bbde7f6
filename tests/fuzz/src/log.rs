//! Recovery of the event log: a log as a dead node leaves it, damaged as the input says.
//!
//! An input is a list of edits of five bytes: what, where (two bytes, in steps of [`STEP`] bytes), and with what (two).

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chasen_embedded::{Embedded, EmbeddedConfig, OpenError};
use chasen_entity::{ActivationId, ByteSize, Event, Invocation, RawJson};
use chasen_spi::Position;
use chasen_spi::event_log::TakenUp;
use chasen_spi::memory::{activation, invocation};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Events fall on such boundaries.
const STEP: usize = 4;
/// Activations in the log.
const ACTIVATIONS: u8 = 12;

thread_local! {
    static LEFT: Left = Left::new();
}

/// What a dead node left.
struct Left {
    runtime: Runtime,
    folder: TempDir,
    /// Name and bytes of the segment, as far as it is written.
    segment: (PathBuf, Vec<u8>),
    /// Where each event ends in it, oldest first.
    events: Vec<(usize, Event)>,
}

impl Left {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let embedded = open(folder.path()).unwrap();
        let log = embedded.event_log();
        let end = |Position(position)| usize::try_from(position & u64::from(u32::MAX)).unwrap();
        let events: Vec<_> =
            history().into_iter().map(|event| (end(log.append(&event).unwrap()), event)).collect();
        let written = events.last().unwrap().0;
        // What a node that dies now leaves behind.
        let file = fs::read_dir(folder.path().join("events")).unwrap().map(|entry| entry.unwrap().path());
        let segments = file.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let (name, bytes) = segments
            .map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap()))
            .find(|(_, bytes)| bytes[..written].iter().rev().take(STEP * 64).any(|byte| *byte != 0))
            .unwrap();
        drop(embedded);
        Self { runtime, folder, segment: (name, bytes[..written].to_vec()), events }
    }

    fn lay_out(&self, bytes: &[u8]) {
        for folder in ["events", "activations"].map(|name| self.folder.path().join(name)) {
            let _ = fs::remove_dir_all(&folder);
        }
        let events = self.folder.path().join("events");
        fs::create_dir(&events).unwrap();
        fs::write(events.join(&self.segment.0), bytes).unwrap();
    }
}

/// Every tenth of an activation's life: accepted, started, gone on, ended, in turns with others.
fn history() -> Vec<Event> {
    let works: Vec<Arc<Invocation>> = (0..ACTIVATIONS)
        .map(|number| {
            let arguments = format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(usize::from(number)));
            let activation_id = ActivationId::from_bytes([number + 1; 16]);
            Arc::new(Invocation { activation_id, ..invocation("guest", "a", "memory:1", &arguments) })
        })
        .collect();
    let mut events = Vec::new();
    for (number, work) in works.iter().enumerate() {
        let activation_id = work.activation_id;
        events.push(Event::Accepted(work.clone()));
        if number % 2 == 0 {
            events.push(Event::Started { activation_id, attempt: 1, at: 5 });
        }
        if number % 4 == 0 {
            let state = RawJson::parse(format!(r#"{{"step":{number}}}"#).as_bytes()).unwrap();
            events.push(Event::Progress { activation_id, state });
        }
        if number % 3 == 0 {
            let mut record = activation("guest", "a", 1);
            record.activation_id = activation_id;
            events.push(Event::Finished(Arc::new(record)));
        }
        if number % 3 == 1 && number > 6 {
            events.push(Event::Ended(activation_id));
        }
    }
    events
}

fn open(folder: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(EmbeddedConfig { segment_bytes: ByteSize::bytes(64 << 10), ..EmbeddedConfig::new(folder) })
}

/// Whatever is damaged: what lies before it is all there, nothing is there that never was, nothing is there twice.
pub(crate) fn recover(input: &[u8]) {
    LEFT.with(|left| {
        let mut bytes = left.segment.1.clone();
        let intact = input.chunks_exact(5).map(|edit| apply(edit, &mut bytes)).min().unwrap_or(usize::MAX);
        left.lay_out(&bytes);
        let embedded = match open(left.folder.path()) {
            Ok(embedded) => embedded,
            Err(OpenError::Newer { .. }) => return,
            Err(why) => panic!("{why}"),
        };
        left.runtime.block_on(check(left, intact, &embedded));
        left.runtime.block_on(embedded.close());
    });
}

/// Does an edit; the first byte that it may have changed.
fn apply(edit: &[u8], bytes: &mut Vec<u8>) -> usize {
    let [what, high, low, one, other] = *edit else { return usize::MAX };
    let at = usize::from(u16::from_be_bytes([high, low])) * STEP;
    let with = usize::from(u16::from_be_bytes([one, other]));
    let Some(rest) = bytes.get_mut(at..) else { return usize::MAX };
    let length = with.min(rest.len());
    match what % 5 {
        0 => rest.iter_mut().take(1).for_each(|byte| *byte ^= one | 1),
        1 => rest[..length].fill(0),
        2 => bytes.truncate(at),
        3 => {
            // What stands somewhere else is there once more.
            let from = (with * STEP).min(bytes.len());
            let copied = bytes[from..(from + 512).min(bytes.len())].to_vec();
            let room = copied.len().min(bytes.len() - at);
            bytes[at..at + room].copy_from_slice(&copied[..room]);
        }
        _ => rest[..length].reverse(),
    }
    at
}

async fn check(left: &Left, intact: usize, embedded: &Embedded) {
    let (log, records) = (embedded.event_log(), embedded.activation_store());
    let inherited = log.inherited();
    for id in &inherited {
        let known = left.events.iter().find_map(|(_, event)| match event {
            Event::Accepted(work) if work.activation_id == *id => Some(work),
            _ => None,
        });
        let known = known.unwrap_or_else(|| panic!("{id} was never accepted"));
        match log.take_up(id).unwrap() {
            TakenUp::Taken(work) => assert_eq!(work.invocation.arguments, known.arguments),
            other => panic!("{id}: {other:?}"),
        }
        assert!(matches!(log.take_up(id).unwrap(), TakenUp::Elsewhere), "{id} is taken up once");
    }
    for (number, (end, event)) in left.events.iter().enumerate() {
        if *end > intact {
            break;
        }
        let id = event.activation_id();
        let ends = |event: &Event| matches!(event, Event::Finished(_) | Event::Ended(_));
        let ended_later =
            left.events[number..].iter().any(|(_, later)| later.activation_id() == id && ends(later));
        match event {
            Event::Finished(_) => {
                assert!(records.get("guest", &id).await.unwrap().is_some(), "{id} lost its record")
            }
            Event::Accepted(_) => assert!(ended_later || inherited.contains(&id), "{id} is lost"),
            _ => {}
        }
    }
}
