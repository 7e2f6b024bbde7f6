//! Actions and their queues: what a queue's steps ask for, and who still needs what it asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chasen_scheduler::queue::{Admission, Bounds, Effects, Event, Queue, Shape};
use chasen_spi::Need;

use super::clock::{CallId, Planned, Serial};
use super::{Todo, World};
use crate::report::Ending;
use crate::trace::{Action, Micros};

/// The only state of an action in a trace.
pub(super) const REVISION: u64 = 1;
/// A millisecond, the unit of queues.
const MILLI: Micros = 1000;

/// An action of the trace as the platform knows it.
#[derive(Debug)]
pub(super) struct ActionState {
    /// Place of its namespace.
    pub(super) namespace: usize,
    pub(super) need: Need,
    /// There is none while nothing of the action is in flight and no container is there.
    pub(super) queue: Option<Queue<Serial, CallId>>,
    /// Queues that it had, for timers of earlier ones.
    life: u64,
    /// Requests for memory that are under way, by node.
    pub(super) requests: BTreeSet<(usize, u64)>,
}

impl ActionState {
    pub(super) fn new(action: &Action, namespace: usize) -> Self {
        let need = Need {
            namespace: action.key.namespace.clone(),
            action: action.key.action.to_string(),
            kind: action.kind.clone(),
            image: None,
            memory: action.memory,
            labels: Vec::new(),
            strict: true,
        };
        Self { namespace, need, queue: None, life: 0, requests: BTreeSet::new() }
    }
}

impl World<'_> {
    pub(super) fn action(&self, action: usize) -> Option<&Action> {
        self.trace.actions().get(action)
    }

    /// Tells a queue of an event. An action without one gets one for an arrival.
    pub(super) fn tell_queue(
        &mut self,
        action: usize,
        event: Event<Serial, CallId>,
    ) -> Option<Admission<Serial>> {
        let now = self.clock.now / MILLI;
        if matches!(event, Event::Arrived { .. }) {
            self.open_queue(action);
        }
        let state = self.actions.get_mut(action)?;
        let queue = state.queue.as_mut()?;
        let mut effects = Effects::default();
        queue.step(event, now, &mut effects);
        let is_needed = queue.queued() > 0;
        let others = u32::try_from(queue.containers()).unwrap_or(u32::MAX).saturating_sub(effects.starts);
        let life = state.life;
        if effects.closed {
            state.queue = None;
            state.life += 1;
        }
        if !is_needed && !state.requests.is_empty() {
            for (node, request) in &state.requests {
                if let Some(node) = self.nodes.get_mut(*node) {
                    node.doubtful.insert(*request);
                }
            }
        }
        for (call, slot) in effects.assigned {
            self.todo.push_back(Todo::Enter(call, slot));
        }
        for call in effects.failed {
            self.end(call, Ending::Failed);
        }
        for serial in effects.retired {
            self.retire(serial);
        }
        for turn in 0..effects.starts {
            self.todo.push_back(Todo::Start { action, siblings: others.saturating_add(turn) });
        }
        if let Some(at) = effects.wake_at {
            self.clock.plan_at(at.saturating_mul(MILLI), Planned::Woken { action, life });
        }
        effects.admission
    }

    fn open_queue(&mut self, action: usize) {
        let Some(spec) = self.trace.actions().get(action) else { return };
        let cold_estimate = self.cold_estimate(&spec.kind);
        let config = &self.setup.scheduler;
        let bounds = Bounds {
            waiting: config.max_queued,
            bytes: config.max_queued_bytes,
            starting: config.max_starting,
        };
        let shape = Shape {
            revision: REVISION,
            concurrency: spec.concurrency,
            instances: None,
            cold_estimate,
            scaling: Arc::clone(&self.policy.scaling),
        };
        if let Some(state) = self.actions.get_mut(action)
            && state.queue.is_none()
        {
            state.queue = Some(Queue::new(shape, bounds));
        }
    }

    pub(super) fn queued(&self, action: usize) -> usize {
        self.actions.get(action).and_then(|state| state.queue.as_ref()).map_or(0, Queue::queued)
    }

    pub(super) fn woken(&mut self, action: usize, life: u64) {
        if self.actions.get(action).is_some_and(|state| state.life == life) {
            self.tell_queue(action, Event::Woken);
        }
    }

    pub(super) fn start_failed(&mut self, action: usize) {
        self.tell_queue(action, Event::StartFailed { revision: REVISION });
    }

    pub(super) fn start_withdrawn(&mut self, action: usize) {
        self.tell_queue(action, Event::StartWithdrawn { revision: REVISION });
    }

    /// A container of an action serves.
    pub(super) fn started(&mut self, action: usize, serial: Serial, init_time: Micros) {
        let Some(spec) = self.action(action) else { return };
        let (slots, cold_estimate) = (spec.concurrency, self.cold_estimate(&spec.kind));
        let event = Event::Started {
            container: serial,
            id: serial,
            slots,
            revision: REVISION,
            init_time: Duration::from_micros(init_time),
            cold_estimate,
        };
        let is_open = self.actions.get(action).is_some_and(|state| state.queue.is_some());
        self.demand(is_open, "I3", || format!("action {action} starts containers without a queue"));
        self.tell_queue(action, event);
    }
}
