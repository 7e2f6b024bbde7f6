//! Logs with marks: a runtime in an image ends what an activation prints with a marked line on each of both streams.
//! Pure but for the time, which is given.

use std::time::Duration;

use chasen_entity::ByteSize;
use chasen_entity::error_text::runtime::SENTINEL;
use chasen_entity::frame::Stream;
use jiff::Timestamp;

use crate::lines::Lines;

/// Marked lines at the end of one activation, on whichever stream they are.
const MARKS: u32 = 2;
/// Longest piece of a line that is held back to see whether the line is marked, in bytes.
const MAX_HELD: usize = 64 * 1024;

/// How long the end of an activation's log is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest silence.
    pub idle: Duration,
    /// Longest wait in all.
    pub total: Duration,
}

impl Patience {
    /// What a log of at most `limit` may take to arrive.
    #[must_use]
    pub fn of_limit(limit: ByteSize) -> Self {
        let megabytes = limit.as_bytes().div_ceil(1 << 20).max(5);
        Self { idle: Duration::from_secs(2), total: Duration::from_secs(megabytes.saturating_mul(2)) }
    }
}

/// Cuts what two streams bring into the lines of activations.
///
/// What comes between two activations belongs to the second. Activations that share a runtime at the same time share
/// its streams: whichever ends takes what is there.
#[derive(Debug, Default)]
pub struct MarkedLines {
    lines: Lines,
    stdout: Held,
    stderr: Held,
    /// Marks that no activation has taken yet.
    marks: u32,
}

/// The beginning of a line whose end has not come.
#[derive(Debug, Default)]
struct Held {
    bytes: Vec<u8>,
    /// True if an earlier piece of the same line has been passed on already.
    passed: bool,
}

impl MarkedLines {
    /// Sets how many bytes of log each activation may have; 0 keeps none.
    pub fn set_limit(&mut self, limit: u64) {
        self.lines.set_limit(limit);
    }

    /// Begins an activation where no other is under way: marks that came too late for an earlier one are void.
    pub fn begin(&mut self) {
        self.marks = 0;
    }

    /// Takes bytes that were printed to a stream at this time, cut anywhere.
    pub fn add(&mut self, stream: Stream, mut bytes: &[u8], time: Timestamp) {
        let held = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            held.bytes.extend_from_slice(bytes.get(..=end).unwrap_or_default());
            bytes = bytes.get(end + 1..).unwrap_or_default();
            if is_marked(&held.bytes) {
                self.marks = self.marks.saturating_add(1);
                if held.passed {
                    self.lines.add(stream, b"\n", time);
                }
            } else {
                self.lines.add(stream, &held.bytes, time);
            }
            held.bytes.clear();
            held.passed = false;
        }
        held.bytes.extend_from_slice(bytes);
        if held.bytes.len() > MAX_HELD {
            if is_marked(&held.bytes) {
                // The end of its line is all that is missing.
                held.bytes = SENTINEL.as_bytes().to_vec();
            } else {
                // A mark may begin in what is kept.
                let rest = held.bytes.split_off(held.bytes.len() - (SENTINEL.len() - 1));
                self.lines.add(stream, &held.bytes, time);
                held.bytes = rest;
                held.passed = true;
            }
        }
    }

    /// True once both marks of an activation have come.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.marks >= MARKS
    }

    /// True while one mark of an activation has come, and the other has not.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.marks > 0 && !self.is_ended()
    }

    /// Ends an activation, marked or not: its lines. A line that has begun counts as a line.
    pub fn take(&mut self, time: Timestamp) -> Vec<String> {
        self.marks = self.marks.saturating_sub(MARKS);
        for (stream, held) in [(Stream::Stdout, &mut self.stdout), (Stream::Stderr, &mut self.stderr)] {
            // What may become a mark is not shown before it is known to be none.
            if !begins_mark(&held.bytes) {
                self.lines.add(stream, &held.bytes, time);
                held.bytes.clear();
                held.passed = false;
            }
        }
        self.lines.take(time)
    }
}

fn is_marked(line: &[u8]) -> bool {
    let mark = SENTINEL.as_bytes();
    line.windows(mark.len()).any(|part| part.first() == mark.first() && part == mark)
}

