//! What a queue is told and what it wants done.

use std::sync::Arc;
use std::time::Duration;

use chasen_entity::{Millis, Revision};
use chasen_spi::Scaling;

/// What a queue keeps of the newest state of its action.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Stored state; containers of an older one get no more work.
    pub revision: Revision,
    /// Activations that share a container, unless its runtime takes fewer.
    pub concurrency: u32,
    /// Most containers; absent means no own bound.
    pub instances: Option<u32>,
    /// Expected time until a new container is ready.
    pub cold_estimate: Duration,
    /// What decides when containers are started.
    pub scaling: Arc<dyn Scaling>,
}

/// Something happened. `C` is the handle of a container, `W` of a waiting activation.
#[derive(Debug)]
pub enum Event<C, W> {
    /// The action was seen in a newer state.
    Updated(Shape),
    /// An activation wants a slot; answered by [`Effects::admission`].
    Arrived {
        /// Size it would have in the queue.
        bytes: usize,
        /// Where it belongs in the queue.
        turn: Turn,
    },
    /// The activation whose arrival was answered with [`Admission::Wait`] has queued up.
    Queued {
        /// Whom to give the slot to.
        waiter: W,
        /// Number from its admission, which also says where in the queue it belongs.
        number: u64,
        /// Its size.
        bytes: usize,
    },
    /// A waiting activation gives up.
    Abandoned {
        /// Number from its admission.
        number: u64,
    },
    /// A container is ready.
    Started {
        /// It.
        container: C,
        /// Its number.
        id: u64,
        /// Calls that it takes at once.
        slots: u32,
        /// State of the action that it was made for.
        revision: Revision,
        /// How long its initialisation took.
        init_time: Duration,
        /// Expected time for the next one.
        cold_estimate: Duration,
    },
    /// A container could not be made.
    StartFailed {
        /// State of the action that it was for.
        revision: Revision,
    },
    /// A start was given up because nothing needed it.
    StartWithdrawn {
        /// State of the action that it was for.
        revision: Revision,
    },
    /// A run is over.
    Released {
        /// Slot that it had.
        place: Place,
        /// How long it took; `None` if nothing ran.
        service: Option<Duration>,
        /// False if the container went with it.
        lives: bool,
    },
    /// A container takes no more work.
    Gone {
        /// Its number.
        id: u64,
    },
    /// The time of [`Effects::wake_at`] has come.
    Woken,
    /// Everything that waits is to be given up.
    Cut,
}

/// Where an arrival belongs in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At the end, if there is room.
    Last,
    /// At the end, if there is room and it is not expected to wait for as long as this.
    InTime(Duration),
    /// At the end, room or not: it was accepted before.
    LastAnyway,
    /// Where the arrival of this number had its place: it had a slot, and lost it.
    Again(u64),
}

/// Where a slot belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) index: usize,
    pub(super) id: u64,
}

impl Place {
    /// Number of the container.
    #[must_use]
    pub fn container(&self) -> u64 {
        self.id
    }
}

/// One call of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot<C> {
    /// Where it belongs.
    pub place: Place,
    /// The container.
    pub container: C,
    /// Time that the initialisation took which this activation waited for.
    pub init_time: Option<Duration>,
}

/// Answer to an arrival.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission<C> {
    /// Run on this slot.
    Run {
        /// It.
        slot: Slot<C>,
        /// Number of this arrival.
        number: u64,
    },
    /// Queue up.
    Wait {
        /// Number of this arrival.
        number: u64,
    },
    /// The queue is at its bound, or too slow for whoever asks.
    Full,
    /// The same, and no more containers are what the action asks for itself.
    OverOwnLimit {
        /// Activations of the action that run or wait.
        in_flight: u64,
        /// How many of them may run at once.
        allowed: u64,
    },
    /// The queue is closed; there is or will be another one.
    Closed,
}

/// What is to be done after a step. Empty ones allocate nothing.
#[derive(Debug)]
pub struct Effects<C, W> {
    /// Answer to an arrival.
    pub admission: Option<Admission<C>>,
    /// Waiting activations that got a slot.
    pub assigned: Vec<(W, Slot<C>)>,
    /// Waiting activations that get none: the failure of the event is theirs.
    pub failed: Vec<W>,
    /// Containers to retire.
    pub retired: Vec<C>,
    /// Containers to start.
    pub starts: u32,
    /// When to send [`Event::Woken`].
    pub wake_at: Option<Millis>,
    /// True if the queue is closed and may be forgotten.
    pub closed: bool,
}

impl<C, W> Default for Effects<C, W> {
    fn default() -> Self {
        Self {
            admission: None,
            assigned: Vec::new(),
            failed: Vec::new(),
            retired: Vec::new(),
            starts: 0,
            wake_at: None,
            closed: false,
        }
    }
}
