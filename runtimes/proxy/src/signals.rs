//! Signals: ends of children, the wish for an end, and what is meant for the action.

use std::io;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::children::Children;

/// Signals that go on to the action's processes, as if the container's init were not there.
const FORWARDED: [(SignalKind, Signal); 3] = [
    (SignalKind::hangup(), Signal::HUP),
    (SignalKind::user_defined1(), Signal::USR1),
    (SignalKind::user_defined2(), Signal::USR2),
];

/// The wish for an end.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Signals {
    /// From here on children are waited for and signals passed on. Must be called in the async runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn handle(children: &Arc<Children>) -> io::Result<Self> {
        let mut ended = unix::signal(SignalKind::child())?;
        let reaper = Arc::clone(children);
        tokio::spawn(async move {
            while ended.recv().await.is_some() {
                reaper.reap();
            }
        });
        for (kind, signal) in FORWARDED {
            let mut received = unix::signal(kind)?;
            let children = Arc::clone(children);
            tokio::spawn(async move {
                while received.recv().await.is_some() {
                    children.signal(signal);
                }
            });
        }
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// Waits until somebody wants the process to end. Safe to cancel.
    pub(crate) async fn asked_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
