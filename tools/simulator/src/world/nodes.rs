//! Nodes: pools, and what pools ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chasen_entity::{ByteSize, Manifest};
use chasen_invoker::container::state::{Effect as Asked, Event as Life};
use chasen_invoker::pool::{
    Appetite, ContainerId, Effect, Event as PoolEvent, Pool, PoolConfig, Request, Worth,
};
use chasen_invoker::{InvokerConfig, smoothed};
use chasen_spi::{InvokerState, NodeView};

use super::clock::{Planned, Serial};
use super::{NodeSetup, Todo, World, kinds};
use crate::number::from_duration;
use crate::trace::{Micros, SECOND};

/// Part of a processor that a running function uses on the average.
const PROCESSOR_SHARE: f64 = 0.25;
/// How often a node looks at the pressure on its processors.
const LOOK: Micros = SECOND;

/// A request for memory that waits.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) action: usize,
    pub(super) siblings: u32,
    /// Nodes that may take it, too.
    pub(super) others: Vec<usize>,
}

/// A container that went with its node, and its action if it had one.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) serial: Serial,
    pub(super) action: Option<usize>,
    /// Its queue had got it; else its start is still waited for.
    pub(super) is_known: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: InvokerConfig,
    cores: u32,
    pub(super) pool: Pool,
    pub(super) is_up: bool,
    /// Times that it came up; timers of earlier lives mean nothing.
    pub(super) life: u64,
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Requests that nobody may need any more.
    pub(super) doubtful: BTreeSet<u64>,
    next_request: u64,
    pub(super) containers: BTreeMap<ContainerId, Serial>,
    estimates: BTreeMap<String, Duration>,
    due: Option<Micros>,
    is_pressed: bool,
    /// Containers in the making, and calls that run.
    pub(super) making: u32,
    pub(super) running: u32,
    /// Memory of idle containers, in bytes.
    pub(super) idle: u64,
    pub(super) lost: Vec<Lost>,
    pub(super) lost_requests: Vec<Pending>,
    pub(super) down_since: Option<Micros>,
}

impl Node {
    pub(super) fn new(setup: &NodeSetup, manifest: &Manifest) -> Self {
        let processors = usize::try_from(setup.cores).unwrap_or(1);
        let config = InvokerConfig {
            memory: setup.memory,
            quiet_below: (processors / 2).max(1),
            ..InvokerConfig::default()
        };
        Self {
            pool: Pool::new(bounds(&config), manifest),
            config,
            cores: setup.cores.max(1),
            is_up: true,
            life: 0,
            pending: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            next_request: 1,
            containers: BTreeMap::new(),
            estimates: BTreeMap::new(),
            due: None,
            is_pressed: false,
            making: 0,
            running: 0,
            idle: 0,
            lost: Vec::new(),
            lost_requests: Vec::new(),
            down_since: None,
        }
    }

    /// Nothing is on it any more.
    pub(super) fn clear(&mut self, manifest: &Manifest) {
        self.pool = Pool::new(bounds(&self.config), manifest);
        self.life += 1;
        self.doubtful.clear();
        self.containers.clear();
        (self.making, self.running, self.idle) = (0, 0, 0);
        (self.due, self.is_pressed) = (None, false);
    }

    /// Work ÷ processors.
    pub(super) fn crowd(&self) -> f64 {
        (f64::from(self.making) + PROCESSOR_SHARE * f64::from(self.running)) / f64::from(self.cores)
    }

    /// Part of the time in which somebody waits for a processor, in percent.
    fn pressure(&self) -> f64 {
        100.0 * (1.0 - 1.0 / self.crowd().max(1.0))
    }

    pub(super) fn estimate(&self, kind: &str) -> Duration {
        self.estimates.get(kind).copied().unwrap_or_else(|| kinds::guess(kind))
    }

    /// Takes a measured start into the mean.
    pub(super) fn measured(&mut self, kind: &str, time: Micros) {
        let mean = smoothed(self.estimate(kind), Duration::from_micros(time));
        self.estimates.insert(kind.to_owned(), mean);
    }

    /// What does not change of it, for placement.
    pub(super) fn view(at: usize, setup: &NodeSetup, manifest: &Manifest) -> NodeView {
        NodeView {
            id: format!("node{at}"),
            state: InvokerState::Up,
            memory: setup.memory,
            free: setup.memory,
            idle: ByteSize::bytes(0),
            waiting: 0,
            labels: BTreeSet::new(),
            dedicated: setup.dedicated.iter().cloned().collect(),
            cpu_pressure: 0.0,
            kinds: manifest.kinds().map(|kind| kind.kind.clone()).collect(),
            stems: BTreeSet::new(),
            images: BTreeSet::new(),
        }
    }

