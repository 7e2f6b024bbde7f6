//! Containers: the state of each, and the work between its states.

use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_invoker::container::state::{Effect, Event as Life, State, step};
use chasen_invoker::pool::{Appetite, ContainerId, Event as PoolEvent, Worth};
use chasen_scheduler::queue::Event;

use super::clock::{CallId, Planned, Serial};
use super::nodes::Pending;
use super::{Todo, World, kinds};
use crate::number::from_duration;
use crate::trace::Micros;

/// A container of a node.
#[derive(Debug)]
pub(super) struct SimulatedContainer {
    pub(super) node: usize,
    pub(super) id: ContainerId,
    pub(super) state: State,
    pub(super) memory: ByteSize,
    pub(super) slots: u32,
    kind: String,
    /// Action that it serves; a stem cell has none.
    pub(super) owner: Option<usize>,
    /// Containers that the action had when it asked for this one.
    siblings: u32,
    pub(super) was_stem: bool,
    /// Its queue has got it.
    pub(super) is_known: bool,
    uses: u64,
    begun: Micros,
    init_begun: Micros,
    serving_since: Micros,
    /// Since when nothing runs in it.
    idle_since: Micros,
    keeper_waits: bool,
    /// When its keeper is woken at the latest.
    timer: Option<Micros>,
    is_stopping: bool,
    /// Calls that wait for a freeze or thaw to end.
    pub(super) knocking: Vec<CallId>,
}

/// True while it holds memory for nothing that runs.
fn rests(state: State) -> bool {
    state.is_idle() || state == State::Stem
}

fn is_made(state: State) -> bool {
    matches!(state, State::Reserved | State::Creating | State::Initializing)
}

