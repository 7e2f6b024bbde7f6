//! Bounds of the scheduler.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chasen_entity::Millis;

use crate::Policies;

/// Settings of a [`crate::Scheduler`].
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// Most activations that wait for one action. Default 20 000.
    pub max_queued: usize,
    /// Most bytes of arguments and parameters that wait for one action. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Most bytes of arguments and parameters that wait for one namespace. Default 64 MiB.
    pub max_queued_bytes_namespace: usize,
    /// Most activations that wait on the node. Default 100 000.
    pub max_queued_node: usize,
    /// Most bytes of arguments and parameters that wait on the node. Default 256 MiB.
    pub max_queued_bytes_node: usize,
    /// Longest wait of a blocking activation for a slot; then it ends in a whisk error. Default 60 s.
    /// Where a container is in the making then, the action's time limit is added.
    pub max_wait_blocking: Duration,
    /// Longest wait of an activation that nobody waits for. Default 15 min.
    pub max_wait_non_blocking: Duration,
    /// Most containers of one action in the making at a time. Default 16.
    pub max_starting: usize,
    /// When containers are started, and where. Default: the platform's own policies.
    pub policies: Arc<Policies>,
    /// Most activations that are taken up at a time: of an earlier life, or because they are due. Default 256.
    pub max_recovering: usize,
    /// Most activations of one namespace that wait in the log: until they are due, or for room. Default 100 000.
    pub max_pending_namespace: usize,
    /// Most activations of the node that do. Default 1 000 000.
    pub max_pending_node: usize,
    /// What says when work is due. Default: the machine's clock.
    pub clock: WallClock,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            max_queued: 20_000,
            max_queued_bytes: 64 << 20,
            max_queued_bytes_namespace: 64 << 20,
            max_queued_node: 100_000,
            max_queued_bytes_node: 256 << 20,
            max_wait_blocking: Duration::from_secs(60),
            max_wait_non_blocking: Duration::from_secs(15 * 60),
            max_starting: 16,
            policies: Arc::default(),
            max_recovering: 256,
            max_pending_namespace: 100_000,
            max_pending_node: 1_000_000,
            clock: WallClock::default(),
        }
    }
}

/// A clock that may be set forth and back, in epoch milliseconds.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Millis + Send + Sync>);

impl WallClock {
    /// A clock that is read so.
    #[must_use]
    pub fn new(read: impl Fn() -> Millis + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn now(&self) -> Millis {
        (self.0)()
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new(chasen_telemetry::clock::now)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
