//! Activations: from their arrival to their end.

use std::time::Duration;

use chasen_invoker::container::state::{Effect, Event as Life};
use chasen_scheduler::queue::{Admission, Event, Place, Slot, Turn};

use super::clock::{CallId, Planned, Serial};
use super::{Todo, World, kinds};
use crate::number::from_duration;
use crate::report::Ending;
use crate::trace::{Call, Micros};

/// What an activation holds while it waits, in bytes.
const BYTES: usize = 1024;
/// Time limit of actions: what a start may take beyond the longest wait.
const TIME_LIMIT: Micros = 60 * crate::trace::SECOND;

/// Where an activation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In its queue.
    Waiting,
    /// It has a slot of this container, and no byte was sent.
    Entering(Serial),
    /// It runs in it.
    Running(Serial),
}

/// An activation in flight.
#[derive(Debug)]
pub(super) struct Activation {
    pub(super) action: usize,
    pub(super) namespace: usize,
    at: Micros,
    service: Micros,
    /// Its number in the queue.
    number: u64,
    pub(super) stage: Stage,
    /// When something happens to it that is planned already.
    pub(super) timer: Micros,
    /// It waited longer than it may, because its container is being made.
    is_extended: bool,
    place: Option<Place>,
    is_first: bool,
}

impl World<'_> {
    /// A call at the door.
    pub(super) fn admit(&mut self, call: Call) {
        let Some(namespace) = self.actions.get(call.action).map(|state| state.namespace) else { return };
        let in_flight = self.in_flight.get(namespace).copied().unwrap_or_default();
        if in_flight >= self.setup.concurrent {
            return self.tally.ends(Ending::Throttled);
        }
        if self.waiting > self.setup.scheduler.max_queued_node {
            return self.tally.ends(Ending::Overloaded);
        }
        let id = self.next_call;
        self.next_call += 1;
        let activation = Activation {
            action: call.action,
            namespace,
            at: self.clock.now,
            service: call.service,
            number: 0,
            stage: Stage::Waiting,
            timer: 0,
            is_extended: false,
            place: None,
            is_first: false,
        };
        self.calls.insert(id, activation);
        self.waiting += 1;
        if let Some(in_flight) = self.in_flight.get_mut(namespace) {
            *in_flight += 1;
        }
        // As the scheduler: whoever waits for the result is let in only if a slot is to be expected in time.
        let is_blocking = self.action(call.action).is_some_and(|action| action.blocking);
        let patience = Duration::from_micros(self.longest_wait(call.action).min(TIME_LIMIT));
        self.seek(id, if is_blocking { Turn::InTime(patience) } else { Turn::Last });
    }

    /// Asks for a slot; the call counts as waiting.
    fn seek(&mut self, id: CallId, turn: Turn) {
        let Some(action) = self.calls.get(&id).map(|call| call.action) else { return };
        match self.tell_queue(action, Event::Arrived { bytes: BYTES, turn }) {
            Some(Admission::Run { slot, number }) => {
                self.set_number(id, number);
                self.todo.push_back(Todo::Enter(id, slot));
            }
            Some(Admission::Wait { number }) => {
                self.set_number(id, number);
                let longest = self.longest_wait(action);
                if let Some(call) = self.calls.get_mut(&id)
                    && call.timer <= self.clock.now
                {
                    call.timer = call.at.saturating_add(longest).max(self.clock.now);
                    self.clock.plan_at(call.timer, Planned::Deadline(id));
                }
                self.tell_queue(action, Event::Queued { waiter: id, number, bytes: BYTES });
            }
            Some(Admission::Full | Admission::OverOwnLimit { .. } | Admission::Closed) | None => {
                self.end(id, Ending::Overloaded)
            }
        }
    }

    fn longest_wait(&self, action: usize) -> Micros {
        let is_blocking = self.action(action).is_some_and(|action| action.blocking);
        let config = &self.setup.scheduler;
        from_duration(if is_blocking { config.max_wait_blocking } else { config.max_wait_non_blocking })
    }

    fn set_number(&mut self, id: CallId, number: u64) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.number = number;
        }
    }

    /// Goes into the container of a slot.
    pub(super) fn enter(&mut self, id: CallId, slot: Slot<Serial>) {
        let serial = slot.container;
        let Some(call) = self.calls.get_mut(&id) else {
            return self.demand(false, "I3", || format!("call {id} got a slot after its end"));
        };
        let (action, was_waiting) = (call.action, call.stage == Stage::Waiting);
        call.stage = Stage::Entering(serial);
        call.place = Some(slot.place);
        call.is_first = slot.init_time.is_some();
        self.waiting = self.waiting.saturating_sub(1);
        self.demand(was_waiting, "I3", || format!("call {id} got two slots"));
        let owner = self.containers.get(&serial).map(|container| container.owner);
        self.demand(owner.is_none_or(|owner| owner == Some(action)), "I4", || {
            format!("call {id} of action {action} got a slot of container {serial}, which is of {owner:?}")
        });
        self.knock(id, serial);
    }

    /// Tries to get into the container.
    fn knock(&mut self, id: CallId, serial: Serial) {
        match self.apply(serial, Life::Called) {
            Effect::Run => self.begin(id, serial),
            Effect::Thaw => self.plan_for(id, kinds::THAW, Planned::Thawed(serial, id)),
            Effect::Wait => {
                if let Some(container) = self.containers.get_mut(&serial) {
                    container.knocking.push(id);
                }
            }
            _ => self.lose(id),
        }
    }

    fn plan_for(&mut self, id: CallId, after: Micros, planned: Planned) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.timer = self.clock.now.saturating_add(after);
        }
        self.clock.plan(after, planned);
    }

    pub(super) fn thawed(&mut self, serial: Serial, id: CallId) {
        match self.apply(serial, Life::Thawed { done: true }) {
            Effect::Run => self.begin(id, serial),
            _ => self.lose(id),
        }
    }

    pub(super) fn settled(&mut self, serial: Serial) {
        let knocking =
            self.containers.get_mut(&serial).map(|it| std::mem::take(&mut it.knocking)).unwrap_or_default();
        for id in knocking {
            self.knock(id, serial);
        }
    }

    fn begin(&mut self, id: CallId, serial: Serial) {
        let is_stem = self.containers.get(&serial).is_some_and(|container| container.was_stem);
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_new = matches!(call.stage, Stage::Entering(own) if own == serial);
        call.stage = Stage::Running(serial);
        let (namespace, wait, service) =
            (call.namespace, self.clock.now.saturating_sub(call.at), call.service);
        let is_first = call.is_first;
        self.tally.stem += u64::from(is_first && is_stem);
        self.tally.begins(namespace, wait, service, is_first);
        self.demand(is_new, "I7", || format!("call {id} was sent twice"));
        self.plan_for(id, service, Planned::Finished(id));
    }

    /// Its container went away before anything was sent: another slot, in the old turn.
    pub(super) fn lose(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let is_unsent = !matches!(call.stage, Stage::Running(_));
        let (action, number) = (call.action, call.number);
        let Some(place) = call.place.take() else { return };
        call.stage = Stage::Waiting;
        self.waiting += 1;
        self.demand(is_unsent, "I7", || format!("call {id} is to be sent again"));
        self.tell_queue(action, Event::Gone { id: place.container() });
        self.seek(id, Turn::Again(number));
        self.tell_queue(action, Event::Released { place, service: None, lives: false });
    }

    pub(super) fn finished(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let Stage::Running(serial) = call.stage else { return };
        let (action, place) = (call.action, call.place);
        let service = Duration::from_micros(call.service);
        // A node that is dead gives no answers.
        if !self.containers.contains_key(&serial) {
            return;
        }
        self.apply(serial, Life::Returned { fit: true });
        if let Some(place) = place {
            self.tell_queue(action, Event::Released { place, service: Some(service), lives: true });
        }
        self.end(id, Ending::Completed);
    }

    /// Its container is no more, and with it whatever ran in it.
    pub(super) fn interrupt(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id) else { return };
        let (action, place) = (call.action, call.place);
        if let Some(place) = place {
            self.tell_queue(action, Event::Released { place, service: None, lives: false });
        }
        self.end(id, Ending::Failed);
    }

    pub(super) fn deadline(&mut self, id: CallId) {
        let Some(call) = self.calls.get(&id).filter(|call| call.stage == Stage::Waiting) else { return };
        let (action, number, is_extended) = (call.action, call.number, call.is_extended);
        if call.timer > self.clock.now {
            return;
        }
        let is_starting = self
            .actions
            .get(action)
            .and_then(|state| state.queue.as_ref())
            .is_some_and(|queue| queue.is_starting());
        if is_starting && !is_extended {
            if let Some(call) = self.calls.get_mut(&id) {
                call.is_extended = true;
            }
            return self.plan_for(id, TIME_LIMIT, Planned::Deadline(id));
        }
        self.tell_queue(action, Event::Abandoned { number });
        self.end(id, Ending::TimedOut);
    }

    /// Takes a call out of the books, once.
    pub(super) fn end(&mut self, id: CallId, ending: Ending) {
        let Some(call) = self.calls.remove(&id) else {
            return self.demand(false, "I3", || format!("call {id} ended twice"));
        };
        if call.stage == Stage::Waiting {
            self.waiting = self.waiting.saturating_sub(1);
        }
        if let Some(in_flight) = self.in_flight.get_mut(call.namespace) {
            *in_flight = in_flight.saturating_sub(1);
        }
        self.tally.ends(ending);
    }
}
