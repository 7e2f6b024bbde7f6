//! Synced work: what is on the disk when a function runs, and who waits for the disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ActivationId, Durability, Event, Invocation, Outcome};
use chasen_scheduler::SchedulerConfig;
use chasen_spi::memory::MemoryEventLog;
use chasen_spi::{EventLog, Invoke, OpenActivation, Position, StoreError, TakenUp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::bench::{Bench, call, on_log, outcome, told, with_action};

/// A disk that takes this long to sync, and may fail; one sync at a time is on its way for all who wait.
pub(crate) struct SlowDisk {
    list: Arc<MemoryEventLog>,
    time: Duration,
    fails: AtomicBool,
    /// It has no room for starts.
    is_full: AtomicBool,
    turn: tokio::sync::Mutex<Position>,
    /// How far the disk was when each activation reached its runtime.
    begun: Mutex<BTreeMap<ActivationId, (Position, Position)>>,
    announced: Mutex<BTreeMap<ActivationId, Position>>,
}

impl SlowDisk {
    pub(crate) fn new(time: Duration) -> Arc<Self> {
        Arc::new(Self {
            list: Arc::default(),
            time,
            fails: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            turn: tokio::sync::Mutex::new(Position(0)),
            begun: Mutex::default(),
            announced: Mutex::default(),
        })
    }

    /// Makes it fail, or no more.
    pub(crate) fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    pub(crate) fn bench(self: &Arc<Self>) -> Bench {
        on_log(SchedulerConfig::default(), self.clone(), Arc::clone(&self.list))
    }
}

#[async_trait]
impl EventLog for SlowDisk {
    fn append(&self, event: &Event) -> Result<Position, StoreError> {
        if self.is_full.load(Ordering::SeqCst) && matches!(event, Event::Started { .. }) {
            return Err(StoreError::Full("no room".to_owned()));
        }
        let position = self.list.append(event)?;
        let id = event.activation_id();
        match event {
            Event::Progress { .. } => drop(self.announced.lock().insert(id, position)),
            Event::Started { .. } => {
                let announced = self.announced.lock().get(&id).copied().unwrap_or(Position(0));
                let safe = self.turn.try_lock().map_or(Position(u64::MAX), |safe| *safe);
                self.begun.lock().insert(id, (announced, safe));
            }
            _ => {}
        }
        Ok(position)
    }

    async fn sync(&self, position: Position) -> Result<(), StoreError> {
        let mut safe = self.turn.lock().await;
        if *safe >= position {
            return Ok(());
        }
        let end = Position(self.list.events().len() as u64);
        tokio::time::sleep(self.time).await;
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the disk fails".to_owned()));
        }
        *safe = end;
        self.list.sync(end).await
    }

    fn inherited(&self) -> Vec<ActivationId> {
        self.list.inherited()
    }

    fn take_up(&self, id: &ActivationId) -> Result<TakenUp, StoreError> {
        self.list.take_up(id)
    }

    fn accepted(&self, id: &ActivationId) -> Result<Option<Arc<Invocation>>, StoreError> {
        self.list.accepted(id)
    }

    fn open(&self, most: usize) -> Result<Vec<OpenActivation>, StoreError> {
        self.list.open(most)
    }

    fn open_count(&self) -> usize {
        self.list.open_count()
    }
}

/// Synced work that nobody waits for.
pub(crate) fn synced(arguments: &str) -> Invocation {
    let one = call("guest", "hello", arguments);
    let one = Invocation { blocking: false, durability: Durability::Synced, ..one };
    with_action(one, |action| action.limits.instances = Some(2))
}

