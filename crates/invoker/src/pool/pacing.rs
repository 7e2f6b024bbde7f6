//! How fast a node grows: starts beyond the first container of an action take turns with what runs already.

use std::time::Duration;

/// Longest time that pressure on the processors holds a start up.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A bucket of starts, and whether the processors are under pressure.
#[derive(Debug)]
pub(super) struct Pacing {
    /// Starts in a second, and at once; `None` does not count, 0 allows none ever.
    most: Option<u32>,
    tokens: f64,
    at: Duration,
    is_pressed: bool,
}

impl Pacing {
    pub(super) fn new(most: Option<u32>) -> Self {
        Self { most, tokens: most.map_or(0.0, f64::from), at: Duration::ZERO, is_pressed: false }
    }

    /// The processors are under pressure from now on, or no more.
    pub(super) fn press(&mut self, is_pressed: bool) {
        self.is_pressed = is_pressed;
    }

    /// When a start may happen that was asked for at a time, not before `now`; `None` is never.
    pub(super) fn next(&mut self, asked: Duration, now: Duration) -> Option<Duration> {
        if self.most == Some(0) {
            return None;
        }
        let calm = if self.is_pressed { asked + PATIENCE } else { now };
        Some(self.token_at(now).max(calm).max(now))
    }

    /// A start happens.
    pub(super) fn take(&mut self, now: Duration) {
        self.token_at(now);
        self.tokens -= 1.0;
    }

    fn token_at(&mut self, now: Duration) -> Duration {
        let Some(most) = self.most else { return now };
        let rate = f64::from(most);
        let passed = now.saturating_sub(self.at);
        self.at = now;
        self.tokens = (self.tokens + passed.as_secs_f64() * rate).min(rate);
        // Whoever comes back when the token is there must find it, whatever was lost in rounding.
        let lacks = (1.0 - self.tokens - 1e-6).max(0.0);
        now + Duration::try_from_secs_f64(lacks / rate).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn as_many_starts_at_once_as_in_a_second_and_then_one_by_one() {
        let mut pacing = Pacing::new(Some(50));
        for _ in 0..50 {
            assert_eq!(pacing.next(MS(0), MS(0)), Some(MS(0)));
            pacing.take(MS(0));
        }
        let next = pacing.next(MS(0), MS(0)).unwrap();
        assert!((MS(19)..=MS(20)).contains(&next), "{next:?}");
        assert_eq!(pacing.next(MS(0), next), Some(next), "and then it is there");
        pacing.take(next);
        assert!(pacing.next(MS(0), next) > Some(next));
        assert_eq!(pacing.next(MS(0), MS(5000)), Some(MS(5000)));
        for _ in 0..50 {
            pacing.take(MS(5000));
        }
        assert!(pacing.next(MS(0), MS(5000)) > Some(MS(5000)), "what is not used does not pile up");
    }

    #[test]
    fn no_starts_are_none_ever() {
        let mut pacing = Pacing::new(Some(0));
        assert_eq!(pacing.next(MS(0), MS(0)), None);
        assert_eq!(pacing.next(MS(0), MS(100_000)), None);
    }

    #[test]
    fn pressure_holds_starts_up_for_a_second_at_most() {
        let mut pacing = Pacing::new(None);
        pacing.press(true);
        assert_eq!(pacing.next(MS(100), MS(200)), Some(MS(1100)));
        assert_eq!(pacing.next(MS(100), MS(1100)), Some(MS(1100)));
        pacing.press(false);
        assert_eq!(pacing.next(MS(100), MS(200)), Some(MS(200)));
    }
}
