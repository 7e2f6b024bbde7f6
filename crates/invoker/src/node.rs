//! The node's shell around the pool: grants, evictions, and who is told what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use chasen_entity::exec::BLACKBOX;
use chasen_entity::{ByteSize, Manifest, NetworkPolicy};
use chasen_spi::{
    AttachmentStore, ContainerFactory, ContainerSpec, InvokerState, NodeView, Patience, Runtimes,
    StartFailure, StartRequest,
};
use chasen_telemetry::task;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use crate::config::InvokerConfig;
use crate::container::PooledContainer;
use crate::container::state::{self, State};
use crate::estimate::Estimates;
use crate::making;
use crate::pool::{Appetite, ContainerId, Effect, Event, Pool, PoolConfig, Request, RequestId};

/// What a request for memory is answered with.
pub(crate) enum Grant {
    /// A container to make, or a stem cell to claim.
    Container(Arc<PooledContainer>),
    /// Nobody needs it any more.
    Withdrawn,
    /// The node is smaller than that.
    TooSmall,
    /// There is no room for a request that does not wait.
    NoRoom,
    /// The platform has no such kind.
    NoKind,
}

/// The pool's appetite, for containers to look at without its lock.
#[derive(Debug, Default)]
pub(crate) struct SharedAppetite(AtomicU8);

impl SharedAppetite {
    /// True if the pool wants to hear of such containers.
    pub(crate) fn is_for(&self, containers: Appetite) -> bool {
        self.0.load(Ordering::SeqCst) >= containers as u8
    }

    /// True if it has grown.
    fn set(&self, appetite: Appetite) -> bool {
        self.0.swap(appetite as u8, Ordering::SeqCst) < appetite as u8
    }
}

/// Everything of a node that its containers and their makers share.
pub(crate) struct Node {
    pub(crate) config: InvokerConfig,
    pub(crate) factories: Vec<Arc<dyn ContainerFactory>>,
    pub(crate) attachments: Arc<dyn AttachmentStore>,
    pub(crate) estimates: Estimates,
    runtimes: Arc<Runtimes>,
    pub(crate) appetite: Arc<SharedAppetite>,
    closing: AtomicBool,
    origin: Instant,
    books: Mutex<Books>,
    emptied: Notify,
    /// Changes when memory gets free that nobody waits for.
    room: watch::Sender<()>,
    /// Pressure on the processors: bits of the last reading, in percent.
    pressure: AtomicU64,
}

struct Books {
    pool: Pool,
    pending: HashMap<RequestId, Pending>,
    containers: HashMap<ContainerId, Arc<PooledContainer>>,
    next_request: RequestId,
    /// When the pool's timer goes off, as time since the node's origin.
    timer: Option<Duration>,
}

struct Pending {
    grant: oneshot::Sender<Grant>,
    needed: Arc<AtomicBool>,
    spec: ContainerSpec,
}

/// What is to be done outside the lock.
enum Errand {
    Answer(oneshot::Sender<Grant>, Grant),
    /// Memory was granted to a request that is not there any more.
    Free(ContainerId),
    Stem(Arc<PooledContainer>),
    Evict(Arc<PooledContainer>),
}

