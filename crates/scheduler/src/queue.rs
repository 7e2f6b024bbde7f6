//! The queue of one action: who waits, which slots are free, and whether another container is worth it.
//!
//! Pure: [`Queue::step`] takes an event and the time and says what is to be done; the shell around it
//! (`action_queue`) does it. Times are milliseconds of any clock that never goes back.
//!
//! Rules: a free slot is taken at once, the most recently used container first, so that idle ones can go;
//! who waits is served in the order of arrival; an updated action never runs old code; nobody waits for a
//! container of which none is there or coming.

mod event;
mod pace;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use chasen_entity::{Millis, Revision};
use chasen_spi::{Decision, Load};

pub use event::{Admission, Effects, Event, Place, Shape, Slot, Turn};
use pace::Pace;

/// Bounds of one queue.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most activations that wait.
    pub waiting: usize,
    /// Most bytes that they hold.
    pub bytes: usize,
    /// Most containers in the making.
    pub starting: usize,
}

/// Shortest and longest time without a new start after one failed while others serve.
const FIRST_HOLD: u64 = 100;
const LONGEST_HOLD: u64 = 10_000;

/// Fewest and most whose turn is near. With the fewest, ten thousand in a second have 6 ms each from there to their turn:
/// time for the disk.
const LEAST_NEAR: usize = 64;
const MOST_NEAR: usize = 1024;

/// How long the number of containers has at least to catch up with a burst, before anybody is refused for the wait.
const CATCH_UP: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Waiting<W> {
    waiter: W,
    number: u64,
    bytes: usize,
    since: Millis,
}

#[derive(Debug)]
struct Held<C> {
    container: C,
    id: u64,
    slots: u32,
    running: u32,
    /// Gets no more work and is forgotten when nothing runs in it.
    leaving: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Queue<C, W> {
    shape: Shape,
    bounds: Bounds,
    waiting: VecDeque<Waiting<W>>,
    waiting_bytes: usize,
    /// How many of the first of them were told that their turn is near.
    told: usize,
    /// Since when somebody waits without a break.
    waiting_since: Millis,
    next_number: u64,
    /// Containers by place; a place is reused when its container is forgotten.
    held: Vec<Option<Held<C>>>,
    /// Places whose container has a free slot, the next to use last; each at most once.
    free: Vec<usize>,
    /// Containers of the current revision that take work.
    running: usize,
    /// Containers of the current revision in the making.
    starting: usize,
    pace: Pace,
    /// A start failed and no container serves: when the last one has failed, so has everybody who waits.
    doomed: bool,
    /// Starts that failed in a row while containers serve, and until when none is tried again.
    failures: u32,
    hold_until: Millis,
    woken_at: Option<Millis>,
    closed: bool,
}

impl<C: Clone, W> Queue<C, W> {
    /// An empty queue.
    #[must_use]
    pub fn new(shape: Shape, bounds: Bounds) -> Self {
        Self {
            shape,
            bounds,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            told: 0,
            waiting_since: 0,
            next_number: 0,
            held: Vec::new(),
            free: Vec::new(),
            running: 0,
            starting: 0,
            pace: Pace::default(),
            doomed: false,
            failures: 0,
            hold_until: 0,
            woken_at: None,
            closed: false,
        }
    }

    /// State of the action that runs.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.shape.revision
    }

    /// Who is next.
    #[must_use]
    pub fn head(&self) -> Option<&W> {
        self.waiting.front().map(|waiting| &waiting.waiter)
    }

    /// Everybody who waits, in turn.
    pub fn waiters(&mut self) -> impl Iterator<Item = &mut W> {
        self.waiting.iter_mut().map(|waiting| &mut waiting.waiter)
    }

