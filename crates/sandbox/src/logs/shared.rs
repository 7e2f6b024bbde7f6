//! What activations print that are in one container at the same time, as its launcher attributes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chasen_entity::error_text;
use chasen_entity::frame::Stream;
use chasen_runtime::connection::LogSink;
use chasen_runtime::lines::{Lines, format_line};
use jiff::Timestamp;
use parking_lot::Mutex;

/// Most bytes that all activations in one container may have in their logs before they end. One alone keeps to its
/// action's limit, which is lower; thousands of them would not.
const MOST_TOGETHER: u64 = 64 << 20;

/// The bytes of all logs of one container that are not in records yet.
#[derive(Debug, Default)]
pub(crate) struct Together(AtomicU64);

/// The log of one activation among several.
pub(crate) struct OwnLog {
    state: Mutex<State>,
    together: Arc<Together>,
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Bytes that are counted in [`Together`].
    counted: u64,
    /// Something was left out for the sake of the others.
    incomplete: bool,
}

impl OwnLog {
    /// An empty log of at most `limit` bytes.
    pub(crate) fn new(limit: u64, together: &Arc<Together>) -> Self {
        let mut state = State::default();
        state.lines.set_limit(limit);
        Self { state: Mutex::new(state), together: Arc::clone(together) }
    }

    /// Ends the activation: its lines, and those that `strays` has by now.
    pub(super) fn take(&self, strays: &mut Lines, time: Timestamp) -> Vec<String> {
        let mut state = self.state.lock();
        if !strays.is_empty() {
            state.lines.absorb(strays, time);
        }
        let mut lines = state.lines.take(time);
        if state.incomplete {
            lines.push(format_line(time, Stream::Stderr, error_text::LOGS_INCOMPLETE));
        }
        lines
    }
}

impl LogSink for OwnLog {
    fn add(&self, stream: Stream, text: &[u8]) {
        let mut state = self.state.lock();
        if state.incomplete || state.lines.is_full() {
            return;
        }
        if self.together.0.load(Ordering::Relaxed) > MOST_TOGETHER {
            state.incomplete = true;
            return;
        }
        state.lines.add(stream, text, Timestamp::now());
        let held = state.lines.held();
        let grown = held.wrapping_sub(state.counted);
        // Modular: a text may also become shorter, where half a character was no character.
        self.together.0.fetch_add(grown, Ordering::Relaxed);
        state.counted = held;
    }
}

impl Drop for OwnLog {
    fn drop(&mut self) {
        self.together.0.fetch_sub(self.state.get_mut().counted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| &line[31..]).collect()
    }

    fn held(together: &Together) -> u64 {
        together.0.load(Ordering::Relaxed)
    }

    #[test]
    fn each_has_its_own_and_whoever_ends_takes_the_strays() {
        let together = Arc::default();
        let [one, two] = [(); 2].map(|()| OwnLog::new(1000, &together));
        let mut strays = Lines::default();
        strays.set_limit(1000);
        one.add(Stream::Stdout, b"o");
        two.add(Stream::Stdout, b"two\n");
        one.add(Stream::Stdout, b"ne\n");
        strays.add(Stream::Stderr, b"stray\n", Timestamp::now());
        one.add(Stream::Stderr, b"no end");
        let now = Timestamp::now();
        assert_eq!(texts(&one.take(&mut strays, now)), ["stdout: one", "stderr: stray", "stderr: no end"]);
        assert_eq!(texts(&two.take(&mut strays, now)), ["stdout: two"]);
        assert!(held(&together) > 0);
        drop((one, two));
        assert_eq!(held(&together), 0);
    }

    #[test]
    fn all_together_are_bounded_and_say_so() {
        let together = Arc::default();
        let logs: Vec<OwnLog> = (0..100).map(|_| OwnLog::new(10 << 20, &together)).collect();
        let piece = [b'x'; 60_000];
        for log in &logs {
            for _ in 0..100 {
                log.add(Stream::Stdout, &piece);
            }
        }
        assert!(held(&together) <= MOST_TOGETHER + 2 * (1 << 16));
        let last = logs.last().unwrap().take(&mut Lines::default(), Timestamp::now());
        assert_eq!(texts(&last), [format!("stderr: {}", error_text::LOGS_INCOMPLETE)]);
        drop(logs);
        assert_eq!(held(&together), 0);
    }

    #[test]
    fn a_log_of_its_own_limit_is_cut_there() {
        let together = Arc::default();
        let log = OwnLog::new(100, &together);
        for _ in 0..1000 {
            log.add(Stream::Stdout, &[b'\n'; 1000]);
        }
        assert!(held(&together) <= 100);
        let lines = log.take(&mut Lines::default(), Timestamp::now());
        assert_eq!(texts(&lines).last(), Some(&&*format!("stderr: {}", error_text::logs_truncated(100))));
    }
}
