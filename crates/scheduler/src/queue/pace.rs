//! How fast activations come and how long they take, by what was seen of late.

use std::time::Duration;

use chasen_entity::Millis;

/// Time in which a sample loses all but a third of its weight, in milliseconds.
const MEMORY: f64 = 10_000.0;

/// The same for arrivals of late: after a rest the long memory still knows little of a crowd that has come.
const SHORT_MEMORY: f64 = 1000.0;

/// Shortest time that a rate is taken over, in milliseconds: two arrivals at once are no rate.
const SHORTEST: f64 = 1000.0;

/// See the module. Every sum loses weight with time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    at: Option<Millis>,
    arrivals: Rate,
    of_late: Rate,
    runs: f64,
    /// Seconds of all runs.
    time: f64,
}

/// How much came in the time that was looked at.
#[derive(Debug, Default)]
struct Rate {
    /// Milliseconds.
    seen: f64,
    count: f64,
}

impl Rate {
    fn pass(&mut self, passed: f64, memory: f64) -> f64 {
        let kept = (-passed / memory).exp();
        self.seen = self.seen * kept + memory * (1.0 - kept);
        self.count *= kept;
        kept
    }

    fn per_second(&self) -> f64 {
        self.count * 1000.0 / self.seen.max(SHORTEST)
    }
}

impl Pace {
    /// An activation has come.
    pub(super) fn arrived(&mut self, now: Millis) {
        self.pass(now);
        self.arrivals.count += 1.0;
        self.of_late.count += 1.0;
    }

    /// A run has ended that took this long.
    pub(super) fn ran(&mut self, time: Duration, now: Millis) {
        self.pass(now);
        self.runs += 1.0;
        self.time += time.as_secs_f64();
    }

    /// Mean time of a run, however long ago; `None` before the first one ended.
    pub(super) fn service(&self) -> Option<Duration> {
        (self.runs > 0.0).then(|| Duration::try_from_secs_f64(self.time / self.runs).unwrap_or(Duration::MAX))
    }

    /// Arrivals per second: of late, or over a longer time if those were more.
    pub(super) fn arrivals(&self) -> f64 {
        self.arrivals.per_second().max(self.of_late.per_second())
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of an estimate")]
    fn pass(&mut self, now: Millis) {
        let passed = now.saturating_sub(self.at.unwrap_or(now));
        self.at = Some(now);
        if passed == 0 {
            return;
        }
        let kept = self.arrivals.pass(passed as f64, MEMORY);
        self.of_late.pass(passed as f64, SHORT_MEMORY);
        // Both lose alike, so that the mean stays; one that says nothing any more is kept as it was.
        if self.runs * kept > f64::EPSILON {
            self.runs *= kept;
            self.time *= kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_steady_pace_is_found_and_a_change_followed() {
        let mut pace = Pace::default();
        for arrival in 0..3000u64 {
            pace.arrived(arrival * 10);
            pace.ran(Duration::from_millis(20), arrival * 10);
        }
        assert!((pace.arrivals() - 100.0).abs() < 2.0, "{}", pace.arrivals());
        assert!(pace.service().unwrap().abs_diff(Duration::from_millis(20)) < Duration::from_micros(1));
        for arrival in 0..1000u64 {
            pace.ran(Duration::from_millis(40), 30_000 + arrival * 20);
        }
        assert!(pace.service().unwrap() > Duration::from_millis(35), "after twice the memory");
    }

    #[test]
    fn an_hour_of_rest_leaves_the_mean_and_no_rate() {
        let mut pace = Pace::default();
        assert_eq!((pace.service(), pace.arrivals()), (None, 0.0));
        pace.arrived(0);
        pace.ran(Duration::from_millis(20), 0);
        pace.arrived(3_600_000);
        assert!(pace.service().unwrap().abs_diff(Duration::from_millis(20)) < Duration::from_micros(1));
        assert!(pace.arrivals() <= 1.0);
    }

    #[test]
    fn a_crowd_after_a_rest_is_known_at_once() {
        let mut pace = Pace::default();
        pace.arrived(0);
        for arrival in 0..1000u64 {
            pace.arrived(60_000 + arrival);
        }
        assert!(pace.arrivals() > 600.0, "after a second: {}", pace.arrivals());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_mean_is_one_of_the_samples_or_between(
            samples in proptest::collection::vec((0u64..100_000, 0u64..300_000), 1..100),
        ) {
            let mut pace = Pace::default();
            let mut now = 0;
            for (passed, millis) in &samples {
                now += passed;
                pace.ran(Duration::from_millis(*millis), now);
            }
            let mean = pace.service().unwrap().as_secs_f64() * 1000.0;
            let low = samples.iter().map(|sample| sample.1).min().unwrap();
            let high = samples.iter().map(|sample| sample.1).max().unwrap();
            prop_assert!(mean >= low as f64 - 0.001 && mean <= high as f64 + 0.001, "{} not in {}..{}", mean, low, high);
        }
    }
}
