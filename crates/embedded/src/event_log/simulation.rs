//! The log against a model of it: random work, kills, torn writes, power cuts, disks that fail, a clock that jumps.
//!
//! The model keeps every event and where the log said it lies. After a kill the log must know what all events say, after a
//! power cut what those before the last commit say: not less, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActivationId, Event, Invocation, RawJson};
use chasen_spi::memory::activation;
use chasen_spi::{EventLog, Position, TakenUp};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::Index;

use super::segment::Segment;
use super::{LEAST_SEGMENT, Log, LogConfig, payload, record};
use crate::activations::tail::Tail;
use crate::faults::{Faults, cut_behind};
use crate::node_key::NodeKey;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// Work comes, some of it as a step of other work.
    Accept {
        size: usize,
        cause: Option<Index>,
    },
    Start(Index),
    Progress(Index, usize),
    Finish(Index),
    End(Index),
    TakeUp(Index),
    /// This many activations from their beginning to their end.
    Burst(usize),
    Commit,
    /// A commit that fails; so does the next one, maybe.
    FailedCommit {
        twice: bool,
    },
    /// Records are filed.
    File,
    /// The clock is wrong by this many minutes.
    Clock(i64),
    /// The process is killed; what it was writing may be there in part.
    Kill {
        torn: bool,
    },
    /// The power is cut.
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    let work = any::<Index>;
    prop_oneof![
        6 => (0..6000usize, prop::option::of(work())).prop_map(|(size, cause)| Step::Accept { size, cause }),
        4 => work().prop_map(Step::Start),
        4 => (work(), 0..3000usize).prop_map(|(work, size)| Step::Progress(work, size)),
        3 => work().prop_map(Step::Finish),
        3 => work().prop_map(Step::End),
        2 => work().prop_map(Step::TakeUp),
        2 => (1..40usize).prop_map(Step::Burst),
        3 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|twice| Step::FailedCommit { twice }),
        3 => Just(Step::File),
        1 => (-60..60i64).prop_map(Step::Clock),
        1 => any::<bool>().prop_map(|torn| Step::Kill { torn }),
        1 => Just(Step::PowerCut),
    ]
}

/// What is known of open work.
#[derive(Debug, Default, Clone, PartialEq)]
struct Known {
    started: Option<u32>,
    progress: Option<String>,
}

/// What events say, one after the other.
#[derive(Debug, Default, PartialEq)]
struct Model {
    open: BTreeMap<ActivationId, Known>,
    /// In the order of their coming.
    order: Vec<ActivationId>,
    /// Steps that ended, and of what.
    ended: BTreeMap<ActivationId, ActivationId>,
    finished: BTreeSet<ActivationId>,
}

impl Model {
    fn of<'a>(events: impl Iterator<Item = &'a Event>, filed: &BTreeSet<ActivationId>) -> Self {
        let (mut model, mut causes) = (Self::default(), BTreeMap::new());
        for event in events {
            let id = event.activation_id();
            match event {
                Event::Accepted(work) => {
                    model.open.insert(id, Known::default());
                    model.order.push(id);
                    causes.extend(work.cause.map(|cause| (id, cause)));
                }
                Event::Started { attempt, .. } => {
                    let known = model.open.get_mut(&id).unwrap();
                    known.started = known.started.max(Some(*attempt));
                }
                Event::Progress { state, .. } => {
                    model.open.get_mut(&id).unwrap().progress = Some(state.as_str().to_owned());
                }
                Event::Finished(_) | Event::Ended(_) => {
                    if matches!(event, Event::Finished(_)) {
                        model.finished.insert(id);
                    }
                    model.close(&id);
                    let cause = causes.get(&id).filter(|cause| model.open.contains_key(*cause));
                    model.ended.extend(cause.map(|cause| (id, *cause)));
                }
            }
        }
        filed.iter().for_each(|id| model.close(id));
        model
    }

    fn close(&mut self, id: &ActivationId) {
        self.open.remove(id);
        self.order.retain(|open| open != id);
        self.ended.retain(|_, cause| cause != id);
    }
}

