//! Scenarios and random histories of one queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::scaling::EventDriven;

use super::{Admission, Bounds, Effects, Event, Queue, Shape, Slot, Turn};

const BOUNDS: Bounds = Bounds { waiting: 50, bytes: 1000, starting: 4 };

fn shape(revision: u64) -> Shape {
    Shape {
        revision,
        concurrency: 1,
        instances: None,
        cold_estimate: Duration::from_millis(100),
        scaling: Arc::new(EventDriven),
    }
}

/// A queue whose containers and waiting activations are numbers.
struct Bench {
    queue: Queue<u64, u64>,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self { queue: Queue::new(shape(1), BOUNDS), now: 0 }
    }

    fn step(&mut self, event: Event<u64, u64>) -> Effects<u64, u64> {
        let mut effects = Effects::default();
        self.queue.step(event, self.now, &mut effects);
        effects
    }

    /// Arrives and queues up if there is no slot. The number of an activation is its waiter too.
    fn arrive(&mut self) -> (Option<Slot<u64>>, Effects<u64, u64>) {
        let mut effects = self.step(Event::Arrived { bytes: 1, turn: Turn::Last });
        match effects.admission.take() {
            Some(Admission::Run { slot, .. }) => (Some(slot), effects),
            Some(Admission::Wait { number }) => {
                (None, self.step(Event::Queued { waiter: number, number, bytes: 1 }))
            }
            other => panic!("{other:?}"),
        }
    }

    fn started(&mut self, id: u64, slots: u32, revision: u64) -> Effects<u64, u64> {
        self.step(Event::Started {
            container: id,
            id,
            slots,
            revision,
            init_time: Duration::from_millis(7),
            cold_estimate: Duration::from_millis(100),
        })
    }

    fn released(&mut self, slot: &Slot<u64>, lives: bool) -> Effects<u64, u64> {
        self.step(Event::Released { place: slot.place, service: Some(Duration::from_millis(5)), lives })
    }
}

#[test]
fn the_first_waits_for_its_container_and_pays_for_it() {
    let mut bench = Bench::new();
    let (slot, effects) = bench.arrive();
    assert!(slot.is_none());
    assert_eq!(effects.starts, 1);
    let effects = bench.started(1, 1, 1);
    let [(waiter, slot)] = effects.assigned.as_slice() else { panic!("{effects:?}") };
    assert_eq!((*waiter, slot.init_time), (0, Some(Duration::from_millis(7))));
    assert!(bench.released(slot, true).assigned.is_empty());
    assert_eq!(bench.arrive().0.unwrap().init_time, None, "the next one finds it warm");
}

#[test]
fn the_last_used_container_is_used_next() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.arrive();
    let first = bench.started(1, 1, 1).assigned.remove(0).1;
    let second = bench.started(2, 1, 1).assigned.remove(0).1;
    bench.released(&second, true);
    bench.released(&first, true);
    assert_eq!(bench.arrive().0.unwrap().container, 1);
}

#[test]
fn an_updated_action_never_runs_old_code() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.arrive();
    let busy = bench.started(1, 1, 1).assigned.remove(0).1;
    let effects = bench.step(Event::Updated(shape(2)));
    assert_eq!((effects.retired.as_slice(), effects.starts), ([1].as_slice(), 1));
    assert_eq!(bench.started(2, 1, 1).retired, [2], "one that was in the making for the old code");
    assert!(bench.released(&busy, true).assigned.is_empty(), "the old one gets nothing more");
    assert_eq!(bench.started(3, 1, 2).assigned.len(), 1);
    assert!(bench.step(Event::Updated(shape(1))).retired.is_empty(), "an older state changes nothing");
}

