//! The gate: how many are inside, and who may still come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chasen_entity::{Invocation, Role};
use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    draining: AtomicBool,
    cut: AtomicBool,
    inside: AtomicUsize,
    /// How many of those inside are fires.
    fires: AtomicUsize,
    empty: Notify,
}

impl Gate {
    /// Lets an activation in. When the node drains, only steps of work that is inside already, and they too only until
    /// the cut. What rules start names no cause, so everything but fires counts as a step while a fire is inside: that
    /// is for as long as it takes to begin what its rules ask for.
    pub(crate) fn enter(self: &Arc<Self>, invocation: &Invocation) -> Option<Inside> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let mut inside = Inside { gate: Arc::clone(self), is_fire: false };
        let is_fire = matches!(invocation.role, Role::Fire { .. });
        let is_step = invocation.cause.is_some() || (!is_fire && self.fires.load(Ordering::SeqCst) > 0);
        let closed = if is_step { &self.cut } else { &self.draining };
        if closed.load(Ordering::SeqCst) {
            return None;
        }
        if is_fire {
            self.fires.fetch_add(1, Ordering::SeqCst);
            inside.is_fire = true;
        }
        Some(inside)
    }

    /// Lets nobody in any more but steps.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Lets nobody in at all.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// True once new work is not let in.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }

    /// True once the rest is being cut off.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }

    /// How many are inside.
    pub(crate) fn inside(&self) -> usize {
        self.inside.load(Ordering::SeqCst)
    }

    /// Waits until nobody is inside; to be asked once the node drains.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.empty.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.inside() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// Somebody inside; leaves when dropped.
pub(crate) struct Inside {
    gate: Arc<Gate>,
    is_fire: bool,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.is_fire {
            self.gate.fires.fetch_sub(1, Ordering::SeqCst);
        }
        let last = self.gate.inside.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.gate.is_draining() {
            self.gate.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use chasen_entity::{ActivationId, Parameters};
    use chasen_spi::memory::invocation;

    use super::*;

    #[test]
    fn a_draining_gate_lets_in_what_work_inside_asks_for() {
        let gate = Arc::new(Gate::default());
        let plain = invocation("guest", "hello", "k:1", "{}");
        let step = Invocation { cause: Some(ActivationId::from_bytes([1; 16])), ..plain.clone() };
        let fire = Invocation { role: Role::Fire { beneath: Parameters::new() }, ..plain.clone() };
        let fired = gate.enter(&fire).unwrap();
        gate.drain();
        assert!(gate.enter(&step).is_some());
        let started = gate.enter(&plain).unwrap();
        assert!(gate.enter(&fire).is_none(), "a fire starts none");
        assert_eq!(gate.inside(), 2);
        drop(fired);
        assert!(gate.enter(&plain).is_none() && gate.enter(&step).is_some());
        gate.cut();
        assert!(gate.enter(&step).is_none());
        drop(started);
        assert_eq!(gate.inside(), 0);
    }
}
