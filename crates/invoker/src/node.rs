//! The node's shell around the pool: grants, evictions, and who is told what.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use chasen_entity::exec::BLACKBOX;
use chasen_entity::{ByteSize, Manifest};
use chasen_spi::{AttachmentStore, ContainerFactory, ContainerSpec, Runtimes, StartFailure, StartRequest};
use chasen_telemetry::task;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
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
}

struct Books {
    pool: Pool,
    pending: HashMap<RequestId, Pending>,
    containers: HashMap<ContainerId, Arc<PooledContainer>>,
    next_request: RequestId,
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
            }),
            emptied: Notify::new(),
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

    /// Waits for memory. Dropping the future withdraws the request.
    pub(crate) async fn grant(self: &Arc<Self>, request: &StartRequest) -> Result<Grant, StartFailure> {
        let exec = &request.action.exec;
        let memory = ByteSize::mb(u64::from(request.action.limits.memory));
        let spec = ContainerSpec { kind: exec.kind.clone(), image: exec.image.clone(), memory };
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
            let has_grown = {
                let mut books = self.books.lock();
                books.step(event, self, &mut errands);
                self.appetite.set(books.pool.appetite())
            };
            for errand in errands {
                events.extend(self.run(errand));
            }
            if has_grown {
                events.push(Event::Idle(self.idle_ones()));
            }
        }
    }

    fn run(self: &Arc<Self>, errand: Errand) -> Option<Event> {
        match errand {
            Errand::Answer(sender, grant) => {
                if let Err(Grant::Container(container)) = sender.send(grant) {
                    self.give_back(&container);
                }
            }
            Errand::Free(id) => return Some(Event::Dead { id, failed: false }),
            Errand::Stem(container) => {
                drop(task::spawn("stem cell", making::make_stem(Arc::clone(self), container)));
            }
            Errand::Evict(container) => {
                let refused = container.apply(state::Event::Evicted) == state::Effect::Refuse;
                if refused && !container.state().is_gone() {
                    return Some(Event::Busy(container.id));
                }
            }
        }
        None
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
            // The pool goes on to count it: a closing node must not be asked for another one in its place.
            Effect::CreateStem { .. } if node.is_closing() => None,
            Effect::CreateStem { id, kind, memory } => {
                Some(Errand::Stem(self.open(id, ContainerSpec { kind, image: None, memory }, node)))
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
