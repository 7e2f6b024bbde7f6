//! From bytes of two streams to formatted, bounded lines. Pure but for the time, which is given.

use chasen_entity::error_text;
use chasen_entity::frame::Stream;
use jiff::Timestamp;

use crate::walls::{self, Wall};

/// Longest line, in bytes; longer ones become several.
const MAX_LINE: usize = 64 * 1024;
/// Columns of the time at a line's beginning; as text it sorts like the time.
const TIME: usize = 30;

/// A line as records carry it: the time in 30 columns, the stream, the text.
#[must_use]
pub fn format_line(time: Timestamp, stream: Stream, text: &str) -> String {
    format!("{:<30} {stream}: {text}", format!("{time:.9}"))
}

/// Collects the lines of one activation.
#[derive(Debug, Default)]
pub struct Lines {
    /// Bytes of formatted lines, ends included. The time and the stream count: empty lines take memory too.
    limit: u64,
    used: u64,
    truncated: bool,
    lines: Vec<String>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Lines {
    /// Sets the limit in bytes; 0 collects nothing.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = if walls::stand(Wall::LogLimit) { limit } else { u64::MAX };
    }

    /// True if nothing more will be kept.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.truncated || self.limit == 0
    }

    /// Takes bytes that were read from a stream at this time.
    pub fn add(&mut self, stream: Stream, mut bytes: &[u8], time: Timestamp) {
        while !bytes.is_empty() && !self.is_full() {
            let mut partial = std::mem::take(self.partial(stream));
            let room = MAX_LINE - partial.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                partial.extend_from_slice(window.get(..end).unwrap_or_default());
                bytes = bytes.get(end + 1..).unwrap_or_default();
                self.push(stream, &partial, time);
                partial.clear();
            } else {
                partial.extend_from_slice(window);
                bytes = bytes.get(window.len()..).unwrap_or_default();
                if partial.len() >= MAX_LINE {
                    let rest = partial.split_off(whole_characters(&partial));
                    self.push(stream, &partial, time);
                    partial = rest;
                }
            }
            *self.partial(stream) = partial;
        }
    }

    /// Bytes that are held at the moment.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.used + (self.stdout.len() + self.stderr.len()) as u64
    }

    /// Takes all lines of another activation's log in, by their time, as far as the limit allows.
    pub fn absorb(&mut self, other: &mut Self, time: Timestamp) {
        other.end_lines(time);
        self.end_lines(time);
        other.used = 0;
        self.truncated |= std::mem::take(&mut other.truncated);
        self.lines.append(&mut other.lines);
        self.lines.sort_by(|a, b| a.get(..TIME).cmp(&b.get(..TIME)));
        self.used = 0;
        let fits = |line: &&String| {
            self.used += line.len() as u64 + 1;
            self.used <= self.limit
        };
        let kept = self.lines.iter().take_while(fits).count();
        self.truncated |= kept < self.lines.len();
        self.lines.truncate(kept);
    }

    /// True if nothing was printed since the last taking.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.stdout.is_empty() && self.stderr.is_empty() && !self.truncated
    }

    /// Partial lines count as lines.
    fn end_lines(&mut self, time: Timestamp) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let partial = std::mem::take(self.partial(stream));
            if !partial.is_empty() && !self.is_full() {
                self.push(stream, &partial, time);
            }
        }
    }

    /// Ends the activation: partial lines count as lines. What comes next belongs to the next one.
    pub fn take(&mut self, time: Timestamp) -> Vec<String> {
        self.end_lines(time);
        if self.truncated {
            self.lines.push(format_line(time, Stream::Stderr, &error_text::logs_truncated(self.limit)));
        }
        self.used = 0;
        self.truncated = false;
        std::mem::take(&mut self.lines)
    }

    fn partial(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn push(&mut self, stream: Stream, text: &[u8], time: Timestamp) {
        let mut line = format_line(time, stream, &String::from_utf8_lossy(text));
        let room = self.limit - self.used;
        if line.len() as u64 + 1 > room {
            self.truncated = true;
            self.stdout = Vec::new();
            self.stderr = Vec::new();
            let prefix = format_line(time, stream, "").len();
            line.truncate(
                line.floor_char_boundary(usize::try_from(room).unwrap_or(usize::MAX).saturating_sub(1)),
            );
            if line.len() <= prefix {
                return;
            }
        }
        self.used += line.len() as u64 + 1;
        self.lines.push(line);
    }
}

