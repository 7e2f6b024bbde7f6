//! What a pool is told and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{ByteSize, Manifest};

use super::{Request, RequestId};

/// Number of a container on its node.
pub type ContainerId = u64;

/// Bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// Memory for containers.
    pub capacity: ByteSize,
    /// Part of it that only first containers get.
    pub reserve: ByteSize,
    /// Stem cells are made while fewer containers than this are in the making.
    pub quiet_below: usize,
    /// Containers beyond the first of their action that are started in a second, and at once; `None` for no bound.
    pub burst: Option<u32>,
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Somebody wants a container.
    Requested(Request),
    /// Somebody does not want one any more, and has none yet.
    Withdrawn(RequestId),
    /// A container of a tenant is ready.
    Made(ContainerId),
    /// A stem cell is up.
    StemUp(ContainerId),
    /// These containers have become idle. Told as the pool's [`Appetite`] is.
    Idle(Vec<(ContainerId, Worth)>),
    /// A container that was to be evicted is busy.
    Busy(ContainerId),
    /// A container has idled for as long as containers are kept; its namespace may keep this many of its action.
    Expired {
        /// Which.
        id: ContainerId,
        /// How many.
        keep: u32,
    },
    /// The node's processors are under pressure from now on, or no more.
    Pressed(bool),
    /// The time of [`Pool::due`](super::Pool::due) has come.
    Due,
    /// A container is being stopped.
    Stopping(ContainerId),
    /// Nothing is left of a container. `failed` if it could not be made.
    Dead {
        /// Which.
        id: ContainerId,
        /// True if its creation failed.
        failed: bool,
    },
    /// Time to look after stem cells: their life, and the demand for them.
    Adjust,
    /// The kinds of the platform have changed.
    Changed(Arc<Manifest>),
}

/// Which containers a pool wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Appetite {
    /// None: nobody waits.
    None,
    /// Those that rest.
    Resting,
    /// Those too that are between two calls: somebody waits for a first container.
    Idle,
}

/// Time in cold starts for which a container serves before it has to go between two calls, and for which it may be
/// without a call, a second at least, before it goes for a first container of a namespace that holds more.
const TENURE: u32 = 10;
const SHORTEST_LEAVE: Duration = Duration::from_secs(1);

/// How long a container may be without a call before it goes for a next container of a namespace that holds more.
const RECENT: Duration = Duration::from_secs(60);

/// Bounds of the time without a call from which a container is idle and not between two calls; it is a tenth of a cold
/// start.
const SHORTEST_IDLE: Duration = Duration::from_millis(1);
const LONGEST_IDLE: Duration = Duration::from_millis(100);

/// For what a container would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// For the first container of an action; else for a next one.
    pub for_first: bool,
    /// Its namespace holds less than the one that it would go for.
    pub from_less: bool,
}

impl Terms {
    /// Those on which one may go soonest.
    pub const BEST: Self = Self { for_first: true, from_less: false };
}

/// What makes an idle container worth keeping.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Worth {
    /// True if it has been idle for a while; false if it may be between two calls.
    pub resting: bool,
    /// Activations that it has run.
    pub uses: u64,
    /// Since when it serves.
    pub age: Duration,
    /// Since when no call is in it.
    pub idle: Duration,
    /// Time that a new one would take.
    pub cold_start: Duration,
}

impl Worth {
    /// How long it is from now until it may go on these terms, if no call comes; `None` if it has to rest first.
    #[must_use]
    pub fn may_go_in(&self, terms: Terms) -> Option<Duration> {
        let after = |idle: Duration| idle.saturating_sub(self.idle);
        let tenure = self.cold_start.saturating_mul(TENURE);
        match terms {
            Terms { for_first: true, from_less: true } => Some(after(tenure.max(SHORTEST_LEAVE))),
            Terms { for_first: false, from_less: true } => self.resting.then(|| after(RECENT)),
            _ if self.resting => Some(Duration::ZERO),
            Terms { for_first: true, from_less: false } => {
                let idle = after((self.cold_start / 10).clamp(SHORTEST_IDLE, LONGEST_IDLE));
                Some(idle.min(tenure.saturating_sub(self.age)))
            }
            Terms { for_first: false, from_less: false } => None,
        }
    }

    /// Uses per minute × milliseconds of a cold start ÷ MB, when this has been known for so long.
    #[must_use]
    pub fn score(&self, memory: ByteSize, known_for: Duration) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a score")]
        let number = |value: u64| value as f64;
        let minutes = (self.age.saturating_add(known_for).as_secs_f64() / 60.0).max(1.0 / 60.0);
        let megabytes = number(memory.as_mb().max(1));
        number(self.uses) / minutes * self.cold_start.as_secs_f64() * 1000.0 / megabytes
    }
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Memory is granted: make this container for the request.
    Create(RequestId, ContainerId),
    /// Take this stem cell for the request.
    Claim(RequestId, ContainerId),
    /// The node is too small for the request.
    Refuse(RequestId),
    /// There is no room for a request that does not wait.
    NoRoom(RequestId),
    /// Make a stem cell.
    CreateStem {
        /// Its number.
        id: ContainerId,
        /// Kind.
        kind: String,
        /// Memory.
        memory: ByteSize,
    },
    /// Stop this container if it is idle and [`Pool::may_go`](super::Pool::may_go); say [`Event::Busy`] if not.
    Evict(ContainerId),
}
