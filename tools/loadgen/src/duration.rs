//! Durations as people write them: `250ms`, `30s`, `5m`, `1h`.

use std::time::Duration;

/// Reads `500us`, `250ms`, `30s`, `1.5s`, `5m` or `1h`; nothing else, so that no unit is ever guessed.
#[must_use]
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at_checked(unit_at)?;
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.');
    let number: f64 = is_number.then(|| number.parse().ok())??;
    Duration::try_from_secs_f64(number * seconds).ok()
}

/// A duration with three digits and the unit that suits it.
#[must_use]
pub fn show(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let (value, unit) = match duration {
        d if d < Duration::from_micros(1) => (nanos, "ns"),
        d if d < Duration::from_millis(1) => (nanos / 1e3, "µs"),
        d if d < Duration::from_secs(1) => (nanos / 1e6, "ms"),
        d if d < Duration::from_secs(100) => (nanos / 1e9, "s"),
        d => return format!("{} s", d.as_secs()),
    };
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_known_unit() {
        for (text, millis) in
            [("250ms", 250), ("30s", 30_000), (" 1.5s ", 1500), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("500us"), Some(Duration::from_micros(500)));
        for text in ["", "5", "s", "-1s", "1e3s", "1 fortnight", "NaNs", "1.2.3s", "99999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_with_three_digits() {
        for (nanos, text) in
            [(0, "0.00 ns"), (12_345, "12.3 µs"), (1_234_567, "1.23 ms"), (61_000_000_000, "61.0 s")]
        {
            assert_eq!(show(Duration::from_nanos(nanos)), text);
        }
    }
}