/// Length of `bytes` without a character that is cut off at its end.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(4);
    match bytes.get(tail..).unwrap_or_default().iter().rposition(|byte| *byte & 0b1100_0000 == 0b1100_0000) {
        Some(lead) => match std::str::from_utf8(bytes.get(tail + lead..).unwrap_or_default()) {
            Err(error) if error.error_len().is_none() => tail + lead,
            _ => bytes.len(),
        },
        None => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: usize = 39;

    fn time() -> Timestamp {
        "2016-03-22T01:02:26.387624916Z".parse().unwrap()
    }

    fn lines(limit: u64) -> Lines {
        let mut lines = Lines::default();
        lines.set_limit(limit);
        lines
    }

    fn texts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| &line[31..]).collect()
    }

    #[test]
    fn lines_look_like_records_have_them() {
        let mut lines = lines(1000);
        lines.add(Stream::Stdout, b"hel", time());
        lines.add(Stream::Stderr, b"oops\n\n", time());
        lines.add(Stream::Stdout, b"lo\nlast \xff", time());
        let taken = lines.take(time());
        assert_eq!(taken[0], "2016-03-22T01:02:26.387624916Z stderr: oops");
        assert_eq!(texts(&taken), ["stderr: oops", "stderr: ", "stdout: hello", "stdout: last \u{fffd}"]);
        assert!(lines.take(time()).is_empty());
        let whole_second: Timestamp = "2016-03-22T01:02:26Z".parse().unwrap();
        assert_eq!(
            format_line(whole_second, Stream::Stdout, "x"),
            "2016-03-22T01:02:26.000000000Z stdout: x"
        );
    }

    #[test]
    fn the_limit_cuts_and_says_so() {
        let limit = 2 * PREFIX as u64 + 10;
        let mut lines = lines(limit);
        lines.add(Stream::Stdout, "12345\nabé\nmore\n".as_bytes(), time());
        lines.add(Stream::Stderr, b"and more", time());
        assert!(lines.is_full());
        let taken = lines.take(time());
        let note = format!("stderr: {}", error_text::logs_truncated(limit));
        assert_eq!(texts(&taken), ["stdout: 12345", "stdout: ab", note.as_str()]);
        lines.add(Stream::Stdout, b"again\n", time());
        assert_eq!(texts(&lines.take(time())), ["stdout: again"], "each activation has the whole limit");
    }

    #[test]
    fn two_logs_become_one_by_time_within_the_limit() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let [mut own, mut other] = [lines(4 * PREFIX as u64), lines(1000)];
        own.add(Stream::Stdout, b"1\n", at(1));
        own.add(Stream::Stdout, b"3\n", at(3));
        other.add(Stream::Stderr, b"2\n4", at(2));
        own.absorb(&mut other, at(4));
        assert!(other.is_empty() && own.held() > 0);
        let note = format!("stderr: {}", error_text::logs_truncated(4 * PREFIX as u64));
        assert_eq!(texts(&own.take(at(5))), ["stdout: 1", "stderr: 2", "stdout: 3", note.as_str()]);
        assert!(own.is_empty() && other.take(at(5)).is_empty());
    }

    #[test]
    fn a_limit_of_zero_collects_nothing_and_says_nothing() {
        let mut lines = lines(0);
        lines.add(Stream::Stdout, b"x\ny", time());
        assert!(lines.take(time()).is_empty());
    }

    #[test]
    fn empty_lines_count_what_they_cost() {
        let limit = 10_000;
        let mut lines = lines(limit);
        lines.add(Stream::Stdout, &vec![b'\n'; 1 << 20], time());
        let taken = lines.take(time());
        assert!(taken.len() as u64 <= limit / PREFIX as u64 + 1);
    }

    #[test]
    fn long_lines_are_split_between_characters() {
        let mut lines = lines(1 << 20);
        let text = format!("x{}", "é".repeat(MAX_LINE));
        for piece in text.as_bytes().chunks(10_007) {
            lines.add(Stream::Stdout, piece, time());
        }
        let taken = lines.take(time());
        assert!(taken.len() > 1 && taken.iter().all(|line| line.len() <= MAX_LINE + PREFIX));
        assert_eq!(taken.iter().map(|line| &line[PREFIX..]).collect::<String>(), text);
    }
}
