//! Scaling: how many containers an action gets, decided on events only.

use std::fmt::Debug;
use std::time::Duration;

/// A policy of scaling. Pure: the same load gives the same decision.
pub trait Scaling: Debug + Send + Sync {
    /// What to do about a load of which at least one activation waits.
    fn decide(&self, load: &Load) -> Decision;
}

/// What a policy looks at: one action, its queue and its containers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Activations that wait.
    pub queued: usize,
    /// Containers that take work.
    pub running: usize,
    /// Containers in the making, those that wait for room among them.
    pub starting: usize,
    /// Activations that share a container, at least 1.
    pub concurrency: usize,
    /// Most containers of the action.
    pub instances: usize,
    /// Most containers in the making at a time.
    pub max_starting: usize,
    /// Mean time of a run, the last ten seconds weighing most; `None` before the first one ended.
    pub service: Option<Duration>,
    /// Arrivals per second, the last ten seconds weighing most.
    pub arrivals: f64,
    /// Expected time until a new container is ready.
    pub cold_estimate: Duration,
    /// How long the first in the queue has waited.
    pub waited: Duration,
}

impl Load {
    /// Activations that wait beyond what the containers in the making will take.
    #[must_use]
    pub fn short(&self) -> usize {
        self.queued.saturating_sub(self.starting.saturating_mul(self.concurrency.max(1)))
    }

    /// Containers there are or will be.
    #[must_use]
    pub fn present(&self) -> usize {
        self.running.saturating_add(self.starting)
    }

    /// Containers that may be started: what the action's own bound and that of starts leave.
    #[must_use]
    pub fn room(&self) -> usize {
        let instances = self.instances.saturating_sub(self.present());
        instances.min(self.max_starting.saturating_sub(self.starting))
    }
}

/// What to do about a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// There is or will be a container for everybody who waits, or no more may be started.
    Enough,
    /// Start none now, and look again after this time at the latest.
    Wait(Duration),
    /// Start this many.
    Start(usize),
}
