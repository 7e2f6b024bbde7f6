//! Threads that do a small chore again and again until they are stopped.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::OpenError;

/// A chore on its own thread. Dropping it stops the chore and waits for the round it is in.
pub(crate) struct Background {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits for the interval to pass; breaks as soon as a stop is asked for.
    fn pause(&self, interval: Duration) -> ControlFlow<()> {
        let deadline = Instant::now() + interval;
        let mut asked = self.asked.lock();
        while !*asked {
            if self.changed.wait_until(&mut asked, deadline).timed_out() {
                return ControlFlow::Continue(());
            }
        }
        ControlFlow::Break(())
    }
}

impl Background {
    /// Runs the chore after every interval.
    pub(crate) fn every(
        interval: Duration,
        name: &'static str,
        mut chore: impl FnMut() + Send + 'static,
    ) -> Result<Self, OpenError> {
        let stop = Arc::new(Stop::default());
        let seen = stop.clone();
        let thread = spawn(name, move || {
            while seen.pause(interval).is_continue() {
                chore();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
        join(self.thread.take());
    }
}

/// Starts a thread with a name (at most 15 characters are shown by the system).
pub(crate) fn spawn(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, OpenError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(OpenError::io("start the thread", name.as_ref()))
}

/// Waits for a thread to end; a panic in it is logged.
pub(crate) fn join(thread: Option<JoinHandle<()>>) {
    let Some(thread) = thread else { return };
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!(thread = name, "a background thread panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn chores_repeat_and_stop_at_once() {
        let (done, seen) = mpsc::channel();
        let chore = Background::every(Duration::from_millis(1), "chore", move || {
            let _ = done.send(());
        })
        .unwrap();
        seen.recv().unwrap();
        seen.recv().unwrap();
        drop(chore);
        let idle = Background::every(Duration::from_secs(3600), "idle", || {}).unwrap();
        let before = Instant::now();
        drop(idle);
        assert!(before.elapsed() < Duration::from_secs(60));
    }
}
