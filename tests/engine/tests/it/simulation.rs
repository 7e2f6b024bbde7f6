//! The pure parts together, without tasks and clocks: queues, pool and containers, driven by random events.
//!
//! Checked after every event: I1 memory, I2 slots, I3 every activation is in exactly one place, I4 one action
//! and revision per container; I5 whoever waits has a timer (here: can give up); and at the end, when nothing
//! new comes and everything pending is let through, that everybody has ended and nothing is left.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ActionKey, ByteSize, EntityName, FullyQualifiedName, NetworkPolicy};
use chasen_invoker::container::state::{Effect as Todo, Event as Life, State, step};
use chasen_invoker::pool::{Appetite, Effect as Order, Event as PoolEvent, Pool, PoolConfig, Request, Worth};
use chasen_scheduler::queue::{Admission, Bounds, Effects, Event, Place, Queue, Shape, Slot, Turn};
use chasen_scheduler::scaling::{EventDriven, Sharding};
use chasen_spi::Scaling;
use proptest::prelude::*;

use crate::moves::{ACTIONS, Move, manifest, moves};

const CAPACITY: u64 = 1024;
/// One action: its queue and what is known of it outside.
struct Action {
    key: ActionKey,
    queue: Queue<u64, u64>,
    revision: u64,
    slots: u32,
    memory: u64,
    wake_at: Option<u64>,
    scaling: Arc<dyn Scaling>,
}

/// A container as the node has it.
struct Container {
    state: State,
    memory: u64,
    slots: u32,
    /// Action and revision, once claimed.
    owner: Option<(usize, u64)>,
    frozen: bool,
    served: bool,
}

/// An activation on a slot.
struct Running {
    action: usize,
    slot: Slot<u64>,
    /// The call is in the container; else it waits for a freeze or thaw.
    inside: bool,
}

struct World {
    now: u64,
    actions: Vec<Action>,
    pool: Pool,
    containers: BTreeMap<u64, Container>,
    /// Requests for memory: number → action and revision.
    requests: BTreeMap<u64, (usize, u64)>,
    next_request: u64,
    running: BTreeMap<(usize, u64), Running>,
    ended: u64,
    arrived: u64,
}

/// Something that goes on by itself sooner or later.
#[derive(Debug, Clone, Copy)]
enum Pending {
    Container(u64),
    Call(usize, u64),
}

impl World {
    fn new() -> Self {
        let config = PoolConfig {
            capacity: ByteSize::mb(CAPACITY),
            reserve: ByteSize::mb(128),
            quiet_below: 1,
            burst: Some(3),
        };
        Self {
            now: 0,
            actions: (0..ACTIONS).map(Action::new).collect(),
            pool: Pool::new(config, &manifest(2, "k")),
            containers: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 1,
            running: BTreeMap::new(),
            ended: 0,
            arrived: 0,
        }
    }

    fn tell_queue(&mut self, action: usize, event: Event<u64, u64>) -> Option<Admission<u64>> {
        let mut effects = Effects::default();
        self.actions[action].queue.step(event, self.now, &mut effects);
        let admission = effects.admission.take();
        for (number, slot) in effects.assigned {
            self.take_slot(action, number, slot);
        }
        self.ended += effects.failed.len() as u64;
        for id in effects.retired {
            self.tell_container(id, Life::Retired);
        }
        if let Some(at) = effects.wake_at {
            let known = &mut self.actions[action].wake_at;
            *known = Some(known.map_or(at, |earlier| earlier.min(at)));
        }
        let siblings = self.actions[action].queue.containers() as u32;
        for _ in 0..effects.starts {
            let id = self.next_request;
            self.next_request += 1;
            let (revision, memory) = (self.actions[action].revision, self.actions[action].memory);
            self.requests.insert(id, (action, revision));
            self.tell_pool(PoolEvent::Requested(Request {
                id,
                key: self.actions[action].key.clone(),
                kind: "k:1".to_owned(),
                image: None,
                memory: ByteSize::mb(memory),
                siblings: siblings.saturating_sub(effects.starts),
                waits: true,
            }));
        }
        if effects.closed {
            let old = &self.actions[action];
            let shape = old.shape();
            self.actions[action].queue = Queue::new(shape, BOUNDS);
        }
        admission
    }

    fn take_slot(&mut self, action: usize, number: u64, slot: Slot<u64>) {
        let container = &self.containers[&slot.container];
        let owner = container.owner.expect("it serves somebody");
        assert_eq!(owner, (action, self.actions[action].revision), "I4");
        self.running.insert((action, number), Running { action, slot, inside: false });
        self.call(action, number);
    }

