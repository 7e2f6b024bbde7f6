//! The scheduler over a log on a simulated disk, from life to life: the process dies at any append or moment, the power
//! goes, syncs come late and fail, the wall clock is set an hour forth and back.
//!
//! Checked in the end: what was acknowledged has exactly one record; what is delivered at most once ran once at most;
//! what is delivered at least once ran, or is a dead letter; what was to run later did not run sooner.

mod chance;
mod disk;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActivationId, Delivery, Durability, Event, Invocation, Outcome};
use chasen_scheduler::{KindRouter, Scheduler, SchedulerConfig, WallClock};
use chasen_spi::dead_letter::{DeadLetter, DeadLetterQuery};
use chasen_spi::event_log::Unfinished;
use chasen_spi::memory::{MemoryDeadLetterStore, invocation};
use chasen_spi::{Cancelled, DeadLetterStore, EventLog, Invoke, NoLock, PendingQuery, Session, Sessions};
use parking_lot::Mutex;
use tokio::time::Instant;

use chance::Chance;
use disk::{Disk, Honesty, Life, Torn};
use world::{Seen, Surroundings, Wall, Witnessed};

/// Kind that is run.
const KIND: &str = "memory:1";
/// Worlds, lives of each, and requests in each life.
const WORLDS: u64 = 150;
const LIVES: u64 = 6;
const REQUESTS: u64 = 15;
/// How far ahead work is put off, in milliseconds.
const AHEAD: u64 = 20_000;

/// What a client asked for, and whether it was told that it is accepted.
struct Asked {
    invocation: Arc<Invocation>,
    is_acknowledged: bool,
    is_cancelled: bool,
}

type Ledger = Arc<Mutex<BTreeMap<ActivationId, Asked>>>;

struct World {
    seed: u64,
    honesty: Honesty,
    disk: Arc<Disk>,
    wall: Arc<Wall>,
    seen: Seen,
    asked: Ledger,
    letters: Arc<MemoryDeadLetterStore>,
    chance: Chance,
    has_lost_power: bool,
}

/// Nobody opens sessions here.
struct NoSessions;

impl Sessions for NoSessions {
    fn take_up(&self, _: Session, _: Unfinished) {}

    fn died(&self, _: Arc<DeadLetter>) {}
}

#[test]
fn nothing_is_lost_and_nothing_runs_twice_from_life_to_life() {
    let mut totals = (0, 0);
    for seed in 0..WORLDS {
        let (asked, runs) = World::new(seed, Honesty::Honest).history();
        totals = (totals.0 + asked, totals.1 + runs);
    }
    println!("{} requests, {} runs, {} lives", totals.0, totals.1, WORLDS * (LIVES + 1));
    assert!(totals.1 > WORLDS * LIVES, "hardly anything ran: {totals:?}");
}

#[test]
#[should_panic(expected = "world")]
fn a_disk_that_only_says_that_it_has_written_is_found_out() {
    for seed in 0..WORLDS {
        World::new(seed, Honesty::Lying).history();
    }
}

impl World {
    fn new(seed: u64, honesty: Honesty) -> Self {
        Self {
            seed,
            honesty,
            disk: Arc::default(),
            wall: Arc::new(Wall::new()),
            seen: Arc::default(),
            asked: Arc::default(),
            letters: Arc::default(),
            chance: Chance::new(seed + 1),
            has_lost_power: false,
        }
    }

    /// All lives, and what must be true then; how much was asked for, and how often something ran.
    fn history(mut self) -> (u64, u64) {
        for _ in 0..LIVES {
            self.live(false);
        }
        self.live(true);
        self.check()
    }

