//! Scaling as OpenWhisk's sharding balancer has it: whoever finds no slot gets a container.

use chasen_spi::{Decision, Load, Scaling};

/// Starts a container for everybody who finds no slot, never waits for one that is busy, and plans nothing ahead. For
/// comparison.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sharding;

impl Scaling for Sharding {
    fn decide(&self, load: &Load) -> Decision {
        match load.short().div_ceil(load.concurrency.max(1)).min(load.room()) {
            0 => Decision::Enough,
            count => Decision::Start(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::event_driven::tests::{MS, load};

    #[test]
    fn whoever_finds_no_slot_gets_a_container() {
        for (what, load, decision) in [
            ("the first", load(), Decision::Start(1)),
            ("its container is coming", Load { starting: 1, ..load() }, Decision::Enough),
            (
                "short runs, too",
                Load { queued: 5, running: 1, service: Some(MS(1)), ..load() },
                Decision::Start(5),
            ),
            ("concurrency is bought", Load { queued: 5, concurrency: 4, ..load() }, Decision::Start(2)),
            ("the action's own bound", Load { queued: 5, instances: 3, ..load() }, Decision::Start(3)),
        ] {
            assert_eq!(Sharding.decide(&load), decision, "{what}");
        }
    }
}
