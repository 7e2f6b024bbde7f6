//! What the lives have in common: a wall clock that is set forth and back, and who sees every run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chasen_entity::{ActivationId, Invocation, Outcome, ResourceUse, Response};
use chasen_spi::{
    Invoker, ReadyContainer, RunFailure, RunReport, StartFailure, StartRequest, StartedContainer,
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::disk::Life;

/// An hour, in milliseconds.
pub(crate) const HOUR: u64 = 3_600_000;

/// A wall clock: it goes on with the time of the life, and may be set.
#[derive(Debug)]
pub(crate) struct Wall {
    /// What it showed when the life began, with all that it was set since.
    shown: AtomicU64,
    /// The latest that it ever showed.
    latest: AtomicU64,
}

impl Wall {
    pub(crate) fn new() -> Self {
        Self { shown: AtomicU64::new(1_000 * HOUR), latest: AtomicU64::new(0) }
    }

    /// Shows the time in a life that began then.
    pub(crate) fn read(&self, begun: Instant) -> u64 {
        let passed = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now = self.shown.load(Ordering::Relaxed) + passed;
        self.latest.fetch_max(now, Ordering::Relaxed);
        now
    }

    /// Somebody sets it an hour forth, or back.
    pub(crate) fn set(&self, forth: bool) {
        match forth {
            true => self.shown.fetch_add(HOUR, Ordering::Relaxed),
            false => self.shown.fetch_sub(HOUR, Ordering::Relaxed),
        };
    }

    /// A life is over: the next one goes on from here.
    pub(crate) fn pass(&self, life: Duration) {
        self.shown.fetch_add(u64::try_from(life.as_millis()).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn latest(&self) -> u64 {
        self.latest.load(Ordering::Relaxed)
    }
}

/// Runs that were seen: of each activation the latest time that the wall clock had shown until then.
pub(crate) type Seen = Arc<Mutex<BTreeMap<ActivationId, Vec<u64>>>>;

/// What containers know of the world.
pub(crate) struct Surroundings {
    pub(crate) life: Arc<Life>,
    pub(crate) seen: Seen,
    pub(crate) wall: Arc<Wall>,
    pub(crate) begun: Instant,
}

/// A domain whose containers note each run and echo the arguments some time later.
pub(crate) struct Witnessed {
    surroundings: Arc<Surroundings>,
    next: AtomicU64,
}

impl Witnessed {
    pub(crate) fn new(surroundings: Surroundings) -> Self {
        Self { surroundings: Arc::new(surroundings), next: AtomicU64::new(1) }
    }
}

#[async_trait]
impl Invoker for Witnessed {
    async fn start(&self, _: StartRequest) -> Result<StartedContainer, StartFailure> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let container = Arc::new(Cell {
            id,
            surroundings: Arc::clone(&self.surroundings),
            retired: Notify::new(),
            killed: Notify::new(),
        });
        Ok(StartedContainer { container, init_started_at: 0, init_time: Duration::ZERO })
    }

    fn cold_start_estimate(&self, _: &str) -> Duration {
        Duration::from_millis(5)
    }

    async fn close(&self) {}
}

struct Cell {
    id: u64,
    surroundings: Arc<Surroundings>,
    retired: Notify,
    killed: Notify,
}

#[async_trait]
impl ReadyContainer for Cell {
    fn id(&self) -> u64 {
        self.id
    }

    fn slots(&self) -> u32 {
        1
    }

    async fn run(
        &self,
        invocation: &Invocation,
        started: &(dyn Fn() -> bool + Sync),
    ) -> Result<RunReport, RunFailure> {
        let Surroundings { life, seen, wall, begun } = &*self.surroundings;
        let may_run = started();
        // The life may have ended in that very append.
        if life.is_over() {
            return std::future::pending().await;
        }
        if !may_run {
            return Err(RunFailure);
        }
        let started_at = wall.read(*begun);
        seen.lock().entry(invocation.activation_id).or_default().push(wall.latest());
        let took = invocation.arguments.get("ms").and_then(|ms| ms.read().ok()).unwrap_or_default();
        let is_killed =
            tokio::time::timeout(Duration::from_millis(took), self.killed.notified()).await.is_ok();
        if life.is_over() {
            return std::future::pending().await;
        }
        let outcome = if is_killed { Outcome::WhiskError } else { Outcome::Success };
        let response = Response { outcome, result: Some(invocation.arguments.clone()), size: Some(2) };
        Ok(RunReport {
            started_at,
            duration: Duration::from_millis(took),
            response,
            logs: Vec::new(),
            timed_out: false,
            container_lives: !is_killed,
            used: ResourceUse::default(),
        })
    }

    async fn gone(&self) {
        self.retired.notified().await;
    }

    fn retire(&self) {
        self.retired.notify_one();
    }

    fn kill(&self) {
        self.killed.notify_one();
        self.retired.notify_one();
    }
}