impl Node {
    pub(crate) fn new(
        config: InvokerConfig,
        runtimes: Arc<Runtimes>,
        factories: Vec<Arc<dyn ContainerFactory>>,
        attachments: Arc<dyn AttachmentStore>,
    ) -> Self {
        let bounds = PoolConfig {
            capacity: config.memory,
            reserve: config.reserve(),
            quiet_below: config.quiet_below,
            burst: config.burst,
        };
        let pool = Pool::new(bounds, &runtimes.manifest());
        Self {
            config,
            factories,
            attachments,
            estimates: Estimates::new(Arc::clone(&runtimes)),
            runtimes,
            appetite: Arc::default(),
            closing: AtomicBool::new(false),
            origin: Instant::now(),
            books: Mutex::new(Books {
                pool,
                pending: HashMap::new(),
                containers: HashMap::new(),
                next_request: 1,
                timer: None,
            }),
            emptied: Notify::new(),
            room: watch::Sender::new(()),
            pressure: AtomicU64::new(0),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// True if the platform has this kind at the moment.
    pub(crate) fn has_kind(&self, kind: &str) -> bool {
        kind == BLACKBOX || self.runtimes.manifest().resolve(kind).is_some()
    }

    /// Follows a change of the kinds. Containers of a kind that is gone go when they are idle: what is idle goes now,
    /// and the keeper of each sees to the rest.
    pub(crate) fn follow(self: &Arc<Self>, manifest: &Arc<Manifest>) {
        self.estimates.forget_others(manifest);
        self.tell(Event::Changed(Arc::clone(manifest)));
        let containers: Vec<_> = self.books.lock().containers.values().cloned().collect();
        for container in containers.iter().filter(|container| !self.has_kind(&container.spec.kind)) {
            container.discontinue();
        }
    }

    pub(crate) fn used(&self) -> ByteSize {
        self.books.lock().pool.used()
    }

    pub(crate) fn containers(&self) -> usize {
        self.books.lock().containers.len()
    }

    /// Waits for memory, if it is patient. Dropping the future withdraws the request.
    pub(crate) async fn grant(
        self: &Arc<Self>,
        request: &StartRequest,
        patience: Patience,
    ) -> Result<Grant, StartFailure> {
        let exec = &request.action.exec;
        let memory = ByteSize::mb(u64::from(request.action.limits.memory));
        let spec = ContainerSpec {
            kind: exec.kind.clone(),
            image: exec.image.clone(),
            memory,
            network: request.key.network.clone(),
        };
        let (grant, granted) = oneshot::channel();
        let id = {
            let mut books = self.books.lock();
            if self.is_closing() {
                return Err(StartFailure::Draining);
            }
            if !self.has_kind(&exec.kind) {
                return Ok(Grant::NoKind);
            }
            let id = books.next_request;
            books.next_request += 1;
            books.pending.insert(id, Pending { grant, needed: Arc::clone(&request.needed), spec });
            id
        };
        let mut withdrawal = Withdrawal { node: self, id, granted, waits: true };
        self.tell(Event::Requested(Request {
            id,
            key: request.key.clone(),
            kind: exec.kind.clone(),
            image: exec.image.clone(),
            memory,
            siblings: request.siblings,
            waits: patience == Patience::Waits,
        }));
        let grant = (&mut withdrawal.granted).await;
        withdrawal.waits = false;
        grant.map_err(|_| StartFailure::Draining)
    }

    /// Tells the pool of an event and does what it asks for.
    pub(crate) fn tell(self: &Arc<Self>, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut errands = Vec::new();
            let may_free = matches!(event, Event::Dead { .. } | Event::Withdrawn(_));
            let (has_grown, timer, has_room) = {
                let mut books = self.books.lock();
                books.step(event, self, &mut errands);
                let has_room = may_free && books.pool.waiting() == 0;
                (self.appetite.set(books.pool.appetite()), books.set_timer(), has_room)
            };
            for errand in errands {
                events.extend(self.run(errand));
            }
            if let Some(at) = timer {
                drop(task::spawn("pool timer", Arc::clone(self).wake_at(at)));
            }
            if has_room {
                self.room.send_replace(());
            }
            if has_grown {
                events.push(Event::Idle(self.idle_ones()));
            }
        }
    }

    async fn wake_at(self: Arc<Self>, at: Duration) {
        tokio::time::sleep_until(self.origin + at).await;
        let mut books = self.books.lock();
        books.timer = books.timer.filter(|timer| *timer != at);
        drop(books);
        self.tell(Event::Due);
    }

    /// Tells what is to be told next, the last first.
    fn run(self: &Arc<Self>, errand: Errand) -> Vec<Event> {
        match errand {
            Errand::Answer(sender, grant) => {
                if let Err(Grant::Container(container)) = sender.send(grant) {
                    self.give_back(&container);
                }
            }
            Errand::Free(id) => return vec![Event::Dead { id, failed: false }],
            Errand::Stem(container) => {
                drop(task::spawn("stem cell", making::make_stem(Arc::clone(self), container)));
            }
            Errand::Evict(container) => {
                let worth = container.idle_worth(self.estimates.get(&container.spec.kind));
                let may_go = |worth: &_| self.books.lock().pool.may_go(container.id, worth);
                if let Some(worth) = worth.filter(|worth| !may_go(worth)) {
                    // It has been used since it was told to be idle.
                    return vec![Event::Idle(vec![(container.id, worth)]), Event::Busy(container.id)];
                }
                let refused = container.apply(state::Event::Evicted) == state::Effect::Refuse;
                if refused && !container.state().is_gone() {
                    return vec![Event::Busy(container.id)];
                }
            }
        }
        Vec::new()
    }

    /// Memory was granted to somebody who has left.
    pub(crate) fn give_back(self: &Arc<Self>, container: &PooledContainer) {
        container.apply(state::Event::Retired);
        if container.state() == State::Dead {
            self.dead(container.id, false);
        }
    }

    fn idle_ones(&self) -> Vec<(ContainerId, crate::pool::Worth)> {
        let containers: Vec<_> = self.books.lock().containers.values().cloned().collect();
        let idle = containers.iter().filter_map(|container| {
            let worth = container.idle_worth(self.estimates.get(&container.spec.kind))?;
            Some((container.id, worth))
        });
        idle.collect()
    }

    /// What the node is to placement.
    pub(crate) fn view(&self) -> NodeView {
        let is_up = !self.is_closing() && self.factories.iter().any(|factory| factory.is_up());
        let manifest = self.runtimes.manifest();
        let kinds = manifest.kinds().map(|kind| kind.kind.clone()).chain([BLACKBOX.to_owned()]).collect();
        let idle = self.idle_ones();
        let books = self.books.lock();
        let idle = idle.iter().filter_map(|(id, _)| books.containers.get(id));
        NodeView {
            id: self.config.id.clone(),
            state: if is_up { InvokerState::Up } else { InvokerState::Unhealthy },
            memory: self.config.memory,
            free: ByteSize::bytes(self.config.memory.as_bytes().saturating_sub(books.pool.used().as_bytes())),
            idle: ByteSize::bytes(idle.map(|container| container.spec.memory.as_bytes()).sum()),
            waiting: books.pool.waiting(),
            labels: self.config.labels.clone(),
            dedicated: self.config.dedicated.clone(),
            cpu_pressure: self.pressure(),
            kinds,
            stems: books.pool.stems().map(|(kind, memory)| (kind.to_owned(), memory)).collect(),
            images: books.containers.values().filter_map(|container| container.spec.image.clone()).collect(),
        }
    }

    /// Changes when memory gets free that nobody waits for.
    pub(crate) fn room(&self) -> watch::Receiver<()> {
        self.room.subscribe()
    }

    /// Pressure on the processors at the last reading, in percent.
    pub(crate) fn pressure(&self) -> f64 {
        f64::from_bits(self.pressure.load(Ordering::Relaxed))
    }

    /// Takes a reading of it in.
    pub(crate) fn set_pressure(self: &Arc<Self>, percent: f64) {
        let before = f64::from_bits(self.pressure.swap(percent.to_bits(), Ordering::Relaxed));
        let is_pressed = |percent: f64| percent >= self.config.most_pressure;
        if is_pressed(before) != is_pressed(percent) {
            self.tell(Event::Pressed(is_pressed(percent)));
        }
    }

    /// A container has become idle that the pool wants to hear of.
    pub(crate) fn idle(self: &Arc<Self>, container: &PooledContainer) {
        if let Some(worth) = container.idle_worth(self.estimates.get(&container.spec.kind)) {
            self.tell(Event::Idle(vec![(container.id, worth)]));
        }
    }

    /// Nothing is left of a container.
    pub(crate) fn dead(self: &Arc<Self>, id: ContainerId, failed: bool) {
        self.tell(Event::Dead { id, failed });
        self.emptied.notify_waiters();
    }

    /// Stops everything and waits until nothing is left.
    pub(crate) async fn close(&self) {
        let containers: Vec<_> = {
            let mut books = self.books.lock();
            self.closing.store(true, Ordering::SeqCst);
            books.pending.clear();
            books.containers.values().cloned().collect()
        };
        for container in containers {
            container.apply(state::Event::Killed);
        }
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.books.lock().containers.is_empty() {
                break;
            }
            emptied.await;
        }
        for factory in &self.factories {
            factory.close().await;
        }
    }
}