fn begins_mark(line: &[u8]) -> bool {
    !line.is_empty() && (SENTINEL.as_bytes().starts_with(line) || is_marked(line))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(limit: u64) -> MarkedLines {
        let mut lines = MarkedLines::default();
        lines.set_limit(limit);
        lines
    }

    fn texts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| &line[31..]).collect()
    }

    fn mark() -> Vec<u8> {
        format!("{SENTINEL}\n").into_bytes()
    }

    #[test]
    fn two_marked_lines_end_an_activation() {
        let (mut lines, now) = (marked(1000), Timestamp::now());
        lines.add(Stream::Stdout, b"loading\n", now);
        lines.begin();
        lines.add(Stream::Stderr, b"oops\n", now);
        lines.add(Stream::Stdout, b"out\n", now);
        assert!(!lines.is_ending());
        lines.add(Stream::Stdout, &mark(), now);
        assert!(lines.is_ending() && !lines.is_ended());
        lines.add(Stream::Stderr, &mark(), now);
        assert!(lines.is_ended() && !lines.is_ending());
        assert_eq!(texts(&lines.take(now)), ["stdout: loading", "stderr: oops", "stdout: out"]);
        assert!(!lines.is_ended());
        lines.add(Stream::Stdout, &[mark(), mark()].concat(), now);
        assert!(lines.is_ended(), "on whichever stream");
        assert!(lines.take(now).is_empty());
    }

    #[test]
    fn a_mark_takes_its_line_with_it() {
        let (mut lines, now) = (marked(1000), Timestamp::now());
        lines.add(Stream::Stdout, format!("no end{SENTINEL}\r\nnext").as_bytes(), now);
        assert_eq!(texts(&lines.take(now)), ["stdout: next"]);
        let long = format!("{}{SENTINEL}\n", "x".repeat(2 * MAX_HELD));
        lines.begin();
        lines.set_limit(1 << 20);
        for piece in long.as_bytes().chunks(1000) {
            lines.add(Stream::Stderr, piece, now);
        }
        lines.add(Stream::Stdout, &mark(), now);
        assert!(lines.is_ended(), "behind a line of any length");
        let rest = lines.take(now);
        assert!(rest.iter().all(|line| !line.contains("XXX_THE")));
        assert!(rest.iter().map(|line| line.len() - 39).sum::<usize>() >= MAX_HELD - SENTINEL.len());
    }

    #[test]
    fn late_marks_end_nothing_new() {
        let (mut lines, now) = (marked(1000), Timestamp::now());
        lines.add(Stream::Stdout, b"one\n", now);
        assert_eq!(texts(&lines.take(now)), ["stdout: one"], "nobody waits for ever");
        lines.add(Stream::Stdout, &mark(), now);
        lines.add(Stream::Stderr, &mark(), now);
        lines.begin();
        assert!(!lines.is_ended());
    }

    #[test]
    fn a_full_log_still_sees_its_end() {
        let (mut lines, now) = (marked(100), Timestamp::now());
        lines.add(Stream::Stdout, &b"line\n".repeat(100_000), now);
        lines.add(Stream::Stdout, &mark(), now);
        lines.add(Stream::Stderr, &mark(), now);
        assert!(lines.is_ended());
        assert!(lines.take(now).last().unwrap().contains("Logs were truncated"));
    }

    #[test]
    fn patience_grows_with_the_limit() {
        for (limit, seconds) in [(0, 10), (5, 10), (10, 20)] {
            assert_eq!(Patience::of_limit(ByteSize::mb(limit)).total, Duration::from_secs(seconds));
        }
    }

    proptest! {
        #[test]
        fn no_cutting_shows_a_mark_or_loses_a_line(
            said in prop::collection::vec(prop_oneof![Just(String::from(SENTINEL)), "[a-z]{0,8}"], 0..12),
            cuts in prop::collection::vec(1usize..50, 1..6),
        ) {
            let (mut lines, now) = (marked(1 << 20), Timestamp::now());
            let bytes: Vec<u8> = said.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let count = (*cuts.next().unwrap()).min(rest.len());
                lines.add(Stream::Stdout, &rest[..count], now);
                rest = &rest[count..];
            }
            let marks = said.iter().filter(|line| *line == SENTINEL).count();
            prop_assert_eq!(lines.is_ended(), marks >= 2);
            let expected: Vec<String> =
                said.into_iter().filter(|line| line != SENTINEL).map(|line| format!("stdout: {line}")).collect();
            let taken = lines.take(now);
            prop_assert_eq!(texts(&taken), expected);
        }
    }
}
