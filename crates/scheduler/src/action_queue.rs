//! The shell around one action's [`Queue`]: a short lock, and what its effects ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use chasen_entity::{
    ActionKey, ActivationId, ExecutableAction, Invocation, Millis, Outcome, Response, Revision, error_text,
};
use chasen_spi::{Invoker, ReadyContainer, Rejection, Scaling, StartFailure, StartRequest};
use chasen_telemetry::task;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::load::{self, Burden, NodeLoad};
use crate::queue::{Admission, Bounds, Effects, Event, Place, Queue, Shape, Slot, Turn};
use crate::runs::{Runs, Seat, split};

type Container = Arc<dyn ReadyContainer>;

/// Most characters of a failure's reason in the operator's log: what tenants ask for may be in it.
const MOST_OF_A_REASON: usize = 512;

/// Every action's queue, by key.
pub(crate) type Queues = papaya::HashMap<ActionKey, Arc<ActionQueue>>;

/// What every queue of a node shares.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Where the queues' time begins.
    pub(crate) origin: Instant,
    /// What waits on the node.
    pub(crate) load: Arc<NodeLoad>,
    /// Where a queue is found, until it is closed.
    pub(crate) queues: Weak<Queues>,
}

/// What a waiting activation is given.
pub(crate) enum Grant {
    /// A slot.
    Slot(HeldSlot),
    /// No container can be started.
    Failed(Arc<StartFailure>),
    /// Somebody wanted it to end.
    Cancelled,
    /// The node stops.
    Cut,
}

/// Someone in the queue.
pub(crate) struct Waiter {
    /// `None` for one that has been given something and leaves.
    grant: Option<oneshot::Sender<Grant>>,
    /// Of synced work: what says that its turn is near.
    near: Option<oneshot::Sender<()>>,
    number: u64,
    invocation: Arc<Invocation>,
}

/// Answer to an arrival.
pub(crate) enum Arrival {
    /// It may run.
    Run(HeldSlot),
    /// It waits.
    Wait(Waiting),
    /// No room in this queue.
    Full(Rejection),
    /// It brings a newer state of the action: tell the queue first.
    News,
    /// This queue is closed: look for its successor.
    Closed,
}

/// The queue of one action.
pub(crate) struct ActionQueue {
    key: ActionKey,
    node: Surroundings,
    state: Mutex<State>,
}

struct State {
    queue: Queue<Container, Waiter>,
    runs: Runs,
    /// The newest known state of the action, and who runs it.
    action: Arc<ExecutableAction>,
    domain: Arc<dyn Invoker>,
    /// Shared with the starts of this state.
    needed: Arc<AtomicBool>,
}

/// What is to be done outside the lock, as it was decided inside.
struct Outbox {
    effects: Effects<Container, Waiter>,
    /// Of those who got slots, in their order.
    seats: Vec<Seat>,
    order: Option<StartOrder>,
    /// The state of the action that the assigned slots run.
    runs: Option<Arc<ExecutableAction>>,
}

/// Containers to start.
struct StartOrder {
    count: u32,
    siblings: u32,
    first: Arc<Invocation>,
    action: Arc<ExecutableAction>,
    domain: Arc<dyn Invoker>,
    needed: Arc<AtomicBool>,
}

impl State {
    fn seat(&mut self, id: ActivationId, place: Place) -> Seat {
        self.runs.enter(id, place, self.action.limits.concurrency > 1)
    }

    fn order(&self, count: u32) -> Option<StartOrder> {
        let first = &self.queue.head()?.invocation;
        let others = self.queue.containers().saturating_sub(count as usize);
        Some(StartOrder {
            count,
            siblings: u32::try_from(others).unwrap_or(u32::MAX),
            first: upgraded(first, newer(&self.action, first)),
            action: Arc::clone(&self.action),
            domain: Arc::clone(&self.domain),
            needed: Arc::clone(&self.needed),
        })
    }
}

impl ActionQueue {
    /// An empty queue for an action.
    pub(crate) fn new(
        key: ActionKey,
        action: Arc<ExecutableAction>,
        domain: Arc<dyn Invoker>,
        scaling: &Arc<dyn Scaling>,
        bounds: Bounds,
        node: Surroundings,
    ) -> Self {
        let queue = Queue::new(shape(&action, domain.as_ref(), scaling), bounds);
        let state =
            Mutex::new(State { queue, runs: Runs::default(), action, domain, needed: Arc::default() });
        Self { key, node, state }
    }

