//! The door to every execution, which an operator can close to new work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chasen_entity::Invocation;
use chasen_spi::{Invoke, Position, Rejection, Session, Ticket};

/// See the module. Steps of work that is under way pass a closed door, and so does work of an earlier life.
pub(crate) struct Switch {
    door: Arc<dyn Invoke>,
    closed: AtomicBool,
}

impl Switch {
    pub(crate) fn new(door: Arc<dyn Invoke>) -> Self {
        Self { door, closed: AtomicBool::new(false) }
    }

    /// Opens or closes the door.
    pub(crate) fn set_enabled(&self, enabled: bool) {
        self.closed.store(!enabled, Ordering::Relaxed);
    }

    /// See [`Invoke::invoke`].
    pub(crate) fn invoke(&self, invocation: Invocation) -> Result<Ticket, Rejection> {
        self.pass(&invocation)?;
        self.door.invoke(invocation)
    }

    /// See [`Invoke::schedule`].
    pub(crate) fn schedule(&self, invocation: Arc<Invocation>) -> Result<Position, Rejection> {
        self.pass(&invocation)?;
        self.door.schedule(invocation)
    }

    /// See [`Invoke::open`].
    pub(crate) fn open(&self, invocation: Arc<Invocation>) -> Result<Session, Rejection> {
        self.pass(&invocation)?;
        self.door.open(invocation)
    }

    /// The door for what an operator does not close: waiting, looking, cancelling, going on.
    pub(crate) fn under_way(&self) -> &dyn Invoke {
        &*self.door
    }

    fn pass(&self, invocation: &Invocation) -> Result<(), Rejection> {
        let refused = self.closed.load(Ordering::Relaxed) && invocation.part_of().is_none();
        if refused { Err(Rejection::Draining) } else { Ok(()) }
    }
}