    /// One life on time of its own; the last one does not die and gets no requests.
    fn live(&mut self, is_last: bool) {
        let dies_at_append = !is_last && self.chance.below(3) > 0;
        let torn = if self.chance.below(2) == 0 { Torn::Before } else { Torn::After };
        let dies = dies_at_append.then(|| (self.chance.below(60), torn));
        let life = Life::begin(self.disk.clone(), self.chance.split(), dies, self.honesty);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let lived = runtime.block_on(self.spend(life.clone(), is_last));
        life.end();
        drop(runtime);
        self.wall.pass(lived);
        if !is_last && self.chance.below(2) == 0 {
            self.disk.cut_power(&mut self.chance);
            self.has_lost_power = true;
        }
    }

    async fn spend(&mut self, life: Arc<Life>, is_last: bool) -> Duration {
        let begun = Instant::now();
        let scheduler = Arc::new(self.scheduler(&life, begun));
        let opener: Arc<dyn Sessions> = Arc::new(NoSessions);
        scheduler.recover(&opener);
        if is_last {
            let idle = async {
                while life.open_count() > 0 {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            };
            // Work that was put off waits for a clock that may have been set back.
            let patience = Duration::from_millis(4 * (LIVES + 1) * world::HOUR);
            let open = || life.open(5).unwrap();
            tokio::time::timeout(patience, idle).await.unwrap_or_else(|_| panic!("never ends: {:?}", open()));
            return begun.elapsed();
        }
        for _ in 0..REQUESTS {
            let request = Client {
                life: life.clone(),
                scheduler: scheduler.clone(),
                asked: self.asked.clone(),
                chance: self.chance.split(),
                now: self.wall.read(begun),
            };
            tokio::spawn(request.ask());
            tokio::time::sleep(Duration::from_millis(self.chance.below(20))).await;
            if self.chance.below(20) == 0 {
                self.wall.set(self.chance.below(2) == 0);
            }
            if life.is_over() {
                return begun.elapsed();
            }
        }
        let longest = Duration::from_millis(self.chance.below(AHEAD));
        let _ = tokio::time::timeout(longest, life.over.notified()).await;
        begun.elapsed()
    }

    fn scheduler(&self, life: &Arc<Life>, begun: Instant) -> Scheduler {
        let wall = self.wall.clone();
        let clock = WallClock::new(move || wall.read(begun));
        let domain = Witnessed::new(Surroundings {
            life: life.clone(),
            seen: self.seen.clone(),
            wall: self.wall.clone(),
            begun,
        });
        let router = KindRouter::new().route(|kind, _| kind == KIND, Arc::new(domain));
        let config = SchedulerConfig { clock, max_recovering: 8, ..SchedulerConfig::default() };
        Scheduler::new(config, router, life.clone(), Arc::new(NoLock), self.letters.clone())
    }

    /// What must be true in the end; how much was asked for, and how often something ran.
    fn check(&self) -> (u64, u64) {
        let mut records: BTreeMap<ActivationId, Vec<Outcome>> = BTreeMap::new();
        for event in self.disk.events() {
            if let Event::Finished(record) = event {
                records.entry(record.activation_id).or_default().push(record.response.outcome);
            }
        }
        let (asked, seen) = (self.asked.lock(), self.seen.lock());
        let mut runs = 0;
        for (id, asked) in asked.iter() {
            let invocation = &asked.invocation;
            let told = format!(
                "world {}, {id}: {:?} {:?} {:?}, acknowledged: {}, cancelled: {}",
                self.seed,
                invocation.delivery,
                invocation.durability,
                invocation.due,
                asked.is_acknowledged,
                asked.is_cancelled
            );
            let outcomes = records.get(id).map_or(&[][..], Vec::as_slice);
            let ran = seen.get(id).map_or(&[][..], Vec::as_slice);
            runs += ran.len() as u64;
            let is_safe = invocation.durability != Durability::Memory || !self.has_lost_power;
            assert!(outcomes.len() <= 1, "two records: {told}");
            if asked.is_acknowledged && is_safe {
                assert_eq!(outcomes.len(), 1, "no record: {told}");
            }
            if invocation.delivery == Delivery::AtMostOnce {
                assert!(ran.len() <= 1, "ran {} times: {told}", ran.len());
            }
            if outcomes == [Outcome::Success] {
                assert!(!ran.is_empty(), "a success that never ran: {told}");
            }
            if invocation.delivery == Delivery::AtLeastOnce && outcomes == [Outcome::WhiskError] {
                assert!(self.is_letter(id), "given up without a letter: {told}");
            }
            if let Some(due) = invocation.due {
                assert!(ran.iter().all(|latest| *latest >= due), "too early: {ran:?}, {told}");
            }
            if asked.is_cancelled && invocation.due.is_some_and(|due| due > self.wall.latest()) {
                assert!(ran.is_empty(), "cancelled, and ran: {told}");
            }
        }
        (asked.len() as u64, runs)
    }

    fn is_letter(&self, id: &ActivationId) -> bool {
        let namespace = invocation("guest", "a", KIND, "{}").identity.namespace.name.clone();
        let query = DeadLetterQuery { namespace, name: None, skip: 0, limit: u64::MAX };
        let letters = futures(self.letters.list(&query)).unwrap();
        letters.iter().any(|letter| letter.invocation.activation_id == *id)
    }
}

/// What needs no runtime.
fn futures<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Asks for one thing.
struct Client {
    life: Arc<Life>,
    scheduler: Arc<Scheduler>,
    asked: Ledger,
    chance: Chance,
    now: u64,
}

impl Client {
    async fn ask(mut self) {
        let arguments = format!(r#"{{"ms":{}}}"#, self.chance.below(40));
        let action = format!("a{}", self.chance.below(3));
        let mut invocation = invocation("guest", &action, KIND, &arguments);
        invocation.blocking = self.chance.below(2) == 0;
        if !invocation.blocking {
            invocation.durability = Durability::Synced;
        }
        if self.chance.below(2) == 0 {
            invocation.delivery = Delivery::AtLeastOnce;
        }
        if !invocation.blocking && self.chance.below(4) == 0 {
            invocation.due = Some(self.now + self.chance.below(AHEAD));
        }
        let id = invocation.activation_id;
        let whole = Arc::new(invocation.clone());
        let asked = Asked { invocation: whole.clone(), is_acknowledged: false, is_cancelled: false };
        self.asked.lock().insert(id, asked);
        if invocation.due.is_some() {
            return self.put_off(whole).await;
        }
        let Ok(ticket) = self.scheduler.invoke(invocation) else { return };
        if whole.blocking {
            drop(ticket.await);
            return self.acknowledge(&id);
        }
        let position = ticket.position();
        ticket.detach();
        if self.scheduler.committed(whole.durability, position).await.is_ok() {
            self.acknowledge(&id);
        }
    }

    async fn put_off(mut self, invocation: Arc<Invocation>) {
        let id = invocation.activation_id;
        let Ok(position) = self.scheduler.schedule(invocation.clone()) else { return };
        if self.scheduler.committed(invocation.durability, position).await.is_err() {
            return;
        }
        self.acknowledge(&id);
        let namespace = invocation.identity.namespace.name.clone();
        let query = PendingQuery {
            namespace: namespace.clone(),
            name: None,
            since: None,
            upto: None,
            skip: 0,
            limit: 100,
        };
        assert!(self.scheduler.pending(&query).unwrap().len() <= 100);
        if self.chance.below(4) == 0 {
            let cancelled = self.scheduler.cancel(&namespace, &id).await;
            if matches!(cancelled, Ok(Cancelled::Ended(_))) && !self.life.is_over() {
                self.asked.lock().entry(id).and_modify(|asked| asked.is_cancelled = true);
            }
        }
    }

    /// Tells the client, if there is still somebody to tell it.
    fn acknowledge(&self, id: &ActivationId) {
        if self.life.is_over() {
            return;
        }
        self.asked.lock().entry(*id).and_modify(|asked| asked.is_acknowledged = true);
    }
}