    /// Takes a newer state of the action in: older containers get no more work.
    pub(crate) fn update(
        self: &Arc<Self>,
        action: &Arc<ExecutableAction>,
        domain: &Arc<dyn Invoker>,
        scaling: &Arc<dyn Scaling>,
    ) {
        let outbox = {
            let mut state = self.state.lock();
            if action.revision <= state.queue.revision() {
                return;
            }
            state.needed.store(false, Ordering::Release);
            state.needed = Arc::default();
            state.action = Arc::clone(action);
            state.domain = Arc::clone(domain);
            let event = Event::Updated(shape(action, domain.as_ref(), scaling));
            self.advance(&mut state, event)
        };
        self.perform(outbox, None);
    }

    /// Asks for a slot.
    pub(crate) fn arrive(self: &Arc<Self>, invocation: &Arc<Invocation>, turn: Turn) -> Arrival {
        let mut effects = Effects::default();
        let bytes = load::size(invocation);
        let mut state = self.state.lock();
        if invocation.action.revision > state.queue.revision() {
            return Arrival::News;
        }
        state.queue.step(Event::Arrived { bytes, turn }, self.now(), &mut effects);
        let admission = effects.admission.take();
        match admission {
            Some(Admission::Run { slot, number }) => {
                let newer = newer(&state.action, invocation);
                let seat = state.seat(invocation.activation_id, slot.place);
                drop(state);
                Arrival::Run(HeldSlot::new(self, slot, seat, number, newer))
            }
            Some(Admission::Wait { number }) => {
                let (grant, receiver) = oneshot::channel();
                let (tell, near) = match invocation.durability.is_memory() {
                    true => (None, None),
                    false => split(oneshot::channel()),
                };
                let waiter =
                    Waiter { grant: Some(grant), near: tell, number, invocation: Arc::clone(invocation) };
                let outbox = self.advance(&mut state, Event::Queued { waiter, number, bytes });
                drop(state);
                let _burden = self.node.load.add(invocation);
                self.perform(outbox, None);
                Arrival::Wait(Waiting {
                    queue: Arc::clone(self),
                    number,
                    receiver,
                    near,
                    settled: false,
                    _burden,
                })
            }
            Some(Admission::Full) => {
                drop(state);
                self.perform(Outbox { effects, seats: Vec::new(), order: None, runs: None }, None);
                Arrival::Full(Rejection::Overloaded)
            }
            Some(Admission::OverOwnLimit { in_flight, allowed }) => {
                Arrival::Full(Rejection::OverOwnLimit { in_flight, allowed })
            }
            Some(Admission::Closed) | None => Arrival::Closed,
        }
    }

    /// Gives everything up that waits.
    pub(crate) fn cut(self: &Arc<Self>) {
        self.step(Event::Cut, None);
    }

    /// Ends the activation of this id, if it waits or runs here.
    ///
    /// A container that it has for itself is killed. One that it shares takes no more work and ends when the others are
    /// done; it is let go of.
    pub(crate) fn cancel(self: &Arc<Self>, id: &ActivationId) {
        let mut state = self.state.lock();
        let inner = &mut *state;
        if let Some(waiter) = inner.queue.waiters().find(|waiter| waiter.invocation.activation_id == *id) {
            // It leaves by itself.
            drop(waiter.grant.take().map(|grant| grant.send(Grant::Cancelled)));
            return;
        }
        let Some(running) = inner.runs.find(id) else { return };
        let Some((container, together)) = inner.queue.at(running.place) else { return };
        let stop = running.stop.take();
        let gone = Event::Gone { id: running.place.container() };
        let outbox = self.advance(&mut state, gone);
        drop(state);
        self.perform(outbox, None);
        if together <= 1 {
            container.kill();
        } else {
            container.retire();
            // It may be over by now.
            let _ = stop.map(|stop| stop.send(()));
        }
    }

