//! A container of the pool: the state of [`state`] under a short lock, and what follows from its changes.

mod call;
mod keeper;
mod latch;
pub mod state;

use std::sync::{Arc, Weak};
use std::time::Duration;

use chasen_entity::UserLimits;
use chasen_entity::manifest::parse_duration_millis;
use chasen_spi::{Container, ContainerSpec};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) use call::Serving;
pub(crate) use keeper::keep;
use latch::Latch;
use state::{Effect, Event, State, step};

use crate::node::{Node, SharedAppetite};
use crate::pool::{Appetite, ContainerId, Worth};

/// How long containers are kept beyond their time where their namespace says how many, but not how long.
const KEEPING: Duration = Duration::from_secs(10 * 60);

/// See the module.
pub(crate) struct PooledContainer {
    pub(crate) id: ContainerId,
    pub(crate) spec: ContainerSpec,
    node: Weak<Node>,
    /// What the pool wants to hear of.
    appetite: Arc<SharedAppetite>,
    inner: Mutex<Inner>,
    /// For the keeper: something has changed that it does not know of.
    wake: Notify,
    /// For calls: a freeze or thaw has ended.
    settled: Notify,
    /// It takes no more work.
    gone: Latch,
    /// It is being stopped: nobody in it gets an answer any more.
    ending: Latch,
}

struct Inner {
    state: State,
    slots: u32,
    uses: u64,
    serving_since: Instant,
    idle_since: Instant,
    /// The keeper waits for the end of the calls in it.
    keeper_waits: bool,
    /// False after a freeze has failed: then it is left running.
    can_freeze: bool,
    /// How many of its action its namespace may keep beyond their time, and how long.
    keep: (u32, Duration),
    /// The idleness after which the pool was asked whether it is one of those.
    asked_at: Option<Instant>,
    /// What the factory made, until somebody claims it.
    parked: Option<Arc<dyn Container>>,
}

impl PooledContainer {
    pub(crate) fn new(id: ContainerId, spec: ContainerSpec, node: &Arc<Node>) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            id,
            spec,
            node: Arc::downgrade(node),
            appetite: Arc::clone(&node.appetite),
            inner: Mutex::new(Inner {
                state: State::Reserved,
                slots: 1,
                uses: 0,
                serving_since: now,
                idle_since: now,
                keeper_waits: false,
                can_freeze: true,
                keep: (0, Duration::ZERO),
                asked_at: None,
                parked: None,
            }),
            wake: Notify::new(),
            settled: Notify::new(),
            gone: Latch::default(),
            ending: Latch::default(),
        })
    }

    /// Where it stands.
    pub(crate) fn state(&self) -> State {
        self.inner.lock().state
    }

    /// Sets how many calls it takes at once, before it takes any.
    pub(crate) fn set_slots(&self, slots: u32) {
        self.inner.lock().slots = slots.max(1);
    }

    /// Sets what its namespace says of containers whose time is over, before it serves.
    pub(crate) fn set_keeping(&self, limits: &UserLimits) {
        let time = limits.warmed_container_keeping_timeout.as_deref().and_then(parse_duration_millis);
        let time = time.map_or(KEEPING, Duration::from_millis);
        self.inner.lock().keep = (limits.warmed_container_keeping_count.unwrap_or(0), time);
    }

    /// Keeps what the factory made for the one that claims it.
    pub(crate) fn park(&self, container: &Arc<dyn Container>) {
        self.inner.lock().parked = Some(Arc::clone(container));
    }

    /// Takes it out again.
    pub(crate) fn unpark(self: &Arc<Self>) -> Option<Handle> {
        let container = self.inner.lock().parked.take()?;
        Some(Handle { pooled: Arc::clone(self), container })
    }

    /// What makes it worth keeping, if it is idle. One that was started for somebody and not used yet is not
    /// idle before it is frozen: else it could be evicted before its first call.
    pub(crate) fn idle_worth(&self, cold_start: Duration) -> Option<Worth> {
        let inner = self.inner.lock();
        let resting = inner.state == State::Frozen || !inner.can_freeze;
        let (age, idle_for) = (inner.serving_since.elapsed(), inner.idle_since.elapsed());
        let idle = inner.state.is_idle() && (resting || inner.uses > 0);
        idle.then_some(Worth { resting, uses: inner.uses, age, idle: idle_for, cold_start })
    }

    /// Takes an event in; says what the caller has to do. A stop is the keeper's to do, and it is told.
    pub(crate) fn apply(&self, event: Event) -> Effect {
        let mut inner = self.inner.lock();
        let before = inner.state;
        let (after, effect) = step(before, event, inner.slots);
        inner.state = after;
        let mut wake = effect == Effect::Stop;
        match event {
            Event::Initialized => {
                inner.serving_since = Instant::now();
                inner.idle_since = inner.serving_since;
                wake = true;
            }
            Event::Thawed { .. } => wake = true,
            Event::Froze { done: false } => inner.can_freeze = false,
            Event::Returned { .. } if after == (State::Ready { running: 0 }) => {
                inner.idle_since = Instant::now();
                wake |= std::mem::take(&mut inner.keeper_waits);
            }
            _ => {}
        }
        if effect == Effect::Run {
            inner.uses += 1;
        }
        drop(inner);
        self.announce(before, after);
        if wake {
            self.wake.notify_one();
        }
        effect
    }

    /// Its kind is gone: it goes now if it is idle, else its keeper is to see to it.
    pub(crate) fn discontinue(&self) {
        self.apply(Event::Evicted);
        self.wake.notify_one();
    }

    fn announce(&self, before: State, after: State) {
        if before == after {
            return;
        }
        if matches!(before, State::Freezing | State::Thawing) {
            self.settled.notify_waiters();
        }
        if after.is_gone() && !before.is_gone() {
            self.gone.set();
        }
        if matches!(after, State::Stopping | State::Dead) {
            self.ending.set();
        }
        let told = match after {
            State::Frozen => self.appetite.is_for(Appetite::Resting),
            State::Ready { running: 0 } => self.appetite.is_for(Appetite::Idle),
            _ => false,
        };
        if told && let Some(node) = self.node.upgrade() {
            node.idle(self);
        }
    }

    /// Resolves when it is being stopped.
    pub(crate) async fn ending(&self) {
        self.ending.wait().await;
    }
}

/// A container with the factory's handle.
pub(crate) struct Handle {
    pub(crate) pooled: Arc<PooledContainer>,
    pub(crate) container: Arc<dyn Container>,
}
