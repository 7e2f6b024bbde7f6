//! What one container prints, on its way from the host to its activations.

use std::time::Duration;

use chasen_entity::frame::Stream;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::sentinel::{MarkedLines, Patience};

/// Filled by the host of the container with whatever comes, for as long as the container lives: a full pipe would stop
/// it. What is kept is bounded by the limit of one activation; before the first one, by [`EARLY`].
#[derive(Debug)]
pub struct Output {
    lines: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: MarkedLines,
    /// Nothing more will come.
    closed: bool,
    /// Counts what came.
    pieces: u64,
    /// Both marks of an activation have come at least once.
    marked: bool,
}

/// Most bytes of log that are kept of a container before it has an action.
const EARLY: u64 = 1 << 20;

impl Default for Output {
    fn default() -> Self {
        let mut state = State::default();
        state.lines.set_limit(EARLY);
        Self { lines: Mutex::new(state), news: Notify::new() }
    }
}

impl Output {
    /// Takes bytes that were printed at this time, cut anywhere.
    pub fn add(&self, stream: Stream, bytes: &[u8], time: Timestamp) {
        let mut state = self.lines.lock();
        state.lines.add(stream, bytes, time);
        state.pieces += 1;
        state.marked |= state.lines.is_ended();
        drop(state);
        self.news.notify_waiters();
    }

    /// Says that nothing more will come.
    pub fn close(&self) {
        self.lines.lock().closed = true;
        self.news.notify_waiters();
    }

    /// Sets how many bytes of log each activation may have.
    pub(super) fn set_limit(&self, limit: u64) {
        self.lines.lock().lines.set_limit(limit);
    }

    /// Begins an activation where no other is under way.
    pub(super) fn begin(&self) {
        self.lines.lock().lines.begin();
    }

    /// True once an activation was marked: the runtime is one that does it.
    pub(super) fn is_marked(&self) -> bool {
        self.lines.lock().marked
    }

    /// True while one mark of an activation has come: the other is on its way.
    pub(super) fn is_ending(&self) -> bool {
        self.lines.lock().lines.is_ending()
    }

    /// Waits for the marks of one activation, not beyond `latest`. False if they did not come.
    pub(super) async fn ended(&self, patience: Patience, latest: Instant) -> bool {
        let latest = latest.min(Instant::now() + patience.total);
        self.wait(patience.idle, latest).await
    }

    /// Waits until nothing has come for a moment, or the marks are there.
    pub(super) async fn settled(&self, quiet: Duration, latest: Instant) {
        self.wait(quiet, latest).await;
    }

    /// Ends an activation: its lines.
    pub(super) fn take(&self) -> Vec<String> {
        self.lines.lock().lines.take(Timestamp::now())
    }

    async fn wait(&self, idle: Duration, latest: Instant) -> bool {
        let mut seen = None;
        let mut deadline = latest.min(Instant::now() + idle);
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            {
                let state = self.lines.lock();
                if state.lines.is_ended() {
                    return true;
                }
                if state.closed {
                    return false;
                }
                if seen.replace(state.pieces) != Some(state.pieces) {
                    deadline = latest.min(Instant::now() + idle);
                }
            }
            if timeout_at(deadline, news).await.is_err() {
                return self.lines.lock().lines.is_ended();
            }
        }
    }
}
