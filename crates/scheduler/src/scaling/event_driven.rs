//! When to wait for a busy container and when to start another one: the default.

use std::time::Duration;

use chasen_spi::{Decision, Load, Scaling};

/// Share of the time that a container is busy at a steady pace; what is left absorbs chance.
const STEADY_USE: f64 = 0.7;

/// A wait that is expected to be shorter than this, and than a run, is not worth a container.
const WORTH: Duration = Duration::from_millis(5);

/// Compares the expected wait with a cold start, and keeps as many containers as a steady pace needs.
///
/// - Nobody waits beyond what is in the making: nothing to do.
/// - A slot is expected sooner than a new container: wait for it, but no longer than a cold start, because an estimate
///   may be wrong. A run that waits for a nested one of the same action never ends by itself.
/// - Even so, if the containers are fewer than the [steady target](Self::steady_target) and the wait is worth it: one.
/// - Else as many as are short, at most as many again as run.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventDriven;

impl EventDriven {
    /// Containers that the pace of arrivals keeps busy for seven tenths of the time: `ceil(λ · W ÷ m ÷ 0.7)`. What is
    /// beyond goes by itself: the last used container is used first, so that the others idle until their time is over
    /// or their memory is wanted.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small number that is not negative; larger ones saturate"
    )]
    pub fn steady_target(&self, load: &Load) -> usize {
        let service = load.service.unwrap_or_default().as_secs_f64();
        (load.arrivals * service / to_f64(load.concurrency.max(1)) / STEADY_USE).ceil() as usize
    }
}

impl Scaling for EventDriven {
    fn decide(&self, load: &Load) -> Decision {
        let concurrency = load.concurrency.max(1);
        let (short, room) = (load.short(), load.room());
        if short == 0 {
            return Decision::Enough;
        }
        if load.present() > 0
            && load.waited < load.cold_estimate
            && let Some(service) = load.service
        {
            let slots = load.present().saturating_mul(concurrency);
            let wait = service.as_secs_f64() * to_f64(short) / to_f64(slots);
            if wait < load.cold_estimate.as_secs_f64() {
                let is_behind = load.starting == 0 && load.present() < self.steady_target(load);
                return match is_behind && room > 0 && wait >= WORTH.min(service).as_secs_f64() {
                    true => Decision::Start(1),
                    false => Decision::Wait(load.cold_estimate.saturating_sub(load.waited)),
                };
            }
        }
        match short.div_ceil(concurrency).min(load.running.max(1)).min(room) {
            0 => Decision::Enough,
            count => Decision::Start(count),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn to_f64(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

    pub(crate) fn load() -> Load {
        Load {
            queued: 1,
            running: 0,
            starting: 0,
            concurrency: 1,
            instances: usize::MAX,
            max_starting: 16,
            service: None,
            arrivals: 0.0,
            cold_estimate: MS(100),
            waited: MS(0),
        }
    }

    #[test]
    fn decisions_follow_the_rules() {
        for (what, load, decision) in [
            ("first arrival of an unknown action", load(), Decision::Start(1)),
            ("one container is coming for it", Load { starting: 1, ..load() }, Decision::Enough),
            ("nothing known about run times", Load { queued: 3, starting: 1, ..load() }, Decision::Start(1)),
            (
                "short runs: wait",
                Load { queued: 5, running: 1, service: Some(MS(10)), ..load() },
                Decision::Wait(MS(100)),
            ),
            (
                "the estimate was wrong: start",
                Load { running: 1, service: Some(MS(10)), waited: MS(100), ..load() },
                Decision::Start(1),
            ),
            (
                "long runs: as many again as run",
                Load { queued: 9, running: 3, service: Some(MS(1000)), ..load() },
                Decision::Start(3),
            ),
            (
                "a container takes several",
                Load { queued: 9, running: 3, concurrency: 5, service: Some(MS(10_000)), ..load() },
                Decision::Start(2),
            ),
            (
                "the action's own bound",
                Load { queued: 9, running: 3, instances: 4, service: Some(MS(1000)), ..load() },
                Decision::Start(1),
            ),
            ("too many in the making", Load { queued: 99, starting: 16, ..load() }, Decision::Enough),
            (
                "a steady pace that one container hardly keeps: another one before the wait is long",
                Load { running: 1, service: Some(MS(20)), arrivals: 45.0, ..load() },
                Decision::Start(1),
            ),
            (
                "one at a time",
                Load { queued: 2, running: 1, starting: 1, service: Some(MS(20)), arrivals: 45.0, ..load() },
                Decision::Wait(MS(100)),
            ),
            (
                "a pace that two containers keep",
                Load { running: 2, service: Some(MS(20)), arrivals: 45.0, ..load() },
                Decision::Wait(MS(100)),
            ),
            (
                "short runs, but one container is never at rest",
                Load { running: 1, service: Some(MS(1)), arrivals: 900.0, ..load() },
                Decision::Start(1),
            ),
            (
                "a wait that is shorter than a run is not worth a container",
                Load { running: 3, service: Some(MS(1)), arrivals: 3000.0, ..load() },
                Decision::Wait(MS(100)),
            ),
        ] {
            assert_eq!(EventDriven.decide(&load), decision, "{what}");
        }
    }

    #[test]
    fn the_steady_target_leaves_three_tenths_for_chance() {
        for (arrivals, service, concurrency, target) in
            [(0.0, 100, 1, 0), (1.0, 100, 1, 1), (6.9, 100, 1, 1), (7.1, 100, 1, 2), (100.0, 175, 25, 1)]
        {
            let load = Load { arrivals, service: Some(MS(service)), concurrency, ..load() };
            assert_eq!(EventDriven.steady_target(&load), target, "{arrivals}/s of {service} ms");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever the load: no bound is passed, nothing is started that nobody waits for, what runs is at most
        /// doubled, and whoever has nothing to wait for gets a container.
        #[test]
        fn no_load_breaks_a_rule(
            queued in 1usize..500,
            running in 0usize..50,
            starting in 0usize..20,
            concurrency in 0usize..100,
            instances in 1usize..60,
            service in proptest::option::of(0u64..10_000),
            arrivals in 0.0f64..5000.0,
            cold in 0u64..2000,
            waited in 0u64..4000,
        ) {
            let load = Load {
                queued, running, starting, concurrency, instances, arrivals,
                service: service.map(MS), cold_estimate: MS(cold), waited: MS(waited), ..load()
            };
            match EventDriven.decide(&load) {
                Decision::Start(count) => {
                    prop_assert!(count > 0 && load.short() > 0);
                    prop_assert!(load.present() + count <= instances.max(load.present()));
                    prop_assert!(starting + count <= load.max_starting);
                    prop_assert!(count <= running.max(1));
                }
                Decision::Wait(time) => {
                    prop_assert!(load.present() > 0 && load.short() > 0);
                    prop_assert!(time > Duration::ZERO && time <= load.cold_estimate);
                }
                Decision::Enough => prop_assert!(load.short() == 0 || load.room() == 0),
            }
        }
    }
}
