//! Whether the disk keeps up: a pure judgement of how long commits take.

use std::time::Duration;

use chasen_spi::StoreError;

/// Commits that are looked at together. The one in the middle counts: a hiccup says nothing.
const SAMPLES: usize = 5;
/// A commit that is under way for so many times what is slow, and for so long at least, does not end soon.
const STALLED: (u32, Duration) = (10, Duration::from_secs(1));

/// How a commit went.
#[derive(Debug)]
pub(super) enum Sample {
    /// It worked, and took this long.
    Took(Duration),
    /// It did not; the text says why.
    Failed(String),
}

/// What a sample changes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// From now on work that can be refused is refused; the text says why.
    Refuses(String),
    /// It is accepted again.
    Recovers,
}

/// The health of a disk.
#[derive(Debug)]
pub(super) struct Health {
    /// A commit that takes longer is slow.
    slow: Duration,
    /// How long the last commits took, the newest first.
    recent: [Duration; SAMPLES],
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Good,
    Slow,
    Failed(String),
}

impl Health {
    /// A good one. A commit is slow beyond this time, and quick again below half of it.
    pub(super) fn new(slow: Duration) -> Self {
        Self { slow, recent: [Duration::ZERO; SAMPLES], state: State::Good }
    }

    /// Looks at one more commit.
    pub(super) fn step(&mut self, sample: Sample) -> Option<Change> {
        let next = match sample {
            Sample::Failed(why) => State::Failed(why),
            Sample::Took(time) => {
                self.recent.rotate_right(1);
                if let Some(newest) = self.recent.first_mut() {
                    *newest = time;
                }
                let usual = self.usual();
                let is_slow = usual > if self.state == State::Slow { self.slow / 2 } else { self.slow };
                if is_slow { State::Slow } else { State::Good }
            }
        };
        let was_good = self.is_good();
        self.state = next;
        match (was_good, self.refusal(Duration::ZERO)) {
            (true, Some(why)) => Some(Change::Refuses(why.to_string())),
            (false, None) => Some(Change::Recovers),
            _ => None,
        }
    }

    /// True if all work can be accepted.
    pub(super) fn is_good(&self) -> bool {
        self.state == State::Good
    }

    /// True if the last commit failed.
    pub(super) fn has_failed(&self) -> bool {
        matches!(self.state, State::Failed(_))
    }

    /// Why work is refused, for whoever is refused, while a commit is under way that has taken this long by now.
    pub(super) fn refusal(&self, under_way: Duration) -> Option<StoreError> {
        match &self.state {
            State::Good if under_way < self.slow.saturating_mul(STALLED.0).max(STALLED.1) => None,
            State::Good => Some(StoreError::Unavailable(format!(
                "the disk of the data folder does not answer: a commit is under way for {} ms; try again later",
                under_way.as_millis()
            ))),
            State::Slow => Some(StoreError::Unavailable(format!(
                "the disk of the data folder is too slow: a commit takes {} ms, more than {} ms; try again later, and look for what else writes to that disk",
                self.usual().as_millis(),
                self.slow.as_millis()
            ))),
            State::Failed(why) => Some(StoreError::Unavailable(why.clone())),
        }
    }

    /// How long a commit takes these days.
    fn usual(&self) -> Duration {
        let mut sorted = self.recent;
        sorted.sort_unstable();
        sorted.get(SAMPLES / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SLOW: Duration = Duration::from_millis(50);

    fn after(health: &mut Health, times: &[u64]) -> Vec<bool> {
        let step = |time: &u64| {
            health.step(Sample::Took(Duration::from_millis(*time)));
            health.is_good()
        };
        times.iter().map(step).collect()
    }

    #[test]
    fn slow_commits_count_and_hiccups_do_not() {
        let mut health = Health::new(SLOW);
        assert!(after(&mut health, &[1, 900, 1, 900, 1, 1, 1, 900, 900]).into_iter().all(|good| good));
        assert_eq!(after(&mut health, &[200, 200, 200]), [false; 3], "three of five");
        let text = health.refusal(Duration::ZERO).unwrap().to_string();
        assert!(text.contains("200 ms, more than 50 ms") && text.contains("try again"), "{text}");
        assert_eq!(after(&mut health, &[30, 30, 30, 30, 30]), [false; 5], "not quick enough for a change");
        assert_eq!(after(&mut health, &[10, 10, 10]), [false, false, true]);
        assert_eq!(after(&mut health, &[30, 40, 50]), [true; 3], "nor slow enough");
    }

    #[test]
    fn a_failure_counts_at_once_and_until_a_commit_works() {
        let mut health = Health::new(SLOW);
        let failed = || Sample::Failed("I/O error".to_owned());
        assert!(matches!(health.step(failed()), Some(Change::Refuses(why)) if why.contains("I/O error")));
        assert_eq!(health.step(failed()), None);
        assert!(health.has_failed());
        assert_eq!(health.step(Sample::Took(SLOW)), Some(Change::Recovers));
    }

    #[test]
    fn a_commit_that_does_not_end_counts_before_it_does() {
        let health = Health::new(SLOW);
        assert_eq!(health.refusal(Duration::from_millis(999)), None);
        let text = health.refusal(STALLED.1).unwrap().to_string();
        assert!(text.contains("under way for 1000 ms"), "{text}");
        assert_eq!(Health::new(SLOW * 100).refusal(SLOW * 999), None, "where slow is a long time");
    }

    proptest! {
        #[test]
        fn a_disk_that_is_always_quick_or_always_slow_is_known(time in 0..1000u64, before in prop::collection::vec(0..1000u64, 0..20)) {
            let mut health = Health::new(SLOW);
            after(&mut health, &before);
            after(&mut health, &[time; SAMPLES]);
            prop_assert!(health.is_good() || time > 25);
            prop_assert!(!health.is_good() || time <= 50);
        }
    }
}