    /// Tries to get a call into its container.
    fn call(&mut self, action: usize, number: u64) {
        let id = self.running[&(action, number)].slot.container;
        match self.tell_container(id, Life::Called) {
            Todo::Run => self.enter(action, number),
            Todo::Thaw => {
                self.containers.get_mut(&id).unwrap().frozen = false;
                self.running.get_mut(&(action, number)).unwrap().inside = true; // not one of those that wait
                match self.tell_container(id, Life::Thawed { done: true }) {
                    Todo::Run => self.enter(action, number),
                    _ => self.lose(action, number),
                }
            }
            Todo::Wait => {}
            _ => self.lose(action, number),
        }
    }

    fn enter(&mut self, action: usize, number: u64) {
        let running = self.running.get_mut(&(action, number)).unwrap();
        running.inside = true;
        assert!(!self.containers[&running.slot.container].frozen, "nothing runs in a frozen container");
    }

    /// The container went away before anything was sent.
    fn lose(&mut self, action: usize, number: u64) {
        let lost = self.running.remove(&(action, number)).unwrap();
        self.tell_queue(action, Event::Gone { id: lost.slot.container });
        self.arrive(action, Turn::Again(number));
        self.free(action, lost.slot.place, false);
    }

    fn free(&mut self, action: usize, place: Place, lives: bool) {
        let service = lives.then(|| Duration::from_millis(5));
        self.tell_queue(action, Event::Released { place, service, lives });
    }

    fn arrive(&mut self, action: usize, turn: Turn) {
        match self.tell_queue(action, Event::Arrived { bytes: 1, turn }) {
            Some(Admission::Run { slot, number }) => self.take_slot(action, number, slot),
            Some(Admission::Wait { number }) => {
                self.tell_queue(action, Event::Queued { waiter: number, number, bytes: 1 });
            }
            Some(Admission::Full | Admission::OverOwnLimit { .. }) => self.arrived -= 1,
            other => panic!("{other:?}"),
        }
    }

    fn tell_container(&mut self, id: u64, event: Life) -> Todo {
        let Some(container) = self.containers.get_mut(&id) else { return Todo::Refuse };
        let before = container.state;
        let (after, todo) = step(before, event, container.slots);
        container.state = after;
        assert!(after.running() <= container.slots, "I2");
        let (owner, served) = (container.owner, container.served);
        if after.is_gone() && !before.is_gone() && served {
            let (action, _) = owner.unwrap();
            self.tell_queue(action, Event::Gone { id });
        }
        if todo == Todo::Stop {
            self.tell_pool(PoolEvent::Stopping(id));
        }
        if after == State::Dead && before != State::Dead {
            self.containers.remove(&id);
            self.tell_pool(PoolEvent::Dead { id, failed: matches!(event, Life::NotCreated) });
        }
        if matches!(before, State::Freezing | State::Thawing) && before != after {
            self.settle(id);
        }
        let told = match after {
            State::Frozen => Appetite::Resting,
            _ => Appetite::Idle,
        };
        if after.is_idle() && self.pool.appetite() >= told {
            self.report_idle();
        }
        todo
    }

    /// Calls that waited for a freeze or thaw try again.
    fn settle(&mut self, id: u64) {
        let waiting: Vec<(usize, u64)> = self
            .running
            .iter()
            .filter(|(_, running)| running.slot.container == id && !running.inside)
            .map(|(number, _)| *number)
            .collect();
        for (action, number) in waiting {
            if self.running.get(&(action, number)).is_some_and(|r| !r.inside && r.slot.container == id) {
                self.call(action, number);
            }
        }
    }

    fn report_idle(&mut self) {
        let worth = |resting| {
            let (age, cold_start) = (Duration::from_secs(1), Duration::from_millis(50));
            Worth { resting, uses: 1, age, idle: Duration::ZERO, cold_start }
        };
        let idle = self.containers.iter().filter(|(_, container)| container.state.is_idle());
        let idle = idle.map(|(id, container)| (*id, worth(container.state == State::Frozen))).collect();
        self.tell_pool(PoolEvent::Idle(idle));
    }