#[tokio::test(start_paused = true)]
async fn nothing_synced_runs_before_its_start_is_on_the_disk() {
    let disk = SlowDisk::new(Duration::from_millis(20));
    let bench = disk.bench();
    for _ in 0..200 {
        bench.scheduler.invoke(synced(r#"{"do":"sleep","ms":3}"#)).unwrap().detach();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bench.rest().await;
    let begun = disk.begun.lock().clone();
    assert_eq!(begun.len(), 200);
    for (id, (announced, safe)) in begun {
        assert!(announced.0 > 0 && announced <= safe, "{id}: {announced:?} {safe:?}");
    }
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn slots_do_not_wait_for_the_disk_while_others_run() {
    let disk = SlowDisk::new(Duration::from_millis(20));
    let bench = disk.bench();
    bench.scheduler.invoke(synced("{}")).unwrap().await;
    let begun = Instant::now();
    for _ in 0..400 {
        bench.scheduler.invoke(synced(r#"{"do":"sleep","ms":5}"#)).unwrap().detach();
    }
    bench.rest().await;
    let time = begun.elapsed();
    assert!(
        time < Duration::from_millis(1500),
        "400 runs of 5 ms on two slots, not one of 25 ms each: {time:?}"
    );
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_ticket_says_what_must_be_safe_and_one_sync_does_it() {
    let disk = SlowDisk::new(Duration::from_millis(20));
    let bench = disk.bench();
    bench.scheduler.invoke(synced("{}")).unwrap().await;
    let one = synced("{}");
    let id = one.activation_id;
    let ticket = bench.scheduler.invoke(one).unwrap();
    let position = ticket.position();
    let committed = bench.scheduler.committed(Durability::Synced, position);
    assert_eq!(told(&bench, id), ["accepted", "progress"], "its slot is free: both at once");
    let begun = Instant::now();
    let (record, committed) = tokio::join!(ticket, committed);
    assert_eq!((outcome(&record), committed), (Outcome::Success, Ok(())));
    assert!(begun.elapsed() < Duration::from_millis(25), "{:?}", begun.elapsed());
    let blocking = Invocation { blocking: true, ..synced("{}") };
    let begun = Instant::now();
    bench.scheduler.invoke(blocking).unwrap().await;
    assert!(begun.elapsed() < Duration::from_millis(25), "its start");
    bench.scheduler.committed(Durability::Synced, Position::END).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(40), "and its record");
    let relaxed = Invocation { durability: Durability::Memory, blocking: true, ..synced("{}") };
    let begun = Instant::now();
    let ticket = bench.scheduler.invoke(relaxed).unwrap();
    bench.scheduler.committed(Durability::Memory, ticket.position()).await.unwrap();
    ticket.await;
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing to wait for");
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_holds_synced_work_up_and_no_other() {
    let disk = SlowDisk::new(Duration::from_millis(5));
    let bench = disk.bench();
    bench.scheduler.invoke(synced("{}")).unwrap().await;
    disk.fail(true);
    let held = synced("{}");
    let id = held.activation_id;
    let held = tokio::spawn(bench.scheduler.invoke(held).unwrap());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(told(&bench, id), ["accepted", "progress"]);
    let relaxed = Invocation { durability: Durability::Memory, ..synced("{}") };
    let begun = Instant::now();
    assert_eq!(outcome(bench.scheduler.invoke(relaxed).unwrap().await.as_ref()), Outcome::Success);
    assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    disk.fail(false);
    let begun = Instant::now();
    assert_eq!(outcome(&held.await.unwrap()), Outcome::Success);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    bench.assert_sound();
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_whose_start_has_no_room_in_the_log() {
    let disk = SlowDisk::new(Duration::from_millis(5));
    let bench = disk.bench();
    bench.scheduler.invoke(synced("{}")).unwrap().await;
    disk.is_full.store(true, Ordering::SeqCst);
    for durability in [Durability::Synced, Durability::Memory] {
        let held = Invocation { durability, ..synced("{}") };
        bench.scheduler.invoke(held).unwrap().detach();
    }
    let given_up = Invocation { durability: Durability::Memory, blocking: true, ..synced("{}") };
    let given_up = bench.scheduler.invoke(given_up).unwrap();
    let runs = bench.factory.notes().runs;
    assert_eq!(outcome(given_up.await.as_ref()), Outcome::WhiskError, "it waited as long as it may");
    assert_eq!(bench.factory.notes().runs, runs);
    disk.is_full.store(false, Ordering::SeqCst);
    bench.rest().await;
    assert_eq!(bench.factory.notes().runs.values().sum::<u64>(), 3);
    bench.assert_sound();
}