impl World<'_> {
    /// Makes a container for a request.
    pub(super) fn make(&mut self, at: usize, id: ContainerId, pending: Option<Pending>) {
        let Some(pending) = pending else { return };
        let Some(spec) = self.action(pending.action) else { return };
        let (kind, memory, slots) = (spec.kind.clone(), spec.memory, spec.concurrency.max(1));
        self.open(at, id, &kind, memory, Some(&pending), slots);
    }

    pub(super) fn make_stem(&mut self, at: usize, id: ContainerId, kind: &str, memory: ByteSize) {
        self.open(at, id, kind, memory, None, 1);
    }

    fn open(
        &mut self,
        at: usize,
        id: ContainerId,
        kind: &str,
        memory: ByteSize,
        pending: Option<&Pending>,
        slots: u32,
    ) {
        let now = self.clock.now;
        let serial = self.next_serial;
        self.next_serial += 1;
        let container = SimulatedContainer {
            node: at,
            id,
            state: State::Reserved,
            memory,
            slots,
            kind: kind.to_owned(),
            owner: pending.map(|pending| pending.action),
            siblings: pending.map_or(0, |pending| pending.siblings),
            was_stem: pending.is_none(),
            is_known: false,
            uses: 0,
            begun: now,
            init_begun: now,
            serving_since: now,
            idle_since: now,
            keeper_waits: false,
            timer: None,
            is_stopping: false,
            knocking: Vec::new(),
        };
        self.containers.insert(serial, container);
        self.tally.holds(memory.as_mb(), now);
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.containers.insert(id, serial);
        node.making += 1;
        let time = kinds::creation(kind, node.crowd(), &mut self.random);
        self.apply(serial, Life::Creation);
        self.clock.plan(time, Planned::Created(serial));
    }

    /// Takes an event into a container, and says what is to be done; a container that is not there refuses.
    pub(super) fn apply(&mut self, serial: Serial, event: Life) -> Effect {
        let now = self.clock.now;
        let Some(container) = self.containers.get_mut(&serial) else { return Effect::Refuse };
        let before = container.state;
        let (after, effect) = step(before, event, container.slots);
        container.state = after;
        container.uses += u64::from(effect == Effect::Run);
        let mut wake = effect == Effect::Stop;
        match event {
            Life::Initialized => {
                container.serving_since = now;
                wake = true;
            }
            Life::Thawed { .. } => wake = true,
            Life::Returned { .. } if after == (State::Ready { running: 0 }) => {
                wake |= std::mem::take(&mut container.keeper_waits);
            }
            _ => {}
        }
        let (at, memory) = (container.node, container.memory);
        if rests(after) && !rests(before) {
            container.idle_since = now;
        } else if rests(before) && !rests(after) {
            let time = now.saturating_sub(container.idle_since);
            self.tally.idled(memory.as_mb(), time, after.is_gone());
        }
        if let Some(node) = self.nodes.get_mut(at) {
            node.making = node.making + u32::from(is_made(after)) - u32::from(is_made(before));
            node.running = node.running + after.running() - before.running();
            node.idle = match (before.is_idle(), after.is_idle()) {
                (false, true) => node.idle + memory.as_bytes(),
                (true, false) => node.idle.saturating_sub(memory.as_bytes()),
                _ => node.idle,
            };
        }
        let is_well = after.running() <= self.containers.get(&serial).map_or(0, |container| container.slots);
        self.demand(is_well, "I2", || {
            format!("container {serial} runs more calls than it has slots: {after:?}")
        });
        self.announce(serial, at, before, after, wake);
        effect
    }

    fn announce(&mut self, serial: Serial, at: usize, before: State, after: State, wake: bool) {
        if before != after {
            if matches!(before, State::Freezing | State::Thawing) {
                self.todo.push_back(Todo::Settled(serial));
            }
            if after.is_gone() && !before.is_gone() {
                self.todo.push_back(Todo::Gone(serial));
            }
            let is_told = match after {
                State::Frozen => self.is_wanted(at, Appetite::Resting),
                State::Ready { running: 0 } => self.is_wanted(at, Appetite::Idle),
                _ => false,
            };
            if is_told {
                self.todo.push_back(Todo::Idle(serial));
            }
        }
        if wake {
            self.todo.push_back(Todo::Keep(serial));
        }
    }

    pub(super) fn created(&mut self, serial: Serial) {
        self.apply(serial, Life::Created);
        let Some(container) = self.containers.get(&serial) else { return };
        let (at, id) = (container.node, container.id);
        match (container.state, container.owner) {
            (State::Stem, Some(_)) => self.initialize(serial),
            (State::Stem, None) => self.tell_pool(at, PoolEvent::StemUp(id)),
            _ => {}
        }
    }

    /// An action gets a stem cell.
    pub(super) fn claim_stem(&mut self, serial: Serial, pending: &Pending) {
        let slots = self.action(pending.action).map_or(1, |spec| spec.concurrency.max(1));
        if let Some(container) = self.containers.get_mut(&serial) {
            let owner = container.owner.replace(pending.action);
            (container.slots, container.siblings) = (slots, pending.siblings);
            container.begun = self.clock.now;
            self.demand(owner.is_none(), "I4", || format!("container {serial} is claimed twice"));
        }
        self.initialize(serial);
    }

    fn initialize(&mut self, serial: Serial) {
        let has_begun = self.apply(serial, Life::Claimed) == Effect::Initialize;
        let Some(container) = self.containers.get_mut(&serial) else { return };
        container.init_begun = self.clock.now;
        let (action, siblings) = (container.owner, container.siblings);
        if has_begun {
            let crowd = self.nodes.get(container.node).map_or(1.0, |node| node.crowd());
            let time = kinds::initialisation(&container.kind, crowd, &mut self.random);
            self.clock.plan(time, Planned::Initialized(serial));
        } else if let Some(action) = action {
            // It ended before it could be claimed: ask again.
            self.todo.push_back(Todo::Start { action, siblings });
        }
    }

    pub(super) fn initialized(&mut self, serial: Serial) {
        self.apply(serial, Life::Initialized);
        let now = self.clock.now;
        let Some(container) = self.containers.get_mut(&serial) else { return };
        let Some(action) = container.owner else { return };
        if container.state.is_gone() {
            return self.todo.push_back(Todo::StartFailed { action });
        }
        container.is_known = true;
        let (at, id, kind) = (container.node, container.id, container.kind.clone());
        let (whole, init) = (now.saturating_sub(container.begun), now.saturating_sub(container.init_begun));
        if let Some(node) = self.nodes.get_mut(at) {
            node.measured(&kind, whole);
        }
        self.tell_pool(at, PoolEvent::Made(id));
        self.started(action, serial, init);
    }

    fn freeze(&mut self, serial: Serial) {
        if self.apply(serial, Life::Paused) == Effect::Freeze {
            self.clock.plan(kinds::FREEZE, Planned::Froze(serial));
        }
    }

    pub(super) fn froze(&mut self, serial: Serial) {
        self.apply(serial, Life::Froze { done: true });
        self.keep(serial);
    }

    pub(super) fn retire(&mut self, serial: Serial) {
        self.apply(serial, Life::Retired);
    }

    /// A container takes no more work.
    pub(super) fn gone(&mut self, serial: Serial) {
        let known = self.containers.get(&serial).filter(|container| container.is_known);
        if let Some(action) = known.and_then(|container| container.owner) {
            self.tell_queue(action, Event::Gone { id: serial });
        }
    }

    /// What makes it worth keeping, if it is idle. One that was not used yet is not idle before it is frozen.
    pub(super) fn worth(&self, serial: Serial) -> Option<Worth> {
        let container = self.containers.get(&serial)?;
        let resting = container.state == State::Frozen;
        let since = |time: Micros| Duration::from_micros(self.clock.now.saturating_sub(time));
        let is_idle = container.state.is_idle() && (resting || container.uses > 0);
        is_idle.then(|| Worth {
            resting,
            uses: container.uses,
            age: since(container.serving_since),
            idle: since(container.idle_since),
            cold_start: self
                .nodes
                .get(container.node)
                .map_or(Duration::ZERO, |node| node.estimate(&container.kind)),
        })
    }

    pub(super) fn idle(&mut self, serial: Serial) {
        let Some(worth) = self.worth(serial) else { return };
        let Some((at, id)) = self.containers.get(&serial).map(|container| (container.node, container.id))
        else {
            return;
        };
        self.tell_pool(at, PoolEvent::Idle(vec![(id, worth)]));
    }

    /// Looks after a container as its keeper does: freezes it, ends it, stops it.
    pub(super) fn keep(&mut self, serial: Serial) {
        let now = self.clock.now;
        let Some(container) = self.containers.get_mut(&serial) else { return };
        if container.timer.is_some_and(|timer| timer <= now) {
            container.timer = None;
        }
        let (at, id, idle_since) = (container.node, container.id, container.idle_since);
        let Some(config) = self.nodes.get(at).map(|node| &node.config) else { return };
        let grace = idle_since.saturating_add(from_duration(config.pause_grace));
        let end = idle_since.saturating_add(from_duration(config.idle_container));
        match container.state {
            State::Ready { running: 0 } if now >= grace => self.freeze(serial),
            State::Ready { running: 0 } => self.keep_at(serial, grace),
            State::Ready { .. } => container.keeper_waits = true,
            State::Frozen if now >= end => {
                let evicted = self.tally.containers.evicted;
                self.tell_pool(at, PoolEvent::Expired { id, keep: 0 });
                // The pool has it go as it has others go.
                self.tally.containers.expired += self.tally.containers.evicted - evicted;
                self.tally.containers.evicted = evicted;
            }
            State::Frozen => self.keep_at(serial, end),
            State::Stopping if !container.is_stopping => {
                container.is_stopping = true;
                self.tell_pool(at, PoolEvent::Stopping(id));
                self.clock.plan(kinds::STOP, Planned::Stopped(serial));
            }
            _ => {}
        }
    }

    /// One timer is under way at most, unless a sooner one is needed.
    fn keep_at(&mut self, serial: Serial, at: Micros) {
        if let Some(container) = self.containers.get_mut(&serial)
            && container.timer.is_none_or(|timer| timer > at)
        {
            container.timer = Some(at);
            self.clock.plan_at(at, Planned::Keep(serial));
        }
    }

    pub(super) fn stopped(&mut self, serial: Serial) {
        self.apply(serial, Life::Stopped);
        if let Some((at, id)) = self.forget(serial) {
            self.tell_pool(at, PoolEvent::Dead { id, failed: false });
        }
    }

    /// Nothing is left of it.
    pub(super) fn forget(&mut self, serial: Serial) -> Option<(usize, ContainerId)> {
        let container = self.containers.remove(&serial)?;
        self.tally.frees(container.memory.as_mb(), self.clock.now);
        if let Some(node) = self.nodes.get_mut(container.node) {
            node.containers.remove(&container.id);
        }
        Some((container.node, container.id))
    }

    /// Counts what rests at the end: nobody came back to it.
    pub(super) fn close_accounts(&mut self) {
        for container in self.containers.values().filter(|container| rests(container.state)) {
            let time = self.clock.now.saturating_sub(container.idle_since);
            self.tally.idled(container.memory.as_mb(), time, true);
        }
    }
}
