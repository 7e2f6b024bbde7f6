//! The scheduler: takes invocations in and sees them through to their record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chasen_entity::{ActionKey, Event, Invocation};
use chasen_spi::{EventLog, Invoke, Invoker, Rejection, Ticket};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::action_queue::{ActionQueue, Arrival, Queues, Surroundings};
use crate::queue::{Bounds, Turn};
use crate::run::{Place, Run};
use crate::{KindRouter, SchedulerConfig};

/// How long a drain waits for records of work that it has just cut off.
const CUT_GRACE: Duration = Duration::from_secs(10);

/// See the module. Clones are handles of the same scheduler.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: SchedulerConfig,
    pub(crate) router: KindRouter,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) gate: Arc<Gate>,
    queues: Arc<Queues>,
    surroundings: Surroundings,
}

/// Who is inside, and whether anybody may still come in.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    draining: AtomicBool,
    cut: AtomicBool,
    inside: AtomicUsize,
    empty: Notify,
}

impl Scheduler {
    /// A scheduler that hands work to the router's domains and writes what happens to the log.
    #[must_use]
    pub fn new(config: SchedulerConfig, router: KindRouter, log: Arc<dyn EventLog>) -> Self {
        let queues: Arc<Queues> = Arc::default();
        let surroundings =
            Surroundings { origin: Instant::now(), load: Arc::default(), queues: Arc::downgrade(&queues) };
        let shared = Shared { config, router, log, gate: Arc::default(), queues, surroundings };
        Self { shared: Arc::new(shared) }
    }

    /// Takes no more work and waits until what is there has ended. At the deadline the rest is cut off: its
    /// containers are stopped and it ends in whisk errors. Returns how many activations were cut off.
    pub async fn drain(&self, deadline: Instant) -> usize {
        let gate = &self.shared.gate;
        gate.draining.store(true, Ordering::SeqCst);
        if tokio::time::timeout_at(deadline, gate.emptied()).await.is_ok() {
            return 0;
        }
        let rest = gate.inside.load(Ordering::SeqCst);
        gate.cut.store(true, Ordering::SeqCst);
        let queues: Vec<Arc<ActionQueue>> = self.shared.queues.pin().values().cloned().collect();
        for queue in queues {
            queue.cut();
        }
        let end = async {
            self.shared.router.close().await;
            gate.emptied().await;
        };
        if tokio::time::timeout(CUT_GRACE, end).await.is_err() {
            let left = gate.inside.load(Ordering::SeqCst);
            tracing::error!(
                left,
                "activations did not end when they were cut off; the next start records them"
            );
        }
        rest
    }

    /// Activations under way: waiting or running.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.gate.inside.load(Ordering::SeqCst)
    }

    /// Actions that have a queue.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.shared.queues.len()
    }
}

impl Invoke for Scheduler {
    fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        let inside = self.shared.gate.enter().ok_or(Rejection::Draining)?;
        let invocation = Arc::new(invocation);
        let place = self.shared.place(&invocation, Turn::Last)?;
        self.shared.log.append(&Event::Accepted(Arc::clone(&invocation)))?;
        let run = Run::new(Arc::clone(&self.shared), invocation, place, inside);
        Ok(Ticket::new(Box::pin(run.finish())))
    }
}

impl Shared {
    /// A slot or a place in the queue of this action.
    pub(crate) fn place(&self, invocation: &Arc<Invocation>, turn: Turn) -> Result<Place, Rejection> {
        let key = invocation.key();
        let queues = self.queues.pin();
        loop {
            let queue = match queues.get(&key) {
                Some(queue) => queue,
                None => queues.get_or_insert(key.clone(), self.new_queue(&key, invocation)?),
            };
            match queue.arrive(invocation, turn) {
                Arrival::Run(slot) => return Ok(Place::Slot(slot)),
                Arrival::Wait(waiting) if turn != Turn::Last || !self.overloaded() => {
                    return Ok(Place::Queue(waiting));
                }
                Arrival::Wait(_) | Arrival::Full => return Err(Rejection::Overloaded),
                Arrival::News => queue.update(&invocation.action, self.domain(invocation)?),
                Arrival::Closed => {}
            }
        }
    }

    fn new_queue(&self, key: &ActionKey, invocation: &Invocation) -> Result<Arc<ActionQueue>, Rejection> {
        let domain = Arc::clone(self.domain(invocation)?);
        let bounds = Bounds {
            waiting: self.config.max_queued,
            bytes: self.config.max_queued_bytes,
            starting: self.config.max_starting,
        };
        let action = Arc::clone(&invocation.action);
        Ok(Arc::new(ActionQueue::new(key.clone(), action, domain, bounds, self.surroundings.clone())))
    }

    fn domain(&self, invocation: &Invocation) -> Result<&Arc<dyn Invoker>, Rejection> {
        let exec = &invocation.action.exec;
        self.router.domain(exec).ok_or_else(|| Rejection::NoDomain(exec.kind.clone()))
    }

    fn overloaded(&self) -> bool {
        let load = &self.surroundings.load;
        load.queued.load(Ordering::Relaxed) > self.config.max_queued_node
            || load.bytes.load(Ordering::Relaxed) > self.config.max_queued_bytes_node
    }
}

impl Gate {
    /// Lets somebody in, unless the node drains.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Inside> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside { gate: Arc::clone(self) };
        (!self.draining.load(Ordering::SeqCst)).then_some(inside)
    }

    /// True once the rest is being cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.inside.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// Somebody inside; leaves when dropped.
pub(crate) struct Inside {
    gate: Arc<Gate>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        let last = self.gate.inside.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.gate.draining.load(Ordering::SeqCst) {
            self.gate.empty.notify_waiters();
        }
    }
}