    fn now(&self) -> Millis {
        u64::try_from(self.node.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn step(self: &Arc<Self>, event: Event<Container, Waiter>, failure: Option<StartFailure>) {
        let outbox = self.advance(&mut self.state.lock(), event);
        self.perform(outbox, failure);
    }

    fn advance(&self, state: &mut State, event: Event<Container, Waiter>) -> Outbox {
        let mut effects = Effects::default();
        state.queue.step(event, self.now(), &mut effects);
        state.needed.store(state.queue.queued() > 0, Ordering::Release);
        let runs = (!effects.assigned.is_empty()).then(|| Arc::clone(&state.action));
        let assigned = effects.assigned.iter();
        let seats =
            assigned.map(|(waiter, slot)| state.seat(waiter.invocation.activation_id, slot.place)).collect();
        for waiter in state.queue.upcoming() {
            // Who has left does not listen.
            let _ = waiter.near.take().map(|near| near.send(()));
        }
        let order = if effects.starts > 0 { state.order(effects.starts) } else { None };
        Outbox { effects, seats, order, runs }
    }

    /// Does what a step asked for: who gets a slot may be running before this returns.
    fn perform(self: &Arc<Self>, outbox: Outbox, failure: Option<StartFailure>) {
        let Outbox { effects, seats, order, runs } = outbox;
        for ((Waiter { grant, number, invocation, .. }, slot), seat) in
            effects.assigned.into_iter().zip(seats)
        {
            let newer = runs.as_ref().and_then(|action| newer(action, &invocation));
            let held = HeldSlot::new(self, slot, seat, number, newer);
            // Somebody who left in the meantime drops the slot here, which frees it.
            drop(grant.map(|grant| grant.send(Grant::Slot(held))));
        }
        let failure = failure.map(Arc::new);
        for waiter in effects.failed {
            let outcome = failure.as_ref().map_or(Grant::Cut, |failure| Grant::Failed(Arc::clone(failure)));
            drop(waiter.grant.map(|grant| grant.send(outcome)));
        }
        for container in effects.retired {
            container.retire();
        }
        if let Some(order) = order {
            self.start_all(&order);
        }
        if let Some(at) = effects.wake_at {
            let queue = Arc::clone(self);
            drop(task::spawn("queue timer", async move {
                tokio::time::sleep_until(queue.node.origin + Duration::from_millis(at)).await;
                queue.step(Event::Woken, None);
            }));
        }
        if effects.closed
            && let Some(queues) = self.node.queues.upgrade()
        {
            // Another queue may have taken the place of this one already.
            let _ = queues.pin().remove_if(&self.key, |_, queue| Arc::ptr_eq(queue, self));
        }
    }

    fn start_all(self: &Arc<Self>, order: &StartOrder) {
        for index in 0..order.count {
            let request = StartRequest {
                key: self.key.clone(),
                action: Arc::clone(&order.action),
                first: Arc::clone(&order.first),
                siblings: order.siblings.saturating_add(index),
                needed: Arc::clone(&order.needed),
            };
            drop(task::spawn("container start", Arc::clone(self).start(Arc::clone(&order.domain), request)));
        }
    }

    /// Starts a container and stays with it until it takes no more work.
    async fn start(self: Arc<Self>, domain: Arc<dyn Invoker>, request: StartRequest) {
        let revision = request.action.revision;
        let kind = request.action.exec.kind.clone();
        let mut witness = StartWitness { queue: &self, revision, armed: true };
        let started = domain.start(request).await;
        witness.armed = false;
        drop(witness);
        match started {
            Ok(started) => {
                let container = started.container;
                let id = container.id();
                self.step(
                    Event::Started {
                        container: Arc::clone(&container),
                        id,
                        slots: container.slots(),
                        revision,
                        init_time: started.init_time,
                        cold_estimate: domain.cold_start_estimate(&kind),
                    },
                    None,
                );
                container.gone().await;
                self.step(Event::Gone { id }, None);
            }
            Err(StartFailure::Withdrawn) => self.step(Event::StartWithdrawn { revision }, None),
            Err(failure) => {
                if let StartFailure::Provision { reason, .. } = &failure {
                    let reason: String = reason.chars().take(MOST_OF_A_REASON).collect();
                    tracing::warn!(action = %self.key.action, %reason, "no container could be provided");
                }
                self.step(Event::StartFailed { revision }, Some(failure));
            }
        }
    }
}

/// Tells the queue of a start whose task panics: whoever waits for it would wait for nothing.
struct StartWitness<'a> {
    queue: &'a Arc<ActionQueue>,
    revision: Revision,
    armed: bool,
}

impl Drop for StartWitness<'_> {
    fn drop(&mut self) {
        if self.armed && std::thread::panicking() {
            let failure = StartFailure::Provision {
                response: Response::error(Outcome::WhiskError, error_text::NOT_PROVISIONED),
                reason: "the start broke off".to_owned(),
            };
            self.queue.step(Event::StartFailed { revision: self.revision }, Some(failure));
        }
    }
}

/// A slot in use. Dropping it frees it.
pub(crate) struct HeldSlot {
    queue: Arc<ActionQueue>,
    slot: Slot<Container>,
    seat: Seat,
    number: u64,
    newer: Option<Arc<ExecutableAction>>,
    freed: bool,
}

