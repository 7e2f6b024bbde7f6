//! Pressure on the machine's processors, as the kernel counts it.

use std::time::{Duration, Instant};

use chasen_spi::CpuPressure;
use parking_lot::Mutex;

/// Where Linux tells it.
const FILE: &str = "/proc/pressure/cpu";

/// What the kernel says: the time in which some task waited for a processor, between two readings.
#[derive(Debug, Default)]
pub struct KernelPressure(Mutex<Option<(Instant, Duration)>>);

impl CpuPressure for KernelPressure {
    fn read(&self) -> Option<f64> {
        // Not a disk: the kernel writes these few words when they are asked for.
        let total = waited(&std::fs::read_to_string(FILE).ok()?)?;
        let now = Instant::now();
        let before = self.0.lock().replace((now, total));
        let Some((then, earlier)) = before else { return Some(0.0) };
        Some(share(total.saturating_sub(earlier), now.saturating_duration_since(then)))
    }
}

fn share(waited: Duration, passed: Duration) -> f64 {
    if passed.is_zero() { 0.0 } else { (100.0 * waited.as_secs_f64() / passed.as_secs_f64()).min(100.0) }
}

/// The total of the line `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, which is in microseconds.
fn waited(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let total = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "some avg10=1.25 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 total=7\n";
        assert_eq!(waited(text), Some(Duration::from_millis(2500)));
        for bad in ["", "some", "some total=", "some total=x", "full avg10=0.00 total=7"] {
            assert_eq!(waited(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_share_is_between_nothing_and_everything() {
        let seconds = Duration::from_secs_f64;
        assert_eq!(share(seconds(0.5), seconds(2.0)), 25.0);
        assert_eq!(share(seconds(3.0), seconds(2.0)), 100.0);
        assert_eq!(share(seconds(1.0), Duration::ZERO), 0.0);
        let pressure = KernelPressure::default();
        if pressure.read().is_none() {
            println!("skipped: the kernel tells no pressure here");
            return;
        }
        assert!((0.0..=100.0).contains(&pressure.read().unwrap()));
    }
}
