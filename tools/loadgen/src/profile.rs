//! How a rate, or a number of clients, goes over time: straight lines between stages. Pure.

use std::time::Duration;

/// One stage: the value goes in a straight line from where the stage before ended to `to`; a stage of no duration
/// jumps. The first stage begins at its own value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// How long it takes.
    pub duration: Duration,
    /// The value at its end: requests per second, or clients.
    pub to: f64,
}

/// A line in time: seconds and units, and the area (units × seconds) that lies before it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    begin: f64,
    length: f64,
    from: f64,
    to: f64,
    area: f64,
}

/// Stages, laid out in time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Profile {
    lines: Vec<Line>,
    length: f64,
    area: f64,
}

impl Profile {
    pub(crate) fn new(stages: &[Stage]) -> Self {
        let (mut lines, mut begin, mut area) = (Vec::new(), 0.0, 0.0);
        let mut from = stages.first().map_or(0.0, |stage| stage.to);
        for stage in stages {
            let length = stage.duration.as_secs_f64();
            if length > 0.0 {
                lines.push(Line { begin, length, from, to: stage.to, area });
                begin += length;
                area += length * (from + stage.to) / 2.0;
            }
            from = stage.to;
        }
        Self { lines, length: begin, area }
    }

    /// The sum of all durations.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.length)
    }

    /// The value at a time; before the beginning the first, after the end the last.
    pub(crate) fn value(&self, at: Duration) -> f64 {
        let at = at.as_secs_f64();
        let line = self.lines.iter().rev().find(|line| line.begin <= at).or(self.lines.first());
        line.map_or(0.0, |line| {
            let share = ((at - line.begin) / line.length).clamp(0.0, 1.0);
            line.from + (line.to - line.from) * share
        })
    }

    /// The highest value.
    pub(crate) fn peak(&self) -> f64 {
        self.lines.iter().map(|line| line.from.max(line.to)).fold(0.0, f64::max)
    }

    /// How many events are due before a time.
    pub(crate) fn due_before(&self, at: Duration) -> u64 {
        let at = at.as_secs_f64().min(self.length);
        let line = self.lines.iter().rev().find(|line| line.begin <= at);
        line.map_or(0.0, |line| {
            let t = (at - line.begin).min(line.length);
            line.area + t * (line.from + (line.to - line.from) * t / line.length / 2.0)
        })
        .ceil() as u64
    }

    /// When event number `n` is due, where the value is events per second and the first is number 0; `None` if the
    /// stages end before.
    pub(crate) fn due(&self, n: u64) -> Option<Duration> {
        let n = n as f64;
        if n >= self.area {
            return None;
        }
        let line = self.lines.iter().rev().find(|line| line.area <= n)?;
        // The area below a line after `t` is from·t + slope·t²/2; solved in the form that stays exact where the
        // slope is none.
        let (wanted, slope) = (n - line.area, (line.to - line.from) / line.length);
        let root = (line.from * line.from + 2.0 * slope * wanted).max(0.0).sqrt();
        let t = if line.from + root > 0.0 { 2.0 * wanted / (line.from + root) } else { 0.0 };
        Some(Duration::from_secs_f64(line.begin + t.clamp(0.0, line.length)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stage(seconds: f64, to: f64) -> Stage {
        Stage { duration: Duration::from_secs_f64(seconds), to }
    }

    #[test]
    fn values_go_in_straight_lines_and_jump_where_a_stage_takes_no_time() {
        let profile =
            Profile::new(&[stage(10.0, 100.0), stage(10.0, 300.0), stage(0.0, 50.0), stage(5.0, 50.0)]);
        for (at, value) in [(0, 100.0), (5, 100.0), (15, 200.0), (21, 50.0), (99, 50.0)] {
            assert!((profile.value(Duration::from_secs(at)) - value).abs() < 1e-6, "{at}");
        }
        assert_eq!(profile.length(), Duration::from_secs(25));
        assert!((profile.peak() - 300.0).abs() < 1e-9);
    }

    #[test]
    fn a_steady_rate_is_due_in_even_steps_and_ends() {
        let profile = Profile::new(&[stage(2.0, 4.0)]);
        let due: Vec<u128> = (0..).map_while(|n| profile.due(n)).map(|due| due.as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750, 1000, 1250, 1500, 1750]);
        for (millis, count) in [(0, 0), (1, 1), (250, 1), (251, 2), (9999, 8)] {
            assert_eq!(profile.due_before(Duration::from_millis(millis)), count, "{millis}");
        }
    }

    #[test]
    fn nothing_is_due_at_rate_zero() {
        assert_eq!(Profile::new(&[stage(5.0, 0.0)]).due(0), None);
        let late = Profile::new(&[stage(0.0, 0.0), stage(1.0, 0.0), stage(0.0, 1.0), stage(2.0, 1.0)]);
        assert_eq!(late.due(0), Some(Duration::from_secs(1)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_due_comes_in_order_and_agrees_with_the_rate(
            stages in proptest::collection::vec((0.0..3.0f64, 0.0..200.0f64), 1..6)
        ) {
            let stages: Vec<Stage> = stages.into_iter().map(|(seconds, to)| stage(seconds, to)).collect();
            let profile = Profile::new(&stages);
            let due: Vec<f64> = (0..).map_while(|n| profile.due(n)).map(|due| due.as_secs_f64()).collect();
            prop_assert!(due.is_sorted());
            prop_assert!((due.len() as f64 - profile.area).abs() <= 1.0);
            // Counted in the other way: the area up to when it is due is its number.
            for (n, at) in due.iter().enumerate().step_by(50) {
                let steps = 1000;
                let area: f64 = (0..steps)
                    .map(|i| profile.value(Duration::from_secs_f64(at * (f64::from(i) + 0.5) / f64::from(steps))))
                    .sum::<f64>() * at / f64::from(steps);
                prop_assert!((area - n as f64).abs() < 1.5, "{n}: {area}");
            }
        }
    }
}