    fn tell_pool(&mut self, event: PoolEvent) {
        let appetite = self.pool.appetite();
        let mut orders = Vec::new();
        self.pool.step(event, Duration::from_millis(self.now), &mut orders);
        for order in orders {
            match order {
                Order::Create(request, id) => {
                    let owner = self.requests.remove(&request).unwrap();
                    let action = &self.actions[owner.0];
                    let container = Container::new(State::Creating, action.memory, action.slots, Some(owner));
                    self.containers.insert(id, container);
                }
                Order::Claim(request, id) => {
                    let owner = self.requests.remove(&request).unwrap();
                    let container = self.containers.get_mut(&id).expect("stem cells are told when they end");
                    assert_eq!(container.owner, None, "I4");
                    container.owner = Some(owner);
                    container.slots = self.actions[owner.0].slots;
                    if self.tell_container(id, Life::Claimed) != Todo::Initialize {
                        self.request_again(owner);
                    }
                }
                Order::Refuse(_) | Order::NoRoom(_) => panic!("all sizes fit, and all wait"),
                Order::CreateStem { id, memory, .. } => {
                    self.containers.insert(id, Container::new(State::Creating, memory.as_mb(), 1, None));
                }
                Order::Evict(id) => {
                    let refused = self.tell_container(id, Life::Evicted) == Todo::Refuse;
                    if refused && self.containers.get(&id).is_some_and(|c| !c.state.is_gone()) {
                        self.tell_pool(PoolEvent::Busy(id));
                    }
                }
            }
        }
        if self.pool.appetite() > appetite {
            self.report_idle();
        }
        let memory: u64 = self.containers.values().map(|container| container.memory).sum();
        assert!(memory <= CAPACITY, "I1");
    }

    /// A claimed stem cell had ended: the request comes again.
    fn request_again(&mut self, owner: (usize, u64)) {
        self.tell_queue(owner.0, Event::StartWithdrawn { revision: owner.1 });
    }

    fn pending(&self) -> Vec<Pending> {
        let containers = self.containers.iter().filter(|(_, container)| {
            matches!(
                container.state,
                State::Creating | State::Initializing | State::Freezing | State::Stopping
            )
        });
        let calls = self.running.iter().filter(|(_, running)| running.inside);
        containers
            .map(|(id, _)| Pending::Container(*id))
            .chain(calls.map(|((action, number), _)| Pending::Call(*action, *number)))
            .collect()
    }

    fn proceed(&mut self, pending: Pending, well: bool) {
        match pending {
            Pending::Call(action, number) => {
                let Some(running) = self.running.remove(&(action, number)) else { return };
                let id = running.slot.container;
                let fit =
                    well && !matches!(self.containers.get(&id).map(|c| c.state), Some(State::Broken { .. }));
                self.ended += 1;
                self.tell_container(id, Life::Returned { fit });
                self.free(running.action, running.slot.place, fit);
            }
            Pending::Container(id) => self.proceed_container(id, well),
        }
    }

    fn proceed_container(&mut self, id: u64, well: bool) {
        let Some(container) = self.containers.get(&id) else { return };
        let owner = container.owner;
        match container.state {
            State::Creating if well => {
                self.tell_container(id, Life::Created);
                match owner {
                    None => self.tell_pool(PoolEvent::StemUp(id)),
                    Some(_) => {
                        self.tell_container(id, Life::Claimed);
                    }
                }
            }
            State::Creating => {
                self.tell_container(id, Life::NotCreated);
                if let Some((action, revision)) = owner {
                    self.tell_queue(action, Event::StartFailed { revision });
                }
            }
            State::Initializing => {
                let (action, revision) = owner.unwrap();
                let event = if well { Life::Initialized } else { Life::NotInitialized };
                self.tell_container(id, event);
                if !well {
                    self.tell_queue(action, Event::StartFailed { revision });
                    return;
                }
                self.tell_pool(PoolEvent::Made(id));
                let slots = self.actions[action].slots;
                self.containers.get_mut(&id).unwrap().served = true;
                self.tell_queue(
                    action,
                    Event::Started {
                        container: id,
                        id,
                        slots,
                        revision,
                        init_time: Duration::from_millis(3),
                        cold_estimate: Duration::from_millis(50),
                    },
                );
                // It may have been evicted before its scheduler knew of it.
                if self.containers.get(&id).is_none_or(|container| container.state.is_gone()) {
                    self.tell_queue(action, Event::Gone { id });
                }
            }
            State::Freezing => {
                self.containers.get_mut(&id).unwrap().frozen = well;
                self.tell_container(id, Life::Froze { done: well });
            }
            State::Stopping => {
                self.tell_container(id, Life::Stopped);
            }
            _ => {}
        }
    }

