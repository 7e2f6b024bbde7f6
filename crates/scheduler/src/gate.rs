//! The gate: how many are inside, and who may still come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    draining: AtomicBool,
    cut: AtomicBool,
    inside: AtomicUsize,
    empty: Notify,
}

impl Gate {
    /// Lets an activation in. When the node drains, only parts of work that is inside already, and they too only until
    /// the cut.
    pub(crate) fn enter(self: &Arc<Self>, is_part: impl FnOnce() -> bool) -> Option<Inside> {
        self.inside.fetch_add(1, Ordering::SeqCst);
        let inside = Inside { gate: Arc::clone(self) };
        let is_closed = self.is_cut() || (self.is_draining() && !is_part());
        (!is_closed).then_some(inside)
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
}

impl Drop for Inside {
    fn drop(&mut self) {
        let last = self.gate.inside.fetch_sub(1, Ordering::SeqCst) == 1;
        if last && self.gate.is_draining() {
            self.gate.empty.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draining_gate_lets_in_parts_of_what_is_inside() {
        let gate = Arc::new(Gate::default());
        let [is_part, is_new] = [|| true, || false];
        let first = gate.enter(is_new).unwrap();
        gate.drain();
        assert!(gate.enter(is_new).is_none());
        let part = gate.enter(is_part).unwrap();
        assert_eq!(gate.inside(), 2);
        gate.cut();
        assert!(gate.enter(is_part).is_none());
        drop((first, part));
        assert_eq!(gate.inside(), 0);
    }
}
