//! The scheduler: takes invocations in and sees them through to their record.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use chasen_entity::{ActionKey, Invocation};
use chasen_spi::{DeadLetterStore, EventLog, Invoker, ParameterLock, Rejection, Sessions};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::action_queue::{ActionQueue, Arrival, Queues, Surroundings};
use crate::due::Calendar;
use crate::ends::Ends;
use crate::gate::{Gate, Inside};
use crate::places::Places;
use crate::queue::{Bounds, Turn};
use crate::run::Place;
use crate::session::OpenSessions;
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
    pub(crate) lock: Arc<dyn ParameterLock>,
    pub(crate) letters: Arc<dyn DeadLetterStore>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) surroundings: Surroundings,
    pub(crate) ends: Arc<Ends>,
    /// Work that its opener does itself.
    pub(crate) sessions: OpenSessions,
    /// Work that is not due yet, or waits for room.
    pub(crate) calendar: Calendar,
    pub(crate) places: Arc<Places>,
    /// The other end is gone when all work of an earlier life is known; none before anybody has looked.
    pub(crate) taking_up: OnceLock<watch::Receiver<()>>,
    /// Who does the work of sessions, once that is known.
    pub(crate) opener: OnceLock<Weak<dyn Sessions>>,
    pub(crate) queues: Arc<Queues>,
}

impl Scheduler {
    /// A scheduler that hands work to the router's domains and writes what happens to the log. Locked parameters stay
    /// locked in the log, and are unlocked for what runs. What is lost as often as it may be becomes a dead letter.
    #[must_use]
    pub fn new(
        config: SchedulerConfig,
        router: KindRouter,
        log: Arc<dyn EventLog>,
        lock: Arc<dyn ParameterLock>,
        letters: Arc<dyn DeadLetterStore>,
    ) -> Self {
        let queues: Arc<Queues> = Arc::default();
        let surroundings =
            Surroundings { origin: Instant::now(), load: Arc::default(), queues: Arc::downgrade(&queues) };
        let calendar = Calendar::default();
        let places = Places::new(config.max_recovering, calendar.news());
        let shared = Shared {
            config,
            router,
            log,
            lock,
            letters,
            gate: Arc::default(),
            surroundings,
            ends: Arc::default(),
            sessions: OpenSessions::default(),
            calendar,
            places,
            taking_up: OnceLock::new(),
            opener: OnceLock::new(),
            queues,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes no more work and waits until what is there has ended; work that the caller of
    /// [`open`](Invoke::open) does itself may still take its next steps. At the deadline the rest is cut off: its
    /// containers are stopped, it takes no more steps, and it ends in whisk errors. Returns how many activations were
    /// cut off.
    pub async fn drain(&self, deadline: Instant) -> usize {
        let gate = &self.shared.gate;
        gate.drain();
        if tokio::time::timeout_at(deadline, gate.emptied()).await.is_ok() {
            return 0;
        }
        let rest = gate.inside();
        gate.cut();
        let queues: Vec<Arc<ActionQueue>> = self.shared.queues.pin().values().cloned().collect();
        for queue in queues {
            queue.cut();
        }
        let end = async {
            self.shared.router.close().await;
            gate.emptied().await;
        };
        if tokio::time::timeout(CUT_GRACE, end).await.is_err() {
            let left = gate.inside();
            tracing::error!(
                left,
                "activations did not end when they were cut off; the next start records them"
            );
        }
        rest
    }

    /// True once it takes no more new work.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.gate.is_draining()
    }

    /// Activations under way: waiting, running, or done by whoever opened them.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.gate.inside()
    }

    /// Actions that have a queue.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.shared.queues.len()
    }
}

/// True if it was let in before, and must not be refused now.
fn is_accepted(turn: Turn) -> bool {
    matches!(turn, Turn::LastAnyway | Turn::Again(_))
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
                Arrival::Wait(waiting) if is_accepted(turn) || !self.is_full(invocation) => {
                    return Ok(Place::Queue(waiting));
                }
                Arrival::Wait(_) => return Err(Rejection::Overloaded),
                Arrival::Full(rejection) => return Err(rejection),
                Arrival::News => {
                    let scaling = &self.config.policies.of(invocation).scaling;
                    queue.update(&invocation.action, self.domain(invocation)?, scaling);
                }
                Arrival::Closed => {}
            }
        }
    }

    /// A step is part of work that was let in when there was room, and whoever does not wait has time.
    pub(crate) fn turn(&self, invocation: &Invocation) -> Turn {
        let limit = Duration::from_millis(u64::from(invocation.action.limits.timeout));
        match invocation.blocking && invocation.cause.is_none() {
            true => Turn::InTime(limit.min(self.config.max_wait_blocking)),
            false => Turn::Last,
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
        let scaling = &self.config.policies.of(invocation).scaling;
        let surroundings = self.surroundings.clone();
        Ok(Arc::new(ActionQueue::new(key.clone(), action, domain, scaling, bounds, surroundings)))
    }

    fn domain(&self, invocation: &Invocation) -> Result<&Arc<dyn Invoker>, Rejection> {
        let exec = &invocation.action.exec;
        self.router.domain(exec).ok_or_else(|| Rejection::NoDomain(exec.kind.clone()))
    }

    /// Lets work in. A part of what is inside that is refused at the cut leaves that to the next life of the node, too.
    pub(crate) fn enter(&self, invocation: &Invocation) -> Result<Inside, Rejection> {
        let whole = invocation.part_of();
        let is_part = || whole.is_some_and(|whole| self.sessions.is_open(&whole));
        self.gate.enter(is_part).ok_or_else(|| {
            if let Some(whole) = whole {
                self.sessions.leave(&whole);
            }
            Rejection::Draining
        })
    }

    pub(crate) fn is_full(&self, invocation: &Invocation) -> bool {
        self.surroundings.load.is_full(&invocation.identity.namespace.name, &self.config)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use chasen_entity::{Outcome, error_text};
    use chasen_spi::memory::{MemoryDeadLetterStore, MemoryEventLog, invocation};
    use chasen_spi::{Invoke, NoLock, StartFailure, StartRequest, StartedContainer};

    use super::*;

    /// A domain with a mistake in it.
    struct Mistaken;

    #[async_trait]
    impl Invoker for Mistaken {
        async fn start(&self, _request: StartRequest) -> Result<StartedContainer, StartFailure> {
            panic!("a mistake")
        }

        fn cold_start_estimate(&self, _kind: &str) -> Duration {
            Duration::ZERO
        }

        async fn close(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_start_that_broke_off() {
        let router = KindRouter::new().route(|_, _| true, Arc::new(Mistaken));
        let log = Arc::new(MemoryEventLog::default());
        let letters = Arc::new(MemoryDeadLetterStore::default());
        let scheduler = Scheduler::new(SchedulerConfig::default(), router, log, Arc::new(NoLock), letters);
        let begun = Instant::now();
        for _ in 0..2 {
            let record = scheduler.invoke(invocation("guest", "a", "k:1", "{}")).unwrap().await;
            assert_eq!(record.response.outcome, Outcome::WhiskError);
            assert!(record.response.result.as_ref().unwrap().as_str().contains(error_text::NOT_PROVISIONED));
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert_eq!(scheduler.queues(), 0);
    }
}
