//! Group commit: one thread brings the log to the disk for everybody who waits.

use std::sync::Arc;

use chasen_spi::{Position, StoreError};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::Shared;

/// How far the log is on the disk, and who wants it further.
pub(super) struct Commit {
    wanted: Mutex<Wanted>,
    asked: Condvar,
    reached: watch::Sender<Reached>,
}

#[derive(Default)]
struct Wanted {
    upto: u64,
    ending: bool,
}

#[derive(Debug, Clone, Default)]
struct Reached {
    upto: u64,
    /// Set once the disk failed. What it dropped is not known, so nothing is promised any more.
    failure: Option<Arc<str>>,
}

impl Default for Commit {
    fn default() -> Self {
        Self {
            wanted: Mutex::default(),
            asked: Condvar::new(),
            reached: watch::Sender::new(Reached::default()),
        }
    }
}

impl Commit {
    /// Waits until the log is on the disk up to here. Dropping the future abandons the wait, not the commit.
    pub(super) async fn wait(&self, position: Position) -> Result<(), StoreError> {
        let mut reached = self.reached.subscribe();
        if reached.borrow().upto < position.0 {
            let mut wanted = self.wanted.lock();
            wanted.upto = wanted.upto.max(position.0);
            if wanted.ending {
                return Err(closed());
            }
            self.asked.notify_one();
        }
        let outcome =
            reached.wait_for(|reached| reached.upto >= position.0 || reached.failure.is_some()).await;
        let outcome = outcome.map_err(|_| closed())?;
        match &outcome.failure {
            Some(failure) if outcome.upto < position.0 => Err(StoreError::Unavailable(failure.to_string())),
            _ => Ok(()),
        }
    }

    /// Commits until the end is asked for.
    pub(super) fn run(&self, shared: &Shared) {
        while self.wait_for_demand() {
            // A failure is kept for those who wait.
            let _ = self.commit(shared);
        }
    }

    /// Brings everything that was appended by now to the disk; false if that failed.
    pub(super) fn commit(&self, shared: &Shared) -> bool {
        let (end, unsynced) = {
            let state = shared.state.lock();
            (state.end(), state.unsynced())
        };
        let outcome = unsynced.iter().try_for_each(|(segment, used)| segment.sync(*used));
        self.reached.send_modify(|reached| match &outcome {
            // After a failure nothing more is known to be there.
            Ok(()) if reached.failure.is_none() => reached.upto = reached.upto.max(end.0),
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, "the event log cannot be brought to the disk");
                let text = format!(
                    "the disk failed to keep the event log: {error}; check the disk, then restart the node"
                );
                reached.failure.get_or_insert_with(|| text.into());
            }
        });
        outcome.is_ok()
    }

    /// Lets the thread end after what it is doing.
    pub(super) fn end(&self) {
        self.wanted.lock().ending = true;
        self.asked.notify_all();
    }

    fn wait_for_demand(&self) -> bool {
        let mut wanted = self.wanted.lock();
        loop {
            if wanted.ending {
                return false;
            }
            let (reached, failed) = {
                let reached = self.reached.borrow();
                (reached.upto, reached.failure.is_some())
            };
            if !failed && wanted.upto > reached {
                return true;
            }
            self.asked.wait(&mut wanted);
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the event log is closed".to_owned())
}