#[test]
fn a_failed_start_fails_who_waits_unless_somebody_serves() {
    let mut bench = Bench::new();
    bench.arrive();
    bench.arrive();
    assert!(bench.step(Event::StartFailed { revision: 1 }).failed.is_empty(), "another one is coming");
    assert_eq!(bench.arrive().1.starts, 0, "no further try before that one is known");
    let effects = bench.step(Event::StartFailed { revision: 1 });
    assert_eq!((effects.failed.as_slice(), effects.closed), ([0, 1, 2].as_slice(), true));

    let mut bench = Bench::new();
    bench.arrive();
    bench.arrive();
    bench.started(1, 1, 1);
    bench.arrive();
    let effects = bench.step(Event::StartFailed { revision: 1 });
    assert!(effects.failed.is_empty());
    assert_eq!((effects.starts, effects.wake_at), (0, Some(100)), "not at once again");
    bench.now = 100;
    assert_eq!(bench.step(Event::Woken).starts, 1);
}

#[test]
fn a_wrong_estimate_is_found_out() {
    let mut bench = Bench::new();
    bench.arrive();
    let slot = bench.started(1, 1, 1).assigned.remove(0).1;
    bench.released(&slot, true);
    assert!(bench.arrive().0.is_some());
    let (_, effects) = bench.arrive();
    assert_eq!((effects.starts, effects.wake_at), (0, Some(101)), "runs are short: wait");
    bench.now = 101;
    assert_eq!(bench.step(Event::Woken).starts, 1, "the run did not end: it may be waiting for this one");
}

#[test]
fn who_loses_a_container_before_running_keeps_the_turn() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        bench.arrive();
    }
    let slot = bench.started(1, 1, 1).assigned.remove(0).1;
    bench.step(Event::Gone { id: 1 });
    let effects = bench.step(Event::Arrived { bytes: 1, turn: Turn::Again(0) });
    assert_eq!(effects.admission, Some(Admission::Wait { number: 0 }));
    bench.step(Event::Queued { waiter: 0, number: 0, bytes: 1 });
    assert!(!bench.released(&slot, false).closed);
    assert_eq!(bench.started(2, 1, 1).assigned.remove(0).0, 0);
}

#[test]
fn the_bounds_hold() {
    let mut bench = Bench::new();
    for _ in 0..BOUNDS.waiting {
        bench.arrive();
    }
    assert_eq!(bench.step(Event::Arrived { bytes: 1, turn: Turn::Last }).admission, Some(Admission::Full));
    let mut bench = Bench::new();
    let effects = bench.step(Event::Arrived { bytes: 1001, turn: Turn::Last });
    assert_eq!(
        (effects.admission, effects.closed),
        (Some(Admission::Full), true),
        "no dead key stays behind"
    );
    assert_eq!(bench.step(Event::Arrived { bytes: 1, turn: Turn::Last }).admission, Some(Admission::Closed));
}

#[test]
fn who_would_wait_too_long_is_told_at_once_but_not_in_a_burst() {
    let in_time = |millis| Event::Arrived { bytes: 1, turn: Turn::InTime(Duration::from_millis(millis)) };
    let mut bench = Bench::new();
    bench.arrive();
    let slot = bench.started(1, 1, 1).assigned.remove(0).1;
    bench.step(Event::Released { place: slot.place, service: Some(Duration::from_millis(500)), lives: true });
    bench.arrive();
    for _ in 0..8 {
        bench.arrive();
    }
    let full = |effects: Effects<u64, u64>| effects.admission == Some(Admission::Full);
    let slots = bench.queue.containers() as u64;
    let wait = 8 * 500 / slots;
    assert!(!full(bench.step(in_time(1))), "a burst: containers are coming");
    bench.now = 1000;
    assert!(full(bench.step(in_time(wait))), "they did not catch up");
    assert!(!full(bench.step(in_time(wait + 1))));
    assert!(!full(bench.step(Event::Arrived { bytes: 1, turn: Turn::Last })), "who has time may wait");
}