impl HeldSlot {
    fn new(
        queue: &Arc<ActionQueue>,
        slot: Slot<Container>,
        seat: Seat,
        number: u64,
        newer: Option<Arc<ExecutableAction>>,
    ) -> Self {
        Self { queue: Arc::clone(queue), slot, seat, number, newer, freed: false }
    }

    /// What resolves when the run is to be let go of, which goes on by itself then. `None` where its container is ended
    /// instead, because nobody shares it.
    pub(crate) fn stopped(&mut self) -> Option<oneshot::Receiver<()>> {
        self.seat.stopped.take()
    }

    /// The state of the action that it runs, if that is newer than what was asked for.
    pub(crate) fn newer(&mut self) -> Option<Arc<ExecutableAction>> {
        self.newer.take()
    }

    /// What runs it.
    pub(crate) fn container(&self) -> &dyn ReadyContainer {
        self.slot.container.as_ref()
    }

    /// Time of the initialisation that was waited for.
    pub(crate) fn init_time(&self) -> Option<Duration> {
        self.slot.init_time
    }

    /// The run is over; `lives` is false if the container went with it.
    pub(crate) fn release(mut self, service: Duration, lives: bool) {
        self.free(Some(service), lives);
    }

    /// The container went away before anything was sent: asks for another slot, in the old turn.
    pub(crate) fn exchange(mut self, invocation: &Arc<Invocation>) -> Arrival {
        self.queue.step(Event::Gone { id: self.slot.place.container() }, None);
        // The queue stays open for this, because the slot still counts.
        let arrival = self.queue.arrive(invocation, Turn::Again(self.number));
        self.free(None, false);
        arrival
    }

    fn free(&mut self, service: Option<Duration>, lives: bool) {
        self.freed = true;
        let outbox = {
            let mut state = self.queue.state.lock();
            state.runs.leave(&self.seat);
            self.queue.advance(&mut state, Event::Released { place: self.slot.place, service, lives })
        };
        self.queue.perform(outbox, None);
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        if !self.freed {
            self.free(None, true);
        }
    }
}

/// A place in the queue. Dropping it gives it up.
pub(crate) struct Waiting {
    queue: Arc<ActionQueue>,
    number: u64,
    receiver: oneshot::Receiver<Grant>,
    near: Option<oneshot::Receiver<()>>,
    settled: bool,
    _burden: Burden,
}

impl Waiting {
    /// Of synced work: what resolves when its turn is near.
    pub(crate) fn near(&mut self) -> Option<oneshot::Receiver<()>> {
        self.near.take()
    }

    /// Waits for a grant; `None` when the time is over. While containers are in the making at the deadline, there is
    /// `initialisation` more of it: else an initialisation that takes all its time would be told as a long wait.
    pub(crate) async fn granted(mut self, deadline: Instant, initialisation: Duration) -> Option<Grant> {
        let mut granted = tokio::time::timeout_at(deadline, &mut self.receiver).await;
        if granted.is_err() && self.queue.state.lock().queue.is_starting() {
            granted = tokio::time::timeout_at(deadline + initialisation, &mut self.receiver).await;
        }
        // A grant that comes when the time is over goes back by being dropped.
        let grant = granted.ok()?.ok()?;
        self.settled = true;
        Some(grant)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.settled {
            self.queue.step(Event::Abandoned { number: self.number }, None);
        }
    }
}

fn shape(action: &ExecutableAction, domain: &dyn Invoker, scaling: &Arc<dyn Scaling>) -> Shape {
    Shape {
        revision: action.revision,
        concurrency: action.limits.concurrency,
        instances: action.limits.instances,
        cold_estimate: domain.cold_start_estimate(&action.exec.kind),
        scaling: Arc::clone(scaling),
    }
}

/// The known state of the action if the invocation came with an older one.
fn newer(known: &Arc<ExecutableAction>, invocation: &Invocation) -> Option<Arc<ExecutableAction>> {
    (known.revision > invocation.action.revision).then(|| Arc::clone(known))
}

/// The invocation, to run this state of its action.
pub(crate) fn upgraded(
    invocation: &Arc<Invocation>,
    newer: Option<Arc<ExecutableAction>>,
) -> Arc<Invocation> {
    match newer {
        None => Arc::clone(invocation),
        Some(action) => Arc::new(Invocation { action, ..Invocation::clone(invocation) }),
    }
}