    /// Those whose turn is near and who were not told so: as many from the front as there are slots, and some more. One
    /// may be told again that comes to lie behind somebody.
    pub fn upcoming(&mut self) -> impl Iterator<Item = &mut W> {
        let slots = self.containers().saturating_mul(self.shape.concurrency.max(1) as usize);
        let from = self.told.min(self.waiting.len());
        let upto = slots.clamp(LEAST_NEAR, MOST_NEAR).min(self.waiting.len()).max(from);
        self.told = upto;
        self.waiting.range_mut(from..upto).map(|waiting| &mut waiting.waiter)
    }

    /// What runs at a place: the container, and how many calls are in it.
    #[must_use]
    pub fn at(&self, place: Place) -> Option<(C, u32)> {
        let held = self.held.get(place.index)?.as_ref().filter(|held| held.id == place.id)?;
        Some((held.container.clone(), held.running))
    }

    /// How many wait.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.waiting.len()
    }

    /// Containers of the current revision, in the making or taking work.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.running + self.starting
    }

    /// True while containers of the current revision are in the making.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.starting > 0
    }

    /// Takes an event in at a time; what is to be done is added to `effects`.
    pub fn step(&mut self, event: Event<C, W>, now: Millis, effects: &mut Effects<C, W>) {
        match event {
            Event::Updated(shape) => {
                self.update(shape, effects);
                self.scale(now, effects);
                return; // an arrival brought the news and follows
            }
            Event::Arrived { bytes, turn } => {
                let admission = self.admit(bytes, turn, now);
                if matches!(admission, Admission::Full) {
                    self.close_if_idle(effects);
                }
                effects.admission = Some(admission);
                return;
            }
            Event::Queued { waiter, number, bytes } => self.enqueue(waiter, number, bytes, now),
            Event::Abandoned { number } => self.abandon(number),
            Event::Started { container, id, slots, revision, init_time, cold_estimate } => {
                if revision != self.shape.revision || self.closed {
                    effects.retired.push(container);
                    return;
                }
                self.shape.cold_estimate = cold_estimate;
                // Its runtime may take fewer than its action allows.
                self.shape.concurrency = slots.max(1);
                self.receive(container, id, slots, init_time, effects);
            }
            Event::StartFailed { revision } => {
                if revision == self.shape.revision {
                    self.start_failed(now, effects);
                }
            }
            Event::StartWithdrawn { revision } => {
                if revision == self.shape.revision {
                    self.starting = self.starting.saturating_sub(1);
                    self.doomed &= self.starting > 0;
                }
            }
            Event::Released { place, service, lives } => {
                let serves_on = self.release(place, service, lives, now, effects);
                if serves_on && self.waiting.is_empty() {
                    return; // the warm path ends here
                }
            }
            Event::Gone { id } => self.gone(id),
            Event::Woken => self.woken_at = None,
            Event::Cut => {
                (self.waiting_bytes, self.told) = (0, 0);
                effects.failed.extend(self.waiting.drain(..).map(|waiting| waiting.waiter));
            }
        }
        self.scale(now, effects);
        self.close_if_idle(effects);
    }

    fn admit(&mut self, bytes: usize, turn: Turn, now: Millis) -> Admission<C> {
        if self.closed {
            return Admission::Closed;
        }
        let number = match turn {
            Turn::Again(number) => number,
            Turn::Last | Turn::InTime(_) | Turn::LastAnyway => {
                self.pace.arrived(now);
                self.next_number
            }
        };
        if let Some(slot) = self.take_free() {
            self.next_number = self.next_number.max(number + 1);
            return Admission::Run { slot, number };
        }
        let full = self.waiting.len() >= self.bounds.waiting
            || self.waiting_bytes.saturating_add(bytes) > self.bounds.bytes;
        let refused = match turn {
            Turn::Last => full,
            Turn::InTime(patience) => full || self.is_behind(patience, now),
            Turn::LastAnyway | Turn::Again(_) => false,
        };
        if refused {
            return self.refusal();
        }
        self.next_number = self.next_number.max(number + 1);
        Admission::Wait { number }
    }

    /// Why there is no room: because of the action's own bound, once it has all the containers that it may have.
    fn refusal(&self) -> Admission<C> {
        match self.shape.instances {
            Some(instances) if self.running >= instances.max(1) as usize => {
                let serving = self.held.iter().flatten().filter(|held| !held.leaving);
                let (running, slots) = serving.fold((0, 0), |(running, slots), held| {
                    (running + u64::from(held.running), slots + u64::from(held.slots))
                });
                Admission::OverOwnLimit { in_flight: running + self.waiting.len() as u64, allowed: slots }
            }
            _ => Admission::Full,
        }
    }

    /// True if one more is expected to wait this long. While the queue is new, the number of containers may still catch
    /// up with a burst.
    fn is_behind(&self, patience: Duration, now: Millis) -> bool {
        let Some(service) = self.pace.service() else { return false };
        if self.waiting.is_empty() {
            return false;
        }
        let since = Duration::from_millis(now.saturating_sub(self.waiting_since));
        let slots = self.containers().saturating_mul(self.shape.concurrency.max(1) as usize);
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        since >= self.shape.cold_estimate.max(CATCH_UP)
            && service.saturating_mul(number(self.waiting.len())) / number(slots.max(1)) >= patience
    }

    fn take_free(&mut self) -> Option<Slot<C>> {
        let index = *self.free.last()?;
        let held = self.held.get_mut(index)?.as_mut()?;
        held.running += 1;
        let slot =
            Slot { place: Place { index, id: held.id }, container: held.container.clone(), init_time: None };
        if held.running >= held.slots {
            self.free.pop();
        }
        Some(slot)
    }

    /// Numbers grow with arrival, so the queue is sorted by them; one that had a slot keeps its old number.
    fn enqueue(&mut self, waiter: W, number: u64, bytes: usize, now: Millis) {
        if self.waiting.is_empty() {
            self.waiting_since = now;
        }
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes);
        let waiting = Waiting { waiter, number, bytes, since: now };
        let at = self.waiting.partition_point(|other| other.number < number);
        self.told = self.told.min(at);
        self.waiting.insert(at, waiting);
    }

    fn abandon(&mut self, number: u64) {
        if let Ok(at) = self.waiting.binary_search_by_key(&number, |waiting| waiting.number)
            && let Some(waiting) = self.waiting.remove(at)
        {
            self.told = self.told.saturating_sub(usize::from(at < self.told));
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
        }
    }

    fn update(&mut self, shape: Shape, effects: &mut Effects<C, W>) {
        if shape.revision <= self.shape.revision {
            return;
        }
        self.shape = shape;
        self.free.clear();
        (self.running, self.starting) = (0, 0);
        (self.doomed, self.failures, self.hold_until) = (false, 0, 0);
        for place in &mut self.held {
            let Some(held) = place else { continue };
            if !held.leaving {
                effects.retired.push(held.container.clone());
                held.leaving = true;
            }
            if held.running == 0 {
                *place = None;
            }
        }
    }

    fn receive(
        &mut self,
        container: C,
        id: u64,
        slots: u32,
        init_time: Duration,
        effects: &mut Effects<C, W>,
    ) {
        self.starting = self.starting.saturating_sub(1);
        self.running += 1;
        (self.doomed, self.failures, self.hold_until) = (false, 0, 0);
        let held = Some(Held { container, id, slots: slots.max(1), running: 0, leaving: false });
        let index = match self.held.iter().position(Option::is_none) {
            Some(index) => {
                if let Some(place) = self.held.get_mut(index) {
                    *place = held;
                }
                index
            }
            None => {
                self.held.push(held);
                self.held.len() - 1
            }
        };
        self.free.push(index);
        let first = effects.assigned.len();
        self.serve(effects);
        if let Some((_, slot)) = effects.assigned.get_mut(first) {
            slot.init_time = Some(init_time);
        }
    }

    fn serve(&mut self, effects: &mut Effects<C, W>) {
        while !self.waiting.is_empty()
            && let Some(slot) = self.take_free()
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.told = self.told.saturating_sub(1);
            self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes);
            effects.assigned.push((waiting.waiter, slot));
        }
    }

    fn start_failed(&mut self, now: Millis, effects: &mut Effects<C, W>) {
        self.starting = self.starting.saturating_sub(1);
        if self.running > 0 {
            let hold = FIRST_HOLD.saturating_mul(1 << self.failures.min(10)).min(LONGEST_HOLD);
            self.failures = self.failures.saturating_add(1);
            self.hold_until = now.saturating_add(hold);
        } else if self.starting > 0 {
            self.doomed = true;
        } else {
            self.doomed = false;
            (self.waiting_bytes, self.told) = (0, 0);
            effects.failed.extend(self.waiting.drain(..).map(|waiting| waiting.waiter));
        }
    }

    /// True if the container goes on serving.
    fn release(
        &mut self,
        place: Place,
        service: Option<Duration>,
        lives: bool,
        now: Millis,
        effects: &mut Effects<C, W>,
    ) -> bool {
        if let Some(time) = service {
            self.pace.ran(time, now);
        }
        let Some(entry) = self.held.get_mut(place.index) else { return false };
        let Some(held) = entry.as_mut().filter(|held| held.id == place.id) else { return false };
        let was_full = held.running >= held.slots;
        held.running = held.running.saturating_sub(1);
        if held.leaving {
            if held.running == 0 {
                *entry = None;
            }
            return false;
        }
        if !lives {
            self.leave(place.index);
            return false;
        }
        if was_full {
            self.free.push(place.index);
        }
        self.serve(effects);
        true
    }

    fn gone(&mut self, id: u64) {
        let found = self
            .held
            .iter()
            .position(|held| held.as_ref().is_some_and(|held| held.id == id && !held.leaving));
        if let Some(index) = found {
            self.leave(index);
        }
    }

    /// The container at this place gets no more work.
    fn leave(&mut self, index: usize) {
        let Some(entry) = self.held.get_mut(index) else { return };
        let Some(held) = entry else { return };
        held.leaving = true;
        if held.running == 0 {
            *entry = None;
        }
        self.free.retain(|free| *free != index);
        self.running = self.running.saturating_sub(1);
    }

    fn scale(&mut self, now: Millis, effects: &mut Effects<C, W>) {
        let Some(head) = self.waiting.front() else { return };
        if self.doomed {
            return;
        }
        if self.running > 0 && now < self.hold_until {
            self.wake(self.hold_until, effects);
            return;
        }
        let load = Load {
            queued: self.waiting.len(),
            running: self.running,
            starting: self.starting,
            concurrency: self.shape.concurrency as usize,
            instances: self.shape.instances.map_or(usize::MAX, |instances| instances.max(1) as usize),
            max_starting: self.bounds.starting.max(1),
            service: self.pace.service(),
            arrivals: self.pace.arrivals(),
            cold_estimate: self.shape.cold_estimate,
            waited: Duration::from_millis(now.saturating_sub(head.since)),
        };
        match self.shape.scaling.decide(&load) {
            Decision::Enough => {}
            Decision::Wait(time) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.wake(now.saturating_add(millis.saturating_add(1)), effects);
            }
            Decision::Start(count) => {
                self.starting += count;
                effects.starts = u32::try_from(count).unwrap_or(u32::MAX);
            }
        }
    }

    /// An earlier timer looks again and sets the next.
    fn wake(&mut self, at: Millis, effects: &mut Effects<C, W>) {
        if self.woken_at.is_none_or(|earlier| at < earlier) {
            self.woken_at = Some(at);
            effects.wake_at = Some(at);
        }
    }

    fn close_if_idle(&mut self, effects: &mut Effects<C, W>) {
        let idle = self.waiting.is_empty() && self.starting == 0 && self.held.iter().all(Option::is_none);
        if idle && !self.closed {
            self.closed = true;
            effects.closed = true;
        }
    }
}