impl Books {
    /// When the pool is to be woken, if nobody does so yet.
    fn set_timer(&mut self) -> Option<Duration> {
        let due = self.pool.due().filter(|due| self.timer.is_none_or(|timer| *due < timer))?;
        self.timer = Some(due);
        Some(due)
    }

    fn step(&mut self, event: Event, node: &Arc<Node>, errands: &mut Vec<Errand>) {
        let mut effects = Vec::new();
        let now = node.origin.elapsed();
        let changed = matches!(event, Event::Changed(_));
        let is_over = |pending: &Pending| {
            if !pending.needed.load(Ordering::Acquire) {
                Some(Grant::Withdrawn)
            } else if changed && !node.has_kind(&pending.spec.kind) {
                Some(Grant::NoKind)
            } else {
                None
            }
        };
        let over: Vec<_> =
            self.pending.iter().filter_map(|(id, pending)| Some((*id, is_over(pending)?))).collect();
        for (id, answer) in over {
            if let Some(pending) = self.pending.remove(&id) {
                errands.push(Errand::Answer(pending.grant, answer));
            }
            self.pool.step(Event::Withdrawn(id), now, &mut effects);
        }
        if let Event::Dead { id, .. } = &event {
            self.containers.remove(id);
        }
        self.pool.step(event, now, &mut effects);
        for effect in effects {
            errands.extend(self.errand(effect, node));
        }
    }