    /// What does.
    pub(super) fn look(&self, view: &mut NodeView) {
        view.state = if self.is_up { InvokerState::Up } else { InvokerState::Unhealthy };
        let free = self.config.memory.as_bytes().saturating_sub(self.pool.used().as_bytes());
        view.free = ByteSize::bytes(free);
        view.idle = ByteSize::bytes(self.idle);
        view.waiting = self.pool.waiting();
        view.cpu_pressure = self.pressure();
        view.stems = self.pool.stems().map(|(kind, memory)| (kind.to_owned(), memory)).collect();
    }
}

fn bounds(config: &InvokerConfig) -> PoolConfig {
    PoolConfig {
        capacity: config.memory,
        reserve: config.reserve(),
        quiet_below: config.quiet_below,
        burst: config.burst,
    }
}

impl World<'_> {
    pub(super) fn plan_node_timers(&mut self, at: usize) {
        let Some(node) = self.nodes.get(at) else { return };
        let first = from_duration(node.config.stem_check_delay);
        self.clock.plan(first, Planned::Adjust { node: at, life: node.life });
        self.clock.plan(LOOK, Planned::Look { node: at, life: node.life });
    }

    /// The node of a timer, if it is still the same one.
    fn living(&mut self, at: usize, life: u64) -> Option<&mut Node> {
        self.nodes.get_mut(at).filter(|node| node.life == life && node.is_up)
    }

    pub(super) fn adjust(&mut self, at: usize, life: u64) {
        let Some(node) = self.living(at, life) else { return };
        let interval = from_duration(node.config.stem_check_interval);
        self.clock.plan(interval, Planned::Adjust { node: at, life });
        self.tell_pool(at, PoolEvent::Adjust);
    }

    pub(super) fn look(&mut self, at: usize, life: u64) {
        let Some(node) = self.living(at, life) else { return };
        let is_pressed = node.pressure() >= node.config.most_pressure;
        let has_changed = is_pressed != std::mem::replace(&mut node.is_pressed, is_pressed);
        self.clock.plan(LOOK, Planned::Look { node: at, life });
        if has_changed {
            self.tell_pool(at, PoolEvent::Pressed(is_pressed));
        }
    }

    pub(super) fn due(&mut self, at: usize, life: u64) {
        let Some(node) = self.living(at, life) else { return };
        node.due = None;
        self.tell_pool(at, PoolEvent::Due);
    }

    /// The guess at a start of the most hopeful node: work goes where it starts soonest.
    pub(super) fn cold_estimate(&self, kind: &str) -> Duration {
        self.nodes.iter().map(|node| node.estimate(kind)).min().unwrap_or_default()
    }

    /// Asks a node for memory; false if it has none now and the request does not wait.
    pub(super) fn ask(&mut self, at: usize, pending: Pending, waits: bool) -> bool {
        let Some(spec) = self.trace.actions().get(pending.action) else { return false };
        let (action, siblings) = (pending.action, pending.siblings);
        let Some(node) = self.nodes.get_mut(at) else { return false };
        let id = node.next_request;
        node.next_request += 1;
        node.pending.insert(id, pending);
        if let Some(state) = self.actions.get_mut(action) {
            state.requests.insert((at, id));
        }
        let granted = self.tally.containers.granted;
        self.tell_pool(
            at,
            PoolEvent::Requested(Request {
                id,
                key: spec.key.clone(),
                kind: spec.kind.clone(),
                image: None,
                memory: spec.memory,
                siblings,
                waits,
            }),
        );
        waits || self.tally.containers.granted > granted
    }

    /// Takes a request out of the books.
    pub(super) fn take_request(&mut self, at: usize, id: u64) -> Option<Pending> {
        let pending = self.nodes.get_mut(at)?.pending.remove(&id)?;
        if let Some(state) = self.actions.get_mut(pending.action) {
            state.requests.remove(&(at, id));
        }
        self.roaming.remove(at, id);
        Some(pending)
    }

    /// Tells a pool of an event and does what it asks for.
    pub(super) fn tell_pool(&mut self, at: usize, event: PoolEvent) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            let now = Duration::from_micros(self.clock.now);
            let frees = matches!(event, PoolEvent::Dead { .. });
            self.withdraw_doubtful(at, &mut effects);
            let Some(node) = self.nodes.get_mut(at) else { return };
            let before = node.pool.appetite();
            node.pool.step(event, now, &mut effects);
            let has_grown = node.pool.appetite() > before;
            // Rounded up: what is due within this microsecond is not due yet.
            if let Some(due) = node.pool.due().map(|due| from_duration(due).saturating_add(1))
                && node.due.is_none_or(|planned| due < planned)
            {
                node.due = Some(due);
                self.clock.plan_at(due, Planned::Due { node: at, life: node.life });
            }
            for effect in effects {
                events.extend(self.carry_out(at, effect));
            }
            if has_grown {
                events.push(PoolEvent::Idle(self.idle_ones(at)));
            }
            if frees {
                self.todo.push_back(Todo::Room(at));
            }
        }
    }

    /// Takes requests back that nobody needs any more.
    fn withdraw_doubtful(&mut self, at: usize, effects: &mut Vec<Effect>) {
        let now = Duration::from_micros(self.clock.now);
        let doubtful =
            self.nodes.get_mut(at).map(|node| std::mem::take(&mut node.doubtful)).unwrap_or_default();
        for id in doubtful {
            let action =
                self.nodes.get(at).and_then(|node| node.pending.get(&id)).map(|pending| pending.action);
            let Some(action) = action.filter(|action| self.queued(*action) == 0) else { continue };
            self.take_request(at, id);
            self.todo.push_back(Todo::StartWithdrawn { action });
            if let Some(node) = self.nodes.get_mut(at) {
                node.pool.step(PoolEvent::Withdrawn(id), now, effects);
            }
        }
    }

    fn carry_out(&mut self, at: usize, effect: Effect) -> Vec<PoolEvent> {
        match effect {
            Effect::Create(request, id) => {
                let Some(pending) = self.take_request(at, request) else {
                    return vec![PoolEvent::Dead { id, failed: false }];
                };
                self.tally.containers.granted += 1;
                self.make(at, id, Some(pending));
            }
            Effect::Claim(request, id) => {
                let pending = self.take_request(at, request);
                match (self.serial(at, id), pending) {
                    (Some(serial), Some(pending)) => {
                        self.tally.containers.granted += 1;
                        self.claim_stem(serial, &pending);
                    }
                    (Some(serial), None) => drop(self.apply(serial, Life::Evicted)),
                    (None, _) => {}
                }
            }
            Effect::Refuse(request) => {
                if let Some(Pending { action, .. }) = self.take_request(at, request) {
                    self.todo.push_back(Todo::StartFailed { action });
                }
            }
            Effect::NoRoom(request) => drop(self.take_request(at, request)),
            Effect::CreateStem { id, kind, memory } => self.make_stem(at, id, &kind, memory),
            Effect::Evict(id) => {
                if let Some(serial) = self.serial(at, id) {
                    return self.evict(serial, id);
                }
            }
        }
        Vec::new()
    }

    fn serial(&self, at: usize, id: ContainerId) -> Option<Serial> {
        self.nodes.get(at)?.containers.get(&id).copied()
    }

    /// Has a container go if it is idle still; what the pool is to be told else, the last first.
    fn evict(&mut self, serial: Serial, id: ContainerId) -> Vec<PoolEvent> {
        let worth = self.worth(serial);
        let Some(node) = self.containers.get(&serial).and_then(|one| self.nodes.get(one.node)) else {
            return Vec::new();
        };
        if let Some(worth) = worth.filter(|worth| !node.pool.may_go(id, worth)) {
            // It has been used since it was told to be idle.
            return vec![PoolEvent::Idle(vec![(id, worth)]), PoolEvent::Busy(id)];
        }
        let refused = self.apply(serial, Life::Evicted) == Asked::Refuse;
        let is_there = self.containers.get(&serial).is_some_and(|it| !it.state.is_gone());
        if refused && is_there {
            return vec![PoolEvent::Busy(id)];
        }
        let is_owned = self.containers.get(&serial).is_some_and(|container| container.owner.is_some());
        self.tally.containers.evicted += u64::from(!refused && is_owned);
        Vec::new()
    }

    fn idle_ones(&self, at: usize) -> Vec<(ContainerId, Worth)> {
        let Some(node) = self.nodes.get(at) else { return Vec::new() };
        let idle = node.containers.iter().filter_map(|(id, serial)| Some((*id, self.worth(*serial)?)));
        idle.collect()
    }

    /// True if the pool of a container's node wants to hear of such ones.
    pub(super) fn is_wanted(&self, at: usize, containers: Appetite) -> bool {
        self.nodes.get(at).is_some_and(|node| node.pool.appetite() >= containers)
    }
}