struct World {
    folder: tempfile::TempDir,
    tail: Arc<Tail>,
    log: Log,
    faults: Faults,
    /// What the log took, and where it ended then.
    history: Vec<(Position, Event)>,
    /// Records that are in files. A power cut does not touch them.
    filed: Arc<Mutex<BTreeSet<ActivationId>>>,
    /// How far the log was brought to the disk, in all lives.
    synced: Position,
    /// Parts of segments that the disk lost: numbers, and from where on.
    lost: Vec<(u64, usize)>,
    /// Work of an earlier life that was not taken up, with the order of its coming.
    waiting: Vec<ActivationId>,
    /// Open work that was accepted before the power was cut last, or the disk failed.
    old: BTreeSet<ActivationId>,
    /// The disk has failed in this life.
    has_failed: bool,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (faults, filed) = (Faults::default(), Arc::default());
        let (tail, log) = open(folder.path(), &faults, &filed);
        let (synced, waiting, old) = (Position(0), Vec::new(), BTreeSet::new());
        let (history, lost, has_failed) = (Vec::new(), Vec::new(), false);
        Self { folder, tail, log, faults, history, filed, synced, lost, waiting, old, has_failed }
    }

    fn events(&self) -> std::path::PathBuf {
        self.folder.path().join("events")
    }

    fn append(&mut self, event: Event) {
        let position = self.log.append(&event).unwrap();
        self.history.push((position, event));
    }

    fn model(&self, upto: Position) -> Model {
        let events = self.history.iter().filter(|(position, _)| *position <= upto).map(|(_, event)| event);
        Model::of(events, &self.filed.lock())
    }

    /// Some open work, taken up if need be.
    fn pick(&mut self, index: &Index) -> Option<ActivationId> {
        let open = self.model(Position(u64::MAX)).order;
        let id = *open.get(index.index(open.len().max(1)))?;
        self.take_up(&id);
        Some(id)
    }

    fn take_up(&mut self, id: &ActivationId) {
        let known = self.model(Position(u64::MAX)).open.get(id).cloned().unwrap();
        match self.log.take_up(id).unwrap() {
            TakenUp::Taken(work) => {
                let before = self.waiting.len();
                self.waiting.retain(|waiting| waiting != id);
                assert_eq!(self.waiting.len() + 1, before, "{id} is given to one only");
                let progress = work.progress.map(|state| state.as_str().to_owned());
                assert_eq!((work.started, progress), (known.started, known.progress));
                assert_eq!(work.is_whole, !self.old.contains(id), "{id}");
            }
            TakenUp::Elsewhere => assert!(!self.waiting.contains(id)),
            other => panic!("{id} is {other:?}"),
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Accept { size, cause } => {
                let cause = cause.as_ref().and_then(|index| self.pick(index));
                self.append(Event::Accepted(work(*size, cause)));
            }
            Step::Start(index) => {
                let Some(activation_id) = self.pick(index) else { return };
                let attempt = self.history.len() as u32;
                self.append(Event::Started { activation_id, attempt, at: 1 });
            }
            Step::Progress(index, size) => {
                let Some(activation_id) = self.pick(index) else { return };
                let state = RawJson::from_value(&"x".repeat(*size));
                self.append(Event::Progress { activation_id, state });
            }
            Step::Finish(index) => {
                let Some(id) = self.pick(index) else { return };
                self.append(finished(id));
            }
            Step::End(index) => {
                let Some(id) = self.pick(index) else { return };
                self.append(Event::Ended(id));
            }
            Step::TakeUp(index) => drop(self.pick(index)),
            Step::Burst(count) => {
                for _ in 0..*count {
                    let work = work(3000, None);
                    let id = work.activation_id;
                    self.append(Event::Accepted(work));
                    self.append(finished(id));
                }
            }
            Step::Commit => assert!(self.log.shared.commit.commit(&self.log.shared)),
            Step::FailedCommit { twice } => {
                self.has_failed = true;
                for _ in 0..=u8::from(*twice) {
                    let unsynced = self.log.shared.state.lock().unsynced();
                    self.lost.extend(unsynced.iter().map(|(part, _)| (part.number(), part.synced())));
                    self.faults.fail_syncs(true);
                    assert!(!self.log.shared.commit.commit(&self.log.shared));
                    self.faults.fail_syncs(false);
                }
                // What is lost is written again before anything else is asked of the disk.
                assert!(self.log.shared.commit.commit(&self.log.shared));
            }
            Step::File => {
                let batch = self.tail.next_batch(Duration::ZERO, Duration::ZERO).records;
                let end = batch.iter().filter_map(|record| record.position()).max();
                end.iter().for_each(|end| self.log.keep(*end).unwrap());
                self.filed.lock().extend(batch.iter().map(|record| record.entry.id));
                self.tail.remove(&batch);
                self.log.written(&batch);
            }
            Step::Clock(minutes) => self.faults.set_clock(minutes * 60_000),
            Step::Kill { torn } => {
                self.kill();
                if *torn {
                    self.tear();
                }
                self.reopen(Position(u64::MAX));
            }
            Step::PowerCut => {
                self.kill();
                for (number, from) in self.lost.drain(..) {
                    zero(&Segment::path(&self.folder.path().join("events"), number), from);
                }
                cut_behind(&self.events(), self.synced).unwrap();
                self.reopen(self.synced);
            }
        }
    }

    /// Ends the threads, and nothing else.
    fn kill(&mut self) {
        self.log.refuse();
        self.log.shared.commit.end();
        self.log.threads.lock().drain(..).for_each(|thread| thread.join().unwrap());
        self.synced = self.synced.max(self.log.shared.commit.reached());
    }

    /// Leaves half a record where the log ended.
    fn tear(&self) {
        let state = self.log.shared.state.lock();
        let (number, used) = (state.active.segment().number(), state.active.used());
        let header =
            record::Header { kind: record::Kind::Finished, number: 0, time: 1, id: ActivationId::generate() };
        let [_, words @ ..] = record::encode(&header, b"half", number);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let room = state.active.left().min(bytes.len());
        let file = File::options().write(true).open(Segment::path(&self.events(), number)).unwrap();
        file.write_all_at(&bytes[..room], (used + 8) as u64).unwrap();
    }

    fn reopen(&mut self, upto: Position) {
        let all = self.model(Position(u64::MAX));
        let expected = self.model(upto);
        let era = self.log.era();
        assert_eq!(era.is_none(), std::mem::take(&mut self.has_failed), "an era ends with the disk");
        (self.tail, self.log) = open(self.folder.path(), &self.faults, &self.filed);
        self.waiting = self.log.inherited();
        if self.log.era() != era {
            self.old.extend(&self.waiting);
        }
        // What ended after the last commit may be open again, or be gone with its segment.
        let is_kept = |id: &ActivationId| self.waiting.contains(id) || all.open.contains_key(id);
        let kept: Vec<_> = expected.order.iter().filter(|id| is_kept(id)).copied().collect();
        assert_eq!(self.waiting, kept, "in the order of their coming, each once");
        let state = self.log.shared.state.lock();
        for id in &kept {
            let open = &state.ledger.open[id];
            let progress = open.progress.as_ref().map(|slice| payload::progress(slice.bytes()).unwrap());
            let known = Known {
                started: open.started.map(|(attempt, _)| attempt),
                progress: progress.map(|state| state.as_str().to_owned()),
            };
            assert_eq!(known, expected.open[id]);
        }
        for (step, cause) in &expected.ended {
            assert!(
                state.ledger.has_ended(step) == Some(*cause) || !kept.contains(cause),
                "{step} of {cause}"
            );
        }
        drop(state);
        let filed = self.filed.lock().clone();
        for id in expected.finished.difference(&filed) {
            assert!(self.tail.get(id).is_some(), "the record of {id} is lost");
        }
        // What was lost is lost for the model too.
        let waiting = self.waiting.clone();
        self.history.retain(|(position, event)| {
            let id = event.activation_id();
            *position <= upto && (waiting.contains(&id) || !expected.open.contains_key(&id))
        });
        let books = &self.log.shared.state.lock().ledger.books;
        assert!(books.values().all(|book| book.open_bytes < 64 << 20), "books are kept");
    }
}

