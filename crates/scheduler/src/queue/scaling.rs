//! When to wait for a busy container and when to start another one. Pure arithmetic.

use std::time::Duration;

/// What the decision looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Activations that wait.
    pub(super) queued: usize,
    /// Containers that run.
    pub(super) running: usize,
    /// Containers in the making.
    pub(super) starting: usize,
    /// Activations that share a container, at least 1.
    pub(super) concurrency: usize,
    /// Most containers of the action.
    pub(super) instances: usize,
    /// Most containers in the making at a time.
    pub(super) max_starting: usize,
    /// Mean time of a run; `None` before the first one ended.
    pub(super) service: Option<Duration>,
    /// Expected time until a new container is ready.
    pub(super) cold_estimate: Duration,
    /// How long the first in the queue has waited.
    pub(super) waited: Duration,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// There is or will be a container for everybody who waits.
    Enough,
    /// A container gets free sooner than a new one would be ready; look again after this time, because an
    /// estimate may be wrong: a run that waits for a nested one of the same action never ends by itself.
    Wait(Duration),
    /// Start this many.
    Start(usize),
}

pub(super) fn decide(load: &Load) -> Decision {
    let concurrency = load.concurrency.max(1);
    let short = load.queued.saturating_sub(load.starting.saturating_mul(concurrency));
    let present = load.running.saturating_add(load.starting);
    if short == 0 {
        return Decision::Enough;
    }
    if present > 0
        && load.waited < load.cold_estimate
        && let Some(service) = load.service
    {
        let slots = present.saturating_mul(concurrency);
        let wait = service.as_secs_f64() * to_f64(short) / to_f64(slots);
        if wait < load.cold_estimate.as_secs_f64() {
            return Decision::Wait(load.cold_estimate.saturating_sub(load.waited));
        }
    }
    let room = load.instances.saturating_sub(present).min(load.max_starting.saturating_sub(load.starting));
    match short.div_ceil(concurrency).min(load.running.max(1)).min(room) {
        0 => Decision::Enough,
        count => Decision::Start(count),
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn to_f64(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn load() -> Load {
        Load {
            queued: 1,
            running: 0,
            starting: 0,
            concurrency: 1,
            instances: usize::MAX,
            max_starting: 16,
            service: None,
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
        ] {
            assert_eq!(decide(&load), decision, "{what}");
        }
    }
}