    fn errand(&mut self, effect: Effect, node: &Arc<Node>) -> Option<Errand> {
        match effect {
            Effect::Create(request, id) => {
                let Some(pending) = self.pending.remove(&request) else { return Some(Errand::Free(id)) };
                let container = self.open(id, pending.spec, node);
                Some(Errand::Answer(pending.grant, Grant::Container(container)))
            }
            Effect::Claim(request, id) => {
                let stem = Arc::clone(self.containers.get(&id)?);
                let Some(pending) = self.pending.remove(&request) else { return Some(Errand::Evict(stem)) };
                Some(Errand::Answer(pending.grant, Grant::Container(stem)))
            }
            Effect::Refuse(request) => {
                Some(Errand::Answer(self.pending.remove(&request)?.grant, Grant::TooSmall))
            }
            Effect::NoRoom(request) => {
                Some(Errand::Answer(self.pending.remove(&request)?.grant, Grant::NoRoom))
            }
            // The pool goes on to count it: a closing node must not be asked for another one in its place.
            Effect::CreateStem { .. } if node.is_closing() => None,
            Effect::CreateStem { id, kind, memory } => {
                let network = NetworkPolicy::Internet;
                Some(Errand::Stem(self.open(id, ContainerSpec { kind, image: None, memory, network }, node)))
            }
            Effect::Evict(id) => self.containers.get(&id).cloned().map(Errand::Evict),
        }
    }

    fn open(&mut self, id: ContainerId, spec: ContainerSpec, node: &Arc<Node>) -> Arc<PooledContainer> {
        let container = PooledContainer::new(id, spec, node);
        self.containers.insert(id, Arc::clone(&container));
        container
    }
}

/// Takes a request back when its future is dropped.
struct Withdrawal<'a> {
    node: &'a Arc<Node>,
    id: RequestId,
    granted: oneshot::Receiver<Grant>,
    waits: bool,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        self.granted.close();
        self.node.books.lock().pending.remove(&self.id);
        self.node.tell(Event::Withdrawn(self.id));
        if let Ok(Grant::Container(container)) = self.granted.try_recv() {
            self.node.give_back(&container);
        }
    }
}