fn open(folder: &Path, faults: &Faults, filed: &Arc<Mutex<BTreeSet<ActivationId>>>) -> (Arc<Tail>, Log) {
    let key = Arc::new(NodeKey::open(folder).unwrap());
    let tail = Arc::new(Tail::new(usize::MAX));
    let slow = Duration::from_secs(3600);
    let config = LogConfig { segment_bytes: LEAST_SEGMENT, slow, faults: faults.clone() };
    let is_recorded = |id: &ActivationId| filed.lock().contains(id);
    let log = Log::open(&folder.join("events"), config, key, tail.clone(), is_recorded).unwrap();
    // Commits are the steps' alone.
    log.shared.commit.end();
    (tail, log)
}

fn work(size: usize, cause: Option<ActivationId>) -> Arc<Invocation> {
    let arguments = RawJson::from_value(&serde_json::json!({ "text": "x".repeat(size) }));
    Arc::new(Invocation { arguments, cause, ..payload::tests::invocation() })
}

fn finished(id: ActivationId) -> Event {
    Event::Finished(Arc::new(chasen_entity::Activation { activation_id: id, ..activation("guest", "a", 1) }))
}

fn zero(path: &Path, from: usize) {
    let Ok(file) = File::options().write(true).open(path) else { return };
    let length = file.metadata().unwrap().len().saturating_sub(from as u64);
    file.write_all_at(&vec![0; length as usize], from as u64).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_log_knows_what_the_model_knows(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.take(&Step::Kill { torn: true });
        world.take(&Step::PowerCut);
        world.log.close();
    }
}

/// Work moves past the event that says what is a part of it. Once that has ended and its record is in a file, the log
/// still knows it.
#[test]
fn the_end_of_a_part_is_known_when_its_beginning_has_gone() {
    let mut world = World::new();
    let (whole, filler) = (work(0, None), Step::Burst(10));
    let part = work(0, Some(whole.activation_id));
    let (whole_id, part_id) = (whole.activation_id, part.activation_id);
    let segment = |world: &World, id| world.log.shared.state.lock().ledger.open[id].accepted.segment();
    let until = |world: &mut World, is_so: &dyn Fn(&World) -> bool| {
        for _ in 0..200 {
            if is_so(world) {
                return;
            }
            world.take(&filler);
            world.take(&Step::File);
        }
        panic!("the log does not move");
    };
    world.append(Event::Accepted(whole));
    until(&mut world, &|world| {
        let active = world.log.shared.state.lock().active.segment().number();
        active > segment(world, &whole_id)
    });
    world.append(Event::Accepted(part));
    let beginning = segment(&world, &part_id);
    until(&mut world, &|world| segment(world, &whole_id) > segment(world, &part_id));
    world.append(finished(part_id));
    let path = Segment::path(&world.events(), beginning);
    until(&mut world, &|_| !path.exists());
    world.take(&Step::Kill { torn: false });
    assert_eq!(world.log.shared.state.lock().ledger.has_ended(&part_id), Some(whole_id));
    world.log.close();
}