#[test]
fn an_action_that_is_held_by_its_own_bound_is_told_so() {
    let bounded = Shape { instances: Some(2), ..shape(1) };
    let mut bench = Bench { queue: Queue::new(bounded, BOUNDS), now: 0 };
    for _ in 0..3 {
        bench.arrive();
    }
    bench.started(1, 2, 1);
    while bench.queue.queued() < BOUNDS.waiting {
        bench.arrive();
    }
    let last = Event::Arrived { bytes: 1, turn: Turn::Last };
    assert_eq!(bench.step(last).admission, Some(Admission::Full), "one more may come");
    bench.started(2, 2, 1);
    while bench.queue.queued() < BOUNDS.waiting {
        bench.arrive();
    }
    let in_flight = BOUNDS.waiting as u64 + 4;
    for turn in [Turn::Last, Turn::InTime(Duration::MAX)] {
        let admission = bench.step(Event::Arrived { bytes: 1, turn }).admission;
        assert_eq!(admission, Some(Admission::OverOwnLimit { in_flight, allowed: 4 }));
    }
}

#[derive(Debug, Clone)]
enum Move {
    Arrive,
    Started { slots: u32 },
    StartFailed,
    Withdrawn,
    Finish { which: usize, lives: bool },
    Lose { which: usize },
    Gone { which: usize },
    Abandon { which: usize },
    Update,
    Wake,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let any = 0usize..64;
    let one = prop_oneof![
        6 => Just(Move::Arrive),
        3 => (1u32..4).prop_map(|slots| Move::Started { slots }),
        1 => Just(Move::StartFailed),
        1 => Just(Move::Withdrawn),
        5 => (any.clone(), proptest::bool::weighted(0.9)).prop_map(|(which, lives)| Move::Finish { which, lives }),
        1 => any.clone().prop_map(|which| Move::Lose { which }),
        1 => any.clone().prop_map(|which| Move::Gone { which }),
        1 => any.prop_map(|which| Move::Abandon { which }),
        1 => Just(Move::Update),
        1 => Just(Move::Wake),
    ];
    proptest::collection::vec(one, 1..200)
}

/// What must be true of every history, kept by a model that knows nothing of the queue's insides.
#[derive(Default)]
struct Model {
    waiting: Vec<u64>,
    /// Slots in use: activation → slot.
    running: BTreeMap<u64, Slot<u64>>,
    /// Containers that were handed over: id → (slots, revision, gone).
    containers: BTreeMap<u64, (u32, u64, bool)>,
    ended: Vec<u64>,
    arrived: u64,
    starting: Vec<u64>,
    revision: u64,
    wake_at: Option<u64>,
    closed: bool,
}

impl Model {
    fn run(&mut self, activation: u64, slot: Slot<u64>) {
        let (slots, revision, gone) = self.containers[&slot.container];
        assert!(!gone, "a container that is gone gets no work");
        assert_eq!(revision, self.revision, "an old container gets no work");
        assert!(self.running.insert(activation, slot).is_none());
        let id = self.running[&activation].container;
        let used = self.running.values().filter(|slot| slot.container == id).count();
        assert!(used <= slots as usize, "more runs than slots");
    }