    fn apply(&mut self, step: Move) {
        match step {
            Move::Arrive { action } => {
                self.arrived += 1;
                self.arrive(action, Turn::Last);
            }
            Move::Update { action } => {
                self.actions[action].revision += 1;
                let shape = self.actions[action].shape();
                self.tell_queue(action, Event::Updated(shape));
            }
            Move::Proceed { which, well } => {
                let pending = self.pending();
                if let Some(pending) = pending.get(which % pending.len().max(1)) {
                    self.proceed(*pending, well);
                }
            }
            Move::Exit { which } => {
                if let Some(id) = self.containers.keys().nth(which).copied() {
                    self.tell_container(id, Life::Exited);
                }
            }
            Move::Pause { which } => {
                if let Some(id) = self.containers.keys().nth(which).copied() {
                    self.tell_container(id, Life::Paused);
                }
            }
            Move::Wake { action } => {
                if let Some(at) = self.actions[action].wake_at.take() {
                    self.now = self.now.max(at);
                    self.tell_queue(action, Event::Woken);
                }
            }
            Move::GiveUp { action, number } => {
                let before = self.actions[action].queue.queued();
                self.tell_queue(action, Event::Abandoned { number });
                let after = self.actions[action].queue.queued();
                self.ended += u64::from(after < before);
            }
            Move::Withdraw { which } => {
                if let Some((id, (action, revision))) =
                    self.requests.iter().nth(which).map(|(id, r)| (*id, *r))
                {
                    self.requests.remove(&id);
                    self.tell_pool(PoolEvent::Withdrawn(id));
                    self.tell_queue(action, Event::StartWithdrawn { revision });
                }
            }
            Move::Pass { millis } => {
                self.now += millis;
                self.pool_timer();
            }
            Move::Press { is_pressed } => self.tell_pool(PoolEvent::Pressed(is_pressed)),
            Move::Change { stems, image } => {
                self.tell_pool(PoolEvent::Changed(Arc::new(manifest(stems, image))));
            }
        }
        self.check();
    }

    fn pool_timer(&mut self) {
        if self.pool.due().is_some_and(|due| due <= Duration::from_millis(self.now)) {
            self.tell_pool(PoolEvent::Due);
        }
    }

    fn check(&self) {
        let queued: usize = self.actions.iter().map(|action| action.queue.queued()).sum();
        assert_eq!(
            self.arrived,
            queued as u64 + self.running.len() as u64 + self.ended,
            "I3: waiting, running or over"
        );
        let memory: u64 = self.containers.values().map(|container| container.memory).sum();
        assert_eq!(self.pool.used(), ByteSize::mb(memory), "I1: the books are right");
    }

    /// Nothing new comes; what is pending goes on, well; timers fire.
    fn come_to_rest(&mut self) {
        for round in 0..20_000 {
            self.now += 10;
            self.pool_timer();
            match self.pending().first() {
                Some(pending) => self.proceed(*pending, true),
                None if self.running.is_empty() && self.actions.iter().all(|a| a.queue.queued() == 0) => {
                    return;
                }
                None => {
                    for action in 0..ACTIONS {
                        self.apply(Move::Wake { action });
                    }
                    for which in 0..self.containers.len() {
                        self.apply(Move::Pause { which });
                    }
                }
            }
            self.check();
            assert!(round < 19_999, "somebody waits for ever");
        }
    }
}

const BOUNDS: Bounds = Bounds { waiting: 30, bytes: 1000, starting: 4 };

/// Both policies, side by side.
fn scaling(index: usize) -> Arc<dyn Scaling> {
    if index.is_multiple_of(2) { Arc::new(EventDriven) } else { Arc::new(Sharding) }
}

impl Action {
    fn new(index: usize) -> Self {
        let namespace = ["a", "b", "c"][index % 3];
        let key = ActionKey {
            namespace: EntityName::new(namespace).unwrap(),
            action: FullyQualifiedName::parse(&format!("{namespace}/x{index}")).unwrap(),
            environment: None,
            network: NetworkPolicy::Internet,
            superseded: None,
        };
        let slots = [1, 3][index % 2];
        let memory = [128, 256, 512][index % 3];
        let shape = Shape {
            revision: 1,
            concurrency: slots,
            instances: (index == 4).then_some(1),
            cold_estimate: Duration::from_millis(50),
            scaling: scaling(index),
        };
        Self {
            key,
            queue: Queue::new(shape, BOUNDS),
            revision: 1,
            slots,
            memory,
            wake_at: None,
            scaling: scaling(index),
        }
    }

    fn shape(&self) -> Shape {
        Shape {
            revision: self.revision,
            concurrency: self.slots,
            instances: None,
            cold_estimate: Duration::from_millis(50),
            scaling: Arc::clone(&self.scaling),
        }
    }
}

impl Container {
    fn new(state: State, memory: u64, slots: u32, owner: Option<(usize, u64)>) -> Self {
        Self { state, memory, slots, owner, frozen: false, served: false }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everybody_ends_whatever_happens(moves in moves()) {
        let mut world = World::new();
        for step in moves {
            world.apply(step);
        }
        world.come_to_rest();
        prop_assert_eq!(world.arrived, world.ended);
        prop_assert!(world.requests.is_empty() || world.pool.appetite() > Appetite::None);
    }
}
