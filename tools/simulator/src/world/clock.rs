//! Virtual time: what happens when, and of two things that happen at once the one that was planned first.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::trace::Micros;

/// Number of a container in a simulation: unlike a pool's, never used twice.
pub(super) type Serial = u64;
/// Number of an activation.
pub(super) type CallId = u64;

/// Something that happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Planned {
    /// A function is done.
    Finished(CallId),
    /// Whoever waits has waited long enough.
    Deadline(CallId),
    /// A queue asked to be woken; its life says whether it is the same queue still.
    Woken { action: usize, life: u64 },
    /// A container exists.
    Created(Serial),
    /// A container has its action.
    Initialized(Serial),
    /// A freeze has ended.
    Froze(Serial),
    /// A thaw has ended, for this call.
    Thawed(Serial, CallId),
    /// Nothing is left of a container.
    Stopped(Serial),
    /// A keeper looks after its container.
    Keep(Serial),
    /// A node looks after its stem cells.
    Adjust { node: usize, life: u64 },
    /// A node looks at the pressure on its processors.
    Look { node: usize, life: u64 },
    /// A pool can do what it could not do before.
    Due { node: usize, life: u64 },
    /// A node dies.
    NodeDown(usize),
    /// Others know that it is dead.
    NodeLost(usize),
    /// It is back, with nothing on it.
    NodeUp(usize),
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    at: Micros,
    number: u64,
    planned: Planned,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) now: Micros,
    planned: BinaryHeap<Reverse<Entry>>,
    number: u64,
}

impl Clock {
    /// Plans something for a time from now.
    pub(super) fn plan(&mut self, after: Micros, planned: Planned) {
        self.plan_at(self.now.saturating_add(after), planned);
    }

    /// Plans something for a time, or for now if that is over.
    pub(super) fn plan_at(&mut self, at: Micros, planned: Planned) {
        self.number += 1;
        let entry = Entry { at: at.max(self.now), number: self.number, planned };
        self.planned.push(Reverse(entry));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Micros> {
        self.planned.peek().map(|Reverse(entry)| entry.at)
    }

    /// Goes on to the next thing.
    pub(super) fn next(&mut self) -> Option<Planned> {
        let Reverse(entry) = self.planned.pop()?;
        self.now = entry.at;
        Some(entry.planned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order_and_at_once_as_they_were_planned() {
        let mut clock = Clock::default();
        for (at, call) in [(5, 1), (3, 2), (5, 3), (3, 4)] {
            clock.plan_at(at, Planned::Finished(call));
        }
        let mut order = Vec::new();
        while let Some(planned) = clock.next() {
            order.push((clock.now, planned));
        }
        let expected = [(3, 2), (3, 4), (5, 1), (5, 3)].map(|(at, call)| (at, Planned::Finished(call)));
        assert_eq!(order, expected);
        clock.plan_at(1, Planned::Finished(9));
        assert_eq!(clock.next_at(), Some(5), "nothing happens in the past");
    }
}