    fn apply(&mut self, mut effects: Effects<u64, u64>) {
        for (waiter, slot) in effects.assigned.drain(..) {
            assert_eq!(self.waiting.first(), Some(&waiter), "in order of arrival");
            self.waiting.retain(|number| *number != waiter);
            self.run(waiter, slot);
        }
        for waiter in effects.failed.drain(..) {
            self.waiting.retain(|number| *number != waiter);
            self.ended.push(waiter);
        }
        for id in effects.retired.drain(..) {
            self.containers.entry(id).and_modify(|container| container.2 = true);
        }
        let revision = self.revision;
        self.starting.extend((0..effects.starts).map(|_| revision));
        self.wake_at = self.wake_at.or(effects.wake_at);
        self.closed |= effects.closed;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_activation_is_lost_and_no_slot_used_twice(moves in moves()) {
        let mut bench = Bench::new();
        let mut model = Model { revision: 1, ..Model::default() };
        let mut next_container = 0;
        for step in moves {
            bench.now += 10;
            if model.closed {
                prop_assert!(model.waiting.is_empty() && model.running.is_empty());
                bench = Bench { now: bench.now, ..Bench::new() };
                bench.step_update(model.revision);
                model = Model { revision: model.revision, ..Model::default() };
            }
            match step {
                Move::Arrive => {
                    let effects = bench.step(Event::Arrived { bytes: 1, turn: Turn::Last });
                    match effects.admission {
                        Some(Admission::Run { slot, number }) => {
                            prop_assert!(model.waiting.is_empty());
                            model.arrived += 1;
                            model.run(number, slot);
                        }
                        Some(Admission::Wait { number }) => {
                            model.arrived += 1;
                            model.waiting.push(number);
                            let effects = bench.step(Event::Queued { waiter: number, number, bytes: 1 });
                            model.apply(effects);
                        }
                        Some(Admission::Full) => prop_assert_eq!(model.waiting.len(), BOUNDS.waiting),
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                Move::Started { slots } => {
                    let Some(revision) = model.starting.pop() else { continue };
                    next_container += 1;
                    model.containers.insert(next_container, (slots, revision, false));
                    let effects = bench.started(next_container, slots, revision);
                    model.apply(effects);
                }
                Move::StartFailed | Move::Withdrawn => {
                    let Some(revision) = model.starting.pop() else { continue };
                    let failed = matches!(step, Move::StartFailed);
                    let effects = bench.step(if failed {
                        Event::StartFailed { revision }
                    } else {
                        Event::StartWithdrawn { revision }
                    });
                    model.apply(effects);
                }
                Move::Finish { which, lives } => {
                    let Some(number) = model.running.keys().nth(which).copied() else { continue };
                    let slot = model.running.remove(&number).unwrap();
                    model.ended.push(number);
                    if !lives {
                        model.containers.entry(slot.container).and_modify(|container| container.2 = true);
                    }
                    let effects = bench.released(&slot, lives);
                    model.apply(effects);
                }
                Move::Lose { which } => {
                    let Some(number) = model.running.keys().nth(which).copied() else { continue };
                    let slot = model.running.remove(&number).unwrap();
                    model.containers.entry(slot.container).and_modify(|container| container.2 = true);
                    let effects = bench.step(Event::Gone { id: slot.container });
                    model.apply(effects);
                    match bench.step(Event::Arrived { bytes: 1, turn: Turn::Again(number) }).admission {
                        Some(Admission::Run { slot, number }) => model.run(number, slot),
                        Some(Admission::Wait { number }) => {
                            let at = model.waiting.partition_point(|other| *other < number);
                            model.waiting.insert(at, number);
                            let effects = bench.step(Event::Queued { waiter: number, number, bytes: 1 });
                            model.apply(effects);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                    let effects =
                        bench.step(Event::Released { place: slot.place, service: None, lives: false });
                    model.apply(effects);
                }
                Move::Gone { which } => {
                    let Some(id) = model.containers.keys().nth(which).copied() else { continue };
                    model.containers.entry(id).and_modify(|container| container.2 = true);
                    let effects = bench.step(Event::Gone { id });
                    model.apply(effects);
                }
                Move::Abandon { which } => {
                    let Some(number) = model.waiting.get(which).copied() else { continue };
                    model.waiting.retain(|other| *other != number);
                    model.ended.push(number);
                    let effects = bench.step(Event::Abandoned { number });
                    model.apply(effects);
                }
                Move::Update => {
                    model.revision += 1;
                    let effects = bench.step_update(model.revision);
                    model.apply(effects);
                }
                Move::Wake => {
                    let Some(at) = model.wake_at.take() else { continue };
                    bench.now = bench.now.max(at);
                    let effects = bench.step(Event::Woken);
                    model.apply(effects);
                }
            }
            prop_assert_eq!(bench.queue.queued(), model.waiting.len());
            prop_assert_eq!(
                model.arrived as usize,
                model.waiting.len() + model.running.len() + model.ended.len(),
                "each one is waiting, running or over"
            );
            if !model.waiting.is_empty() {
                let serving = model.containers.values().any(|(_, revision, gone)| *revision == model.revision && !gone);
                let coming = model.starting.contains(&model.revision);
                prop_assert!(serving || coming, "nobody waits for nothing");
            }
        }
    }
}

impl Bench {
    fn step_update(&mut self, revision: u64) -> Effects<u64, u64> {
        self.step(Event::Updated(shape(revision)))
    }
}
